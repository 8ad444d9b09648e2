"""Resampling against Pillow's, and its weights against their definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rvcnn.kernels.resize import coefficients, resize


def with_padding(pixels, fill=77):
    """(H, W, 3) as (H, W, 4): the fourth channel must not matter."""
    return np.dstack([pixels, np.full(pixels.shape[:2], fill, np.uint8)])


def noise(width, height, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(width, height):
    """Long gradients: every grey level occurs, and neighbours differ little."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 37 + k) + np.cos(y / 23 - k) for k in range(3)]
    return ((np.dstack(waves) + 2) * 63).astype(np.uint8)


def worst(pixels, box, size):
    got = resize(with_padding(pixels), box, size)
    want = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR, box))
    assert got.shape == want.shape and got.dtype == np.uint8
    return np.abs(got.astype(int) - want).max()


SIZES = [(1, 1), (3, 2), (15, 17), (16, 16), (63, 64), (65, 66), (224, 224), (500, 375), (1203, 77)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [noise, smooth])
def test_whole_images(make, size):
    pixels = make(*size)
    for target in [(1, 1), (5, 5), (21, 43), (224, 224)]:
        assert worst(pixels, (0, 0, *size), target) <= 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_window(data):
    width, height = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300))
    unit = st.floats(0, 1, width=32)
    left, right = sorted(data.draw(unit) * width for _ in range(2))
    top, bottom = sorted(data.draw(unit) * height for _ in range(2))
    if right - left < 0.05 or bottom - top < 0.05:
        return
    target = data.draw(st.integers(1, 250)), data.draw(st.integers(1, 250))
    assert worst(noise(width, height), (left, top, right, bottom), target) <= 1


def test_a_window_that_ends_at_the_last_row_and_column():
    pixels = noise(333, 222)
    assert worst(pixels, (100.3, 50.7, 333, 222), (224, 224)) <= 1


def test_a_long_strip_is_cheap():
    pixels = noise(20_000, 1)
    assert worst(pixels, (9_999.5, 0, 10_000.4, 1), (224, 224)) <= 1
    first, weights = coefficients(20_000, 9_999.5, 10_000.4, 224)
    assert weights.shape[1] <= 3


def test_nothing_around_the_window_is_read():
    outside = noise(200, 150)
    inside = outside.copy()
    inside[:40], inside[110:], inside[:, :60], inside[:, 140:] = 255, 0, 255, 0
    box, size = (70, 50, 130, 100), (60, 50)
    a, b = (resize(with_padding(p), box, size) for p in (outside, inside))
    np.testing.assert_array_equal(a, b)


def test_the_fourth_channel_does_not_matter():
    pixels = noise(90, 70)
    a, b = (resize(with_padding(pixels, f), (0, 0, 90, 70), (33, 21)) for f in (0, 255))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "size, start, stop, count",
    [(10, 0, 10, 3), (10, 0, 10, 40), (390, 11.3, 377.2, 224), (1, 0, 1, 9)],
)
def test_weights_are_the_triangle_around_each_centre(size, start, stop, count):
    first, weights = coefficients(size, start, stop, count)
    scale = (stop - start) / count
    for i in range(count):
        centre = start + (i + 0.5) * scale
        samples = np.arange(size)
        want = np.clip(1 - np.abs(samples + 0.5 - centre) / max(scale, 1), 0, None)
        want /= want.sum()
        dense = np.zeros(size)
        dense[first[i] : first[i] + weights.shape[1]] = weights[i]
        np.testing.assert_allclose(dense, want, atol=1e-6)
    assert first.min() >= 0 and first.max() + weights.shape[1] <= size
