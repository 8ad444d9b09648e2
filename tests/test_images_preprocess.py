"""Resize, crop and normalise, held to resizing the whole image with Pillow and to the formula."""

import dataclasses
import time
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from rvcnn.errors import UsageError, WeightsError
from rvcnn.images import Preprocess, decode
from rvcnn.images.preprocess import INTERPOLATIONS

METADATA = {
    "resize": "256",
    "crop": "224",
    "interpolation": "bicubic",
    "mean": "0.485,0.456,0.406",
    "std": "0.229, 0.224, 0.225",
}


def noise(width, height, seed=0, low=0, high=256):
    values = np.random.default_rng(seed).integers(low, high, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def noise_for(interpolation, width, height):
    """Noise of full contrast, or of less for filters that overshoot and round up differences."""
    return noise(width, height) if interpolation == "bilinear" else noise(width, height, 0, 96, 160)


def whole(image, pre):
    """Resize all of the image, then crop, as the contract words it."""
    width, height = image.size
    scale = pre.resize / min(width, height)
    size = (round(width * scale), round(height * scale))
    x, y = (size[0] - pre.crop) // 2, (size[1] - pre.crop) // 2
    resized = image.resize(size, INTERPOLATIONS[pre.interpolation])
    return np.asarray(resized.crop((x, y, x + pre.crop, y + pre.crop)))


def furthest(a, b):
    return np.abs(a.astype(int) - b.astype(int)).max()


def agrees(a, b):
    """One grey level apart at most; two where both passes round a tie of noise the other way."""
    apart = np.abs(a.astype(int) - b.astype(int))
    return apart.max() <= 2 and (apart > 1).mean() <= 0.005


def smooth(width, height):
    y, x = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin(x / 7), 128 + 100 * np.cos(y / 9), 128 + 60 * np.sin((x - y) / 5)]
    return Image.fromarray(np.stack(planes, -1).astype(np.uint8))


sides = st.integers(1, 400)


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(1, 64), st.integers(0, 40), st.integers(0, 9))
@example(1, 1, 24, 8, 0)
@example(1, 400, 8, 0, 0)
@example(399, 2, 8, 1, 0)
@example(64, 128, 64, 0, 0)
@example(152, 34, 42, 19, 1)
@example(256, 256, 24, 40, 0)
def test_bilinear_agrees_with_resizing_the_whole_image(width, height, crop, more, seed):
    pre = Preprocess(resize=crop + more, crop=crop)
    image = noise(width, height, seed)
    assert agrees(pre.pixels(image), whole(image, pre))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (2, 1), (3, 5), (1, 300), (300, 1), (224, 224), (256, 256), (257, 255), (512, 1024)]
    + [(390, 466), (500, 375), (1999, 333), (7, 90), (1031, 769)],
)
def test_sizes_at_the_usual_settings(width, height, interpolation):
    pre = Preprocess(interpolation=interpolation)
    image = noise_for(interpolation, width, height)
    got = pre.pixels(image)
    assert agrees(got, whole(image, pre))
    assert got.shape == (224, 224, 3)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous and got.flags.writeable


@settings(max_examples=40, deadline=None)
@given(sides, sides, st.integers(0, 40))
def test_a_smooth_image_agrees_everywhere(width, height, more):
    pre = Preprocess(resize=40 + more, crop=40)
    image = smooth(width, height)
    assert furthest(pre.pixels(image), whole(image, pre)) <= 1


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize(
    "size", [(1, 20000), (20000, 1), (20000, 3), (2, 19999), (400, 1999), (1999, 400)]
)
def test_long_strips(size, interpolation):
    pre = Preprocess(resize=12, crop=10, interpolation=interpolation)
    image = noise_for(interpolation, *size)
    assert agrees(pre.pixels(image), whole(image, pre))


