"""LSTM and GRU on the kernels: weights packed, sequences of one length together."""

import itertools
from typing import NamedTuple

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import At, recurrent, run

from .base import check_size


class Weights(NamedTuple):
    """Weights of a layer's D directions as the kernels take them, P padded units a gate.

    Attributes
    ----------
    inputs : ndarray
        (C, D * gates * P).
    bias : ndarray
        (D, gates, P): what is added to their product with the input.
    recurrent : tuple of ndarray
        Of each direction.
    late : ndarray
        (D, P): the recurrent bias of a GRU's hidden gate.
    """

    inputs: np.ndarray
    bias: np.ndarray
    recurrent: tuple[np.ndarray, ...]
    late: np.ndarray


def pack(w, r, b):
    """Weights for the kernels of those in a file."""
    directions, rows, hidden = r.shape
    if rows not in (3 * hidden, 4 * hidden):
        raise ShapeError(f"recurrent weights {r.shape} are of neither three nor four gates")
    gates, units = rows // hidden, recurrent.padded(hidden)
    check_size((w.shape[2], directions, gates, units))
    inputs = np.zeros((w.shape[2], directions, gates, units), np.float32)
    inputs[..., :hidden] = np.moveaxis(w, 2, 0).reshape(-1, directions, gates, hidden)
    late, bias = np.zeros((2, directions, gates, units), np.float32)
    if b is not None:
        bias[..., :hidden], late[..., :hidden] = np.moveaxis(
            b.reshape(directions, 2, gates, hidden), 1, 0
        )
    early = slice(None if gates == 4 else 2)
    bias[:, early] += late[:, early]
    packed = tuple(recurrent.pack(np.float32(part), gates) for part in r)
    return Weights(inputs.reshape(w.shape[2], -1), bias, packed, late[:, -1].copy())


def run_on_kernels(weights, x, lengths, initial, reverses):
    """Outputs (T, D, N, H) and the last of each state (D, N, H).

    Two initial states are an LSTM's, one is a GRU's.
    """
    (times, n, _), (directions, count, units) = x.shape, weights.bias.shape
    row = count * units
    hidden = initial[0].shape[-1]
    check_size((times * n, *weights.bias.shape), x.dtype)
    gates = x.reshape(times * n, -1) @ weights.inputs
    gates += weights.bias.reshape(-1)
    states = np.zeros((len(initial), times, directions, n, units), np.float32)
    before = np.zeros((len(initial), directions, n, units), np.float32)
    before[..., :hidden] = initial
    runs = [(d, *part) for d in range(directions) for part in _equally_long(lengths)]
    calls = []
    for d, first, count, length in runs:
        at, way = (length - 1, -1) if reverses[d] else (0, 1)
        shares = At(gates, ((at * n + first) * directions + d) * row)
        made = At(states, ((at * directions + d) * n + first) * units)
        start = [At(s, (d * n + first) * units) for s in before]
        steps = way * directions * n * units, way * n * directions * row
        sequences = recurrent.Sequences(count, length, *steps, directions * row)
        packed = weights.recurrent[d]
        if len(initial) == 2:
            calls += recurrent.lstm(made, shares, packed, *start, states[0].size, sequences)
        else:
            calls += recurrent.gru(made, shares, packed, weights.late[d], *start, sequences)
    run(calls)
    ends = before
    for d, first, count, length in runs:
        mine = slice(first, first + count)
        ends[:, d, mine] = states[:, 0 if reverses[d] else length - 1, d, mine]
    return states[0, ..., :hidden], list(ends[..., :hidden])


def _equally_long(lengths):
    """Runs (first, count, length) of sequences of one length, without empty ones."""
    for length, group in itertools.groupby(enumerate(lengths.tolist()), lambda pair: pair[1]):
        places = [place for place, _ in group]
        if length:
            yield places[0], len(places), length
