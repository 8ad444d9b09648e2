"""An image's pixels without a copy."""

import gc

import numpy as np
import pytest
from PIL import Image

from rvcnn.images.memory import rgbx


def photo(width, height, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(1, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "size", [(1, 1), (7, 9), (300, 200), (2100, 2000), (20_000, 1), (1, 20_000)]
)
def test_pixels_are_the_images(size):
    pixels = photo(*size)
    seen = rgbx(Image.fromarray(pixels))
    assert seen.shape == (*size[::-1], 4)
    assert seen.dtype == np.uint8 and seen.flags.c_contiguous
    np.testing.assert_array_equal(seen[..., :3], pixels)


def test_more_than_one_block_of_pillows_memory():
    pixels = photo(2100, 2100)
    image = Image.fromarray(pixels)
    with pytest.raises(ValueError, match="contiguous"):
        image.__arrow_c_array__()
    np.testing.assert_array_equal(rgbx(image)[..., :3], pixels)


def test_no_copy_is_made():
    image = Image.fromarray(photo(640, 480))
    assert np.shares_memory(rgbx(image), rgbx(image))


def test_the_array_keeps_the_image_alive():
    pixels = photo(640, 480)
    seen = rgbx(Image.fromarray(pixels))
    gc.collect()
    others = [Image.new("RGB", (640, 480), (0, 0, 0)) for _ in range(20)]
    np.testing.assert_array_equal(seen[..., :3], pixels)
    assert len(others) == 20
