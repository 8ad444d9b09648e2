"""Convolution of volumes against sums in float64."""

import numpy as np
import pytest
from kernels_checks import nonzero, rounding_bound

from rvcnn.kernels.volume import VolumeFilters, convolve

ONES, NONE = (1, 1, 1), ((0, 0), (0, 0), (0, 0))
AROUND = ((1, 1), (1, 1), (1, 1))
PROBLEMS = [
    ((4, 6, 7), 5, 9, (3, 3, 3), 1, ONES, AROUND, ONES),
    ((5, 7, 9), 3, 24, (3, 3, 3), 1, (2, 2, 2), AROUND, ONES),
    ((6, 8, 7), 8, 12, (2, 3, 1), 4, (1, 2, 3), ((2, 0), (0, 1), (3, 2)), ONES),
    ((9, 8, 10), 6, 10, (3, 2, 3), 2, (1, 1, 2), AROUND, (3, 2, 2)),
    ((4, 5, 9), 20, 20, (3, 3, 3), 20, ONES, AROUND, ONES),
    ((7, 7, 8), 7, 7, (2, 3, 2), 7, (2, 1, 2), NONE, (2, 2, 1)),
    ((5, 4, 5), 17, 33, (3, 1, 1), 1, ONES, ((1, 1), (0, 0), (0, 0)), ONES),
    ((5, 4, 5), 16, 8, (3, 1, 1), 1, (2, 1, 1), ((1, 1), (0, 0), (0, 0)), (2, 1, 1)),
    ((3, 4, 5), 16, 2, (1, 1, 1), 1, ONES, NONE, ONES),
    ((3, 4, 5), 6, 4, (1, 1, 1), 2, ONES, ((0, 0), (1, 0), (0, 2)), ONES),
    ((1, 1, 1), 1, 1, (1, 1, 1), 1, ONES, NONE, ONES),
]


def reference(x, weights, groups, bias, stride, padding, dilation):
    """One tap after another."""
    x = np.pad(np.float64(x), (*padding, (0, 0)))
    spans = [(k - 1) * d for k, d in zip(weights.shape[2:], dilation, strict=True)]
    size = [(n - s - 1) // step + 1 for n, s, step in zip(x.shape, spans, stride, strict=False)]
    out = np.zeros((*size, groups, len(weights) // groups))
    weights = np.float64(weights).reshape(groups, -1, *weights.shape[1:])
    for tap in np.ndindex(weights.shape[3:]):
        place = tuple(
            slice(t * d, t * d + (n - 1) * step + 1, step)
            for t, d, n, step in zip(tap, dilation, size, stride, strict=True)
        )
        values = x[place].reshape(*size, groups, -1)
        out += np.einsum("dhwgc,gnc->dhwgn", values, weights[(..., *tap)])
    return out.reshape(*size, -1) + bias


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_against_float64(problem):
    size, channels, outputs, kernel, groups, *window = problem
    rng = np.random.default_rng(3)
    x = nonzero(rng, *size, channels)
    weights, bias = nonzero(rng, outputs, channels // groups, *kernel), nonzero(rng, outputs)
    filters = VolumeFilters(weights)
    want = reference(x, weights, groups, bias, *window)
    size = reference(abs(x), abs(weights), groups, abs(bias), *window)
    for _ in range(2):  # packed for the first
        got = convolve(x, filters, groups, bias, *window)
        assert got.shape == want.shape
        assert (np.abs(got - want) <= rounding_bound(size, weights[0].size)).all()


def test_a_window_that_does_not_fit():
    x, filters = np.ones((2, 9, 9, 3), np.float32), VolumeFilters(np.ones((4, 3, 3, 3, 3)))
    with pytest.raises(ValueError, match="too small"):
        convolve(x, filters, 1, np.zeros(4, np.float32), ONES, NONE, ONES)