@pytest.mark.parametrize("interpolation", ["bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(60, 12), (12, 60)])
def test_of_a_strip_all_that_the_filter_reaches_is_cut_out(size, interpolation):
    pre = Preprocess(resize=12, crop=10, interpolation=interpolation)
    blocks = noise(*size).resize([33 * side for side in size], Image.Resampling.NEAREST)
    assert furthest(pre.pixels(blocks), whole(blocks, pre)) <= 1


def test_of_a_strip_no_more_is_cut_out_than_pillow_cuts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    monkeypatch.setattr("rvcnn.images.preprocess._MOST_TO_CUT", 2000)
    pre = Preprocess(resize=12, crop=10, interpolation="bicubic")
    image = noise_for("bicubic", 1999, 400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert agrees(pre.pixels(image), whole(image, pre))


def test_a_long_strip_costs_nothing():
    short, long = noise(1, 300), noise(1, 20000)
    Preprocess().pixels(short)  # compiles the kernel
    start = time.process_time()
    Preprocess().pixels(long)
    assert time.process_time() - start < 0.5


def test_the_longest_strip_shows_its_middle():
    strip = np.zeros((3_000_000, 1), np.uint8)
    strip[1_500_000:] = 255
    got = Preprocess().pixels(decode(strip).image)
    # 224 rows are 0.875 of a pixel here, from the centre of the last black one to the first white.
    rows = 1_500_000 + (np.arange(224) + 0.5 - 112) / 256
    want = np.rint(255 * (rows - 1_499_999.5))
    assert want[0] == 16 and want[-1] == 239
    assert furthest(got, want[:, None, None]) <= 1


def test_nearest_takes_the_pixel_under_the_centre():
    pre = Preprocess(resize=40, crop=30, interpolation="nearest")
    for width, height in [(97, 61), (40, 40), (13, 29), (1, 9)]:
        image = noise(width, height)
        scale = 40 / min(width, height)
        index = []
        for side in (width, height):
            resized = round(side * scale)
            index.append((np.arange(30) + (resized - 30) // 2 + 0.5) * side / resized)
        x, y = index
        # On the border between two pixels either may be taken.
        clear = [np.abs(i - np.rint(i)) > 1e-3 for i in (y, x)]
        want = np.asarray(image)[np.ix_(y.astype(int), x.astype(int))]
        got = pre.pixels(image)
        assert (got[np.ix_(*clear)] == want[np.ix_(*clear)]).all()
        assert any(c.sum() > 10 for c in clear) or (width, height) == (40, 40)


def test_the_crop_is_where_the_contract_puts_it():
    pre = Preprocess(resize=10, crop=7)
    image = noise(15, 10)
    assert (pre.pixels(image) == np.asarray(image)[1:8, 4:11]).all()


@pytest.mark.parametrize("reduction", [2, 4, 8])
def test_a_reduced_image_is_cropped_where_the_full_one_would_be(reduction):
    y, x = np.mgrid[: 256 * reduction + 1, : 341 * reduction + 3]
    full = 128 + 100 * np.sin(x / (3 * reduction)) * np.cos(y / (4 * reduction))
    full = Image.fromarray(full.astype(np.uint8)).convert("RGB")
    pre = Preprocess()
    want = pre.pixels(full).astype(int)
    reduced = full.reduce(reduction)
    assert reduced.size == tuple(-(-side // reduction) for side in full.size)
    with_size = np.abs(pre.pixels(reduced, full.size) - want).mean()
    without = np.abs(pre.pixels(reduced) - want).mean()
    assert with_size < 2.5
    assert without > 2 * with_size


def test_pixels_do_not_change_the_image():
    image = noise(50, 300)
    before = image.tobytes()
    Preprocess().pixels(image)
    assert (image.size, image.tobytes()) == ((50, 300), before)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((0.5,) * 3, (0.5,) * 3),
        ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ((0,) * 3, (1,) * 3),
    ],
)
def test_normalise_is_the_formula(mean, std):
    pre = Preprocess(mean=mean, std=std)
    pixels = np.arange(256, dtype=np.uint8).repeat(3 * 5).reshape(256, 5, 3)
    want = (pixels / 255 - np.array(mean)) / np.array(std)
    got = pre.normalise(pixels)
    assert got.dtype == np.float32 and got.shape == pixels.shape and got.flags.c_contiguous
    # Two roundings of values up to |x / 255 / std| and of the result.
    assert np.abs(got - want).max() <= 2e-7 * np.max(1 / np.array(std))
    out = np.full(pixels.shape, np.nan, np.float32)
    assert pre.normalise(pixels, out=out) is out
    assert (out == got).all()


def test_normalise_takes_batches_and_read_only_pixels():
    pixels = np.random.default_rng(1).integers(0, 256, (2, 4, 5, 3), np.uint8)
    pixels.flags.writeable = False
    got = Preprocess().normalise(pixels)
    assert (got[1] == Preprocess().normalise(pixels[1])).all()


def test_channels_in_opencvs_order():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for interpolation in ("bilinear", "bicubic"):
        options = dict(resize=32, crop=24, interpolation=interpolation)
        rgb, bgr = (Preprocess(**options, channel_order=o).pixels(image) for o in ("rgb", "bgr"))
        assert bgr.flags.c_contiguous and (rgb != bgr).any()
        np.testing.assert_array_equal(bgr, rgb[:, :, ::-1])
    pre = Preprocess.from_metadata({**METADATA, "channel_order": "bgr"})
    assert pre.channel_order == "bgr"
    assert Preprocess.from_metadata(pre.to_metadata()) == pre
    with pytest.raises(WeightsError, match="channel_order 'brg': choose one of rgb, bgr"):
        Preprocess.from_metadata({**METADATA, "channel_order": "brg"})


def test_metadata_there_and_back():
    pre = Preprocess.from_metadata(METADATA)
    assert pre == Preprocess(256, 224, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert Preprocess.from_metadata(pre.to_metadata()) == pre
    assert all(isinstance(v, str) for v in pre.to_metadata().values())


def test_overrides_win_and_none_is_no_override():
    pre = Preprocess.from_metadata(METADATA, crop=192, mean=None, std=(1, 1, 1))
    assert (pre.crop, pre.mean[0], pre.std) == (192, 0.485, (1, 1, 1))
    assert Preprocess.from_metadata({}, **dataclasses.asdict(pre)) == pre


@pytest.mark.parametrize("key", METADATA)
def test_a_missing_key_is_named(key):
    rest = {k: v for k, v in METADATA.items() if k != key}
    with pytest.raises(WeightsError, match=f"no '{key}': give {key}="):
        Preprocess.from_metadata(rest)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize", "big"),
        ("crop", ""),
        ("crop", "0"),
        ("crop", "300"),
        ("mean", "0.5"),
        ("mean", "a,b,c"),
        ("mean", "nan,0,0"),
        ("std", "0.5,0.5,0"),
        ("std", "1,1,1,1"),
        ("interpolation", "cubic-ish"),
    ],
)
def test_metadata_that_makes_no_sense_is_named(key, value):
    with pytest.raises(WeightsError, match=key):
        Preprocess.from_metadata({**METADATA, key: value})


@pytest.mark.parametrize("bad", [{"crop": 257}, {"interpolation": "box"}, {"std": (1, 0, 1)}])
def test_settings_that_make_no_sense(bad):
    with pytest.raises(UsageError):
        Preprocess(**bad)
