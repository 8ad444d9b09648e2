"""Recurrent layers: what their bounds notice, and what is refused."""

import numpy as np
import pytest
from kernels_checks import outside
from kernels_list import RECURRENT
from kernels_memory import run_guarded

from rvcnn import kernels
from rvcnn.kernels import At, recurrent, reference


@pytest.mark.parametrize("problem", RECURRENT, ids=lambda p: p.name)
def test_the_bound_is_tight_enough_to_notice_a_missing_unit(problem):
    want, bound = problem.want(), problem.bound()
    assert bound.max() < 1e-3
    for unit in range(len(problem.args[-1])):
        assert outside(problem.without_a_unit(unit), want, bound).any()


def test_gates_far_out_neither_overflow_nor_lose_small_values():
    """A state that only tiny, huge and infinite gates make."""
    gates = np.zeros((3, 4, 5), np.float32)
    gates[:, 3] = 1e-6, 1e-20, 88.0, -1e30, np.inf
    gates[:, :3] = 1e30
    args = gates.reshape(3, 20), np.zeros((20, 5)), np.zeros(5), np.zeros(5)
    want = reference.lstm(*args)
    np.testing.assert_allclose(kernels.lstm(*args), want, rtol=1e-6)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("hidden", [16, 21, 48])
@pytest.mark.parametrize("layer, count", [("lstm", 4), ("gru", 3)])
def test_sequences_together_are_each_alone(layer, count, hidden, backwards):
    """Among others, which stay as they are: all but the first of four, times apart."""
    rng = np.random.default_rng(hidden)
    times, n, units = 3, 4, recurrent.padded(hidden)
    weights = rng.standard_normal((count * hidden, hidden)) / hidden
    gates, states = (np.zeros((*s, units), np.float32) for s in ((times, n, count), (2, n)))
    gates[..., :hidden] = rng.standard_normal((times, n, count, hidden))
    states[..., :hidden] = rng.standard_normal((2, n, hidden))
    states[1, 1:] = states[1, 1]  # a GRU's bias, the same for all
    out = np.zeros((2, times, n, units), np.float32)
    first, way = (times - 1, -1) if backwards else (0, 1)
    steps = way * n * units, way * n * count * units, count * units
    places = At(out, (first * n + 1) * units), At(gates, (first * n + 1) * count * units)
    packed, h, other = recurrent.pack(weights, count), At(states[0], units), At(states[1], units)
    sequences = recurrent.Sequences(n - 1, times, *steps)
    if layer == "lstm":
        calls = recurrent.lstm(*places, packed, h, other, out[0].size, sequences)
    else:
        calls = recurrent.gru(*places, packed, other, h, sequences)
    run_guarded(calls)
    assert not np.nan_to_num(out[:, :, 0]).any()
    for i in range(1, n):
        shares = gates[:, i, :, :hidden].reshape(times, -1)
        vectors = states[:, i, :hidden] if layer == "lstm" else states[::-1, i, :hidden]
        alone = getattr(kernels, layer)(shares, weights, *vectors, reverse=backwards)
        got = out[:, :, i, :hidden] if layer == "lstm" else out[0, :, i, :hidden]
        assert got.tobytes() == alone.tobytes()


@pytest.mark.parametrize("layer, count", [(kernels.lstm, 4), (kernels.gru, 3)])
def test_arrays_that_do_not_fit_are_refused(layer, count):
    good = [np.ones((2, 3 * count)), np.ones((3 * count, 3)), np.ones(3), np.ones(3)]
    assert layer(*good).shape[-1] == 3
    for i, wrong in enumerate([(2, 9 * count), (3, 3 * count), (4,), (1, 3)]):
        with pytest.raises(ValueError, match="do not fit"):
            layer(*good[:i], np.ones(wrong), *good[i + 1 :])
    with pytest.raises(ValueError, match="do not fit"):
        layer(good[0][:0], *good[1:])
