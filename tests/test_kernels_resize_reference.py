"""The resampling kernel against the float64 reference, whatever its scratch held."""

import numpy as np
import pytest
from kernels_checks import EPS, assert_within
from kernels_resizes import CASES, picture

from rvcnn.kernels import reference, resize


@pytest.mark.parametrize("image, box, size", CASES, ids=str)
def test_equals_the_reference(image, box, size):
    pixels = picture(*image)
    got = resize.resize(pixels, box, size)
    assert got.dtype == np.uint8 and got.flags.c_contiguous
    want = reference.resize(pixels, box, size)
    assert want.min() >= 0 and want.max() <= 255 + 1e-9
    taps = 2 * max(1, (box[2] - box[0]) / size[0]) + 2 * max(1, (box[3] - box[1]) / size[1]) + 4
    # half a grey level is the rounding to bytes
    assert_within(got, want, 0.5 + EPS * 255 * (taps + 4))


@pytest.mark.parametrize("image, box, size", CASES, ids=str)
def test_does_not_depend_on_what_scratch_held(image, box, size, monkeypatch):
    pixels = picture(*image)
    want = resize.resize(pixels, box, size)

    class Poisoned:
        def __getattr__(self, name):
            return getattr(np, name)

        @staticmethod
        def empty(shape, dtype):
            return np.full(shape, np.nan if dtype == np.float32 else 77, dtype)

    monkeypatch.setattr(resize, "np", Poisoned())
    assert resize.resize(pixels, box, size).tobytes() == want.tobytes()


def test_a_flat_image_stays_flat():
    pixels = np.full((301, 203, 4), 137, np.uint8)
    assert (resize.resize(pixels, (0.3, 0.7, 202.9, 300.1), (50, 61)) == 137).all()
