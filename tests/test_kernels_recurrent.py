"""Recurrent layers: what their bounds notice, and what is refused."""

import numpy as np
import pytest
from kernels_checks import outside
from kernels_list import RECURRENT

from rvcnn import kernels
from rvcnn.kernels import reference


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


@pytest.mark.parametrize("layer, count", [(kernels.lstm, 4), (kernels.gru, 3)])
def test_arrays_that_do_not_fit_are_refused(layer, count):
    good = [np.ones((2, 3 * count)), np.ones((3 * count, 3)), np.ones(3), np.ones(3)]
    assert layer(*good).shape[-1] == 3
    for i, wrong in enumerate([(2, 9 * count), (3, 3 * count), (4,), (1, 3)]):
        with pytest.raises(ValueError, match="do not fit"):
            layer(*good[:i], np.ones(wrong), *good[i + 1 :])
    with pytest.raises(ValueError, match="do not fit"):
        layer(good[0][:0], *good[1:])
