"""Recurrent layers: sequences in one call, from the gates' shares of the input to the outputs.

Rows of gates, outputs and states have :func:`padded` units a gate; what lies beyond the units
takes part in nothing.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _target
from ._jit import F32, kernel, unroll
from ._memory import aligned
from ._program import Call

if TYPE_CHECKING:
    from ._curves import sigmoid, tanh
    from ._simd import broadcast, fma, load, store


@kernel(
    "f32_lstm_{NV}x{LANES}__v{LANES}",
    work=lambda v: 4 * v["sequences"] * v["steps"] * v["units"] * v["inner"],
)
def f32_lstm(
    out: F32,
    gates: F32,
    weights: F32,
    h: F32,
    c: F32,
    cells: int,
    sequences: int,
    steps: int,
    units: int,
    inner: int,
    step: int,
    gates_step: int,
    gates_apart: int,
):
    """Long short-term memory: outputs of ``steps`` times, each ``*step`` values on, and cells.

    A time's cells lie ``cells`` values after its outputs. ``units`` (a multiple of NV * LANES) a
    gate, in the order input, output, forget, cell. ``weights`` is packed (panels, inner, 4,
    NV * LANES). ``h`` and ``c`` are the states before. Outputs and states of sequences lie next
    to each other, their gates ``gates_apart`` values apart.
    """
    past = h
    past_c = c
    past_at = 0
    cell_at = 0
    for t in range(steps):
        for u in range(0, units, NV * LANES):
            for n in range(sequences):
                for g in unroll(4):
                    for v in unroll(NV):
                        at = t * gates_step + n * gates_apart + g * units + u + v * LANES
                        reg_s[g, v] = load(gates, at, LANES)
                w_at = 4 * u * inner
                for k in range(past_at + n * units, past_at + n * units + inner):
                    a = broadcast(past, k, LANES)
                    for g in unroll(4):
                        for v in unroll(NV):
                            b = load(weights, w_at + (g * NV + v) * LANES, LANES)
                            reg_s[g, v] = fma(a, b, reg_s[g, v])
                    w_at += 4 * NV * LANES
                for v in unroll(NV):
                    at = n * units + u + v * LANES
                    kept = sigmoid(reg_s[2, v]) * load(past_c, cell_at + at, LANES)
                    cell = fma(sigmoid(reg_s[0, v]), tanh(reg_s[3, v]), kept)
                    store(out, cells + t * step + at, cell)
                    store(out, t * step + at, sigmoid(reg_s[1, v]) * tanh(cell))
        past = out
        past_c = out
        past_at = t * step
        cell_at = cells + past_at


@kernel(
    "f32_gru_{NV}x{LANES}__v{LANES}",
    work=lambda v: 3 * v["sequences"] * v["steps"] * v["units"] * v["inner"],
)
def f32_gru(
    out: F32,
    gates: F32,
    weights: F32,
    bias: F32,
    h: F32,
    sequences: int,
    steps: int,
    units: int,
    inner: int,
    step: int,
    gates_step: int,
    gates_apart: int,
):
    """Gated recurrent unit: outputs of ``steps`` times, each ``*step`` values on.

    ``units`` (a multiple of NV * LANES) a gate, in the order update, reset, hidden; the reset gate
    acts on the hidden one's product with the weights plus ``bias``. ``weights`` is packed
    (panels, inner, 3, NV * LANES). ``h`` is the state before. Sequences lie as in :func:`f32_lstm`.
    """
    past = h
    past_at = 0
    for t in range(steps):
        for u in range(0, units, NV * LANES):
            for n in range(sequences):
                share_at = t * gates_step + n * gates_apart + u
                for v in unroll(NV):
                    reg_s[0, v] = load(gates, share_at + v * LANES, LANES)
                    reg_s[1, v] = load(gates, share_at + units + v * LANES, LANES)
                    reg_s[2, v] = load(bias, u + v * LANES, LANES)
                w_at = 3 * u * inner
                for k in range(past_at + n * units, past_at + n * units + inner):
                    a = broadcast(past, k, LANES)
                    for g in unroll(3):
                        for v in unroll(NV):
                            b = load(weights, w_at + (g * NV + v) * LANES, LANES)
                            reg_s[g, v] = fma(a, b, reg_s[g, v])
                    w_at += 3 * NV * LANES
                for v in unroll(NV):
                    at = n * units + u + v * LANES
                    share = load(gates, share_at + 2 * units + v * LANES, LANES)
                    new = tanh(fma(sigmoid(reg_s[1, v]), reg_s[2, v], share))
                    change = load(past, past_at + at, LANES) - new
                    store(out, t * step + at, fma(sigmoid(reg_s[0, v]), change, new))
        past = out
        past_at = t * step


VECTORS = {16: 1, 8: 2, 4: 2}
"""Vectors of units that share a value of the state, for each lane count of the target."""

UNITS = 16
"""Rows have a multiple of so many units, whatever the lane count."""


def padded(units):
    """Units of a row: as many and what fills the last vector."""
    return -(-units // UNITS) * UNITS


def _tile():
    return {"NV": VECTORS[_target.lanes()], "LANES": _target.lanes()}


def pack(weights, gates):
    """Recurrent weights (gates * H, H) as the kernels take them."""
    hidden, tile = weights.shape[1], _tile()
    width, units = tile["NV"] * tile["LANES"], padded(hidden)
    whole = np.zeros((gates, units, hidden), np.float32)
    whole[:, :hidden] = weights.reshape(gates, hidden, hidden)
    return aligned(whole.reshape(gates, -1, width, hidden).transpose(1, 3, 0, 2))


class Sequences(NamedTuple):
    """Where sequences of one length lie, in float32 values.

    Attributes
    ----------
    count, steps : int
        Sequences, and times of each.
    step, gates_step : int
        From a time's outputs and gates to the next time's; less than 0 where they run backwards.
    gates_apart : int
        From a sequence's gates to the next one's.
    """

    count: int
    steps: int
    step: int
    gates_step: int
    gates_apart: int


def lstm(out, gates, weights, h, c, cells, sequences):
    """Calls for sequences of one length.

    Parameters
    ----------
    out : At
        Outputs of the first time, with :func:`padded` units a sequence.
    gates : At
        The gates' shares of the input, biases among them, each gate with as many units.
    weights : ndarray
        :func:`pack` of (4 H, H).
    h, c : At or ndarray
        States before the first time, with as many units a sequence.
    cells : int
        Values from a time's outputs to its cells.
    sequences : Sequences
    """
    args = (out, gates, weights, h, c, cells, *_sizes(weights, sequences))
    return [Call(f32_lstm(**_tile()), args)]


def gru(out, gates, weights, bias, h, sequences):
    """Calls for sequences of one length; as :func:`lstm`, with the hidden gate's ``bias``."""
    args = (out, gates, weights, bias, h, *_sizes(weights, sequences))
    return [Call(f32_gru(**_tile()), args)]


def _sizes(weights, sequences):
    panels, inner, _, width = weights.shape
    count, steps, *distances = sequences
    return count, steps, panels * width, inner, *distances
