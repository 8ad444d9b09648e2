"""Mistakes that were made once, here or in the program this one follows, by name."""

import gc

import numpy as np
import pytest
from kernels_checks import assert_within, nonzero, rounding_bound

from rvcnn import kernels
from rvcnn.kernels import Map, Window, conv, reference, run


def check(got, x, weights, bias, **options):
    size = reference.conv2d(np.abs(x), np.abs(weights), np.abs(bias), **options)
    want = reference.conv2d(x, weights, bias, **options)
    assert_within(got, want, rounding_bound(size, weights[0].size))


def test_weights_are_read_alike_by_the_long_and_the_short_segments():
    """One run of values a window's row where pixels are dense, one a tap where they are not."""
    rng = np.random.default_rng(0)
    x, weights, bias = nonzero(rng, 9, 8, 6), nonzero(rng, 11, 3, 3, 6), nonzero(rng, 11)
    dense = kernels.conv2d(x, weights, bias)
    check(dense, x, weights, bias)
    wide = np.full((9, 8, 10), np.nan, np.float32)
    wide[..., :6] = x
    out = np.empty_like(dense)
    apart = Map.of(wide)._replace(channels=6)
    window = Window((3, 3))
    run(conv.convolution(Map.of(out), apart, weights.transpose(0, 3, 1, 2), bias, window))
    assert out.tobytes() == dense.tobytes()


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_are_convolutions_side_by_side(groups):
    rng = np.random.default_rng(groups)
    x, weights = nonzero(rng, 6, 5, 16), nonzero(rng, 24, 3, 3, 16 // groups)
    got = kernels.conv2d(x, weights, padding=1, groups=groups)
    parts = [
        kernels.conv2d(x[..., c], weights[n], padding=1)
        for c, n in zip(
            np.split(np.arange(16), groups), np.split(np.arange(24), groups), strict=True
        )
    ]
    assert got.tobytes() == np.concatenate(parts, axis=2).tobytes()


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("depthwise", [False, True])
def test_every_size_from_one_pixel_up(kernel, depthwise):
    """Odd sizes, sizes that are no multiple of a tile, kernels larger than the map."""
    rng = np.random.default_rng(kernel)
    for height, width in np.ndindex(9, 17):
        x = nonzero(rng, height + 1, width + 1, 4)
        weights = nonzero(rng, 4, kernel, kernel, 1 if depthwise else 4)
        bias = nonzero(rng, 4)
        options = {"padding": kernel // 2, "groups": 4 if depthwise else 1}
        if min(x.shape[:2]) + 2 * (kernel // 2) >= kernel:
            check(kernels.conv2d(x, weights, bias, **options), x, weights, bias, **options)


@pytest.mark.parametrize("outputs", [511, 512, 513, 640, 1025])
def test_outputs_beyond_512(outputs):
    rng = np.random.default_rng(outputs)
    x, weights, bias = nonzero(rng, 3, 576), nonzero(rng, outputs, 576), nonzero(rng, outputs)
    got = kernels.linear(x, weights, bias)
    check(got[None], x[None], weights[:, None, None], bias)


def test_a_convolution_of_a_constant_is_not_one_number():
    """A constant map through a padded convolution: corners, edges and the middle differ."""
    x, weights = np.full((5, 6, 8), 0.75, np.float32), np.full((9, 3, 3, 8), 0.5, np.float32)
    taps = np.outer([2, 3, 3, 3, 2], [2, 3, 3, 3, 3, 2])[..., None] * np.ones(9)
    got = kernels.conv2d(x, weights, padding=1)
    np.testing.assert_array_equal(got, (taps * 8 * 0.375).astype(np.float32))


def test_calls_own_their_memory_until_they_have_run():
    """Packed weights and descriptors once were freed before the kernels read them."""
    rng = np.random.default_rng(1)
    x, weights, bias = nonzero(rng, 12, 12, 16), nonzero(rng, 48, 3, 3, 16), nonzero(rng, 48)
    want = kernels.conv2d(x, weights, bias).tobytes()
    for _ in range(50):
        gc.collect()
        assert kernels.conv2d(x, weights, bias).tobytes() == want
