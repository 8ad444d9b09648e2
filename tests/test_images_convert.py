"""Every mode and every kind of transparency to RGB, and orientation, by values worked out here."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from rvcnn.images import decode
from rvcnn.images.convert import to_rgb

rng = np.random.default_rng(20)
LEVELS = rng.integers(0, 256, (24, 40, 4), np.uint8)


def pixels(source):
    return np.asarray(decode(source).image, int)


def png(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def over_white(rgb, alpha):
    alpha = alpha[..., None] / 255
    return np.rint(rgb * alpha + 255 * (1 - alpha))


def test_rgb_is_not_copied():
    image = Image.fromarray(LEVELS[..., :3])
    assert to_rgb(image) is image


def test_rgba_over_white():
    want = over_white(LEVELS[..., :3], LEVELS[..., 3])
    assert np.abs(pixels(Image.fromarray(LEVELS)) - want).max() <= 1
    assert (pixels(png(Image.fromarray(LEVELS))) == pixels(Image.fromarray(LEVELS))).all()


def test_opaque_rgba_keeps_its_colours():
    image = Image.fromarray(LEVELS[..., :3]).convert("RGBA")
    assert (pixels(image) == LEVELS[..., :3]).all()


@pytest.mark.parametrize("premultiplied", [False, True])
def test_grey_with_alpha_over_white(premultiplied):
    planes = [Image.fromarray(np.ascontiguousarray(LEVELS[..., i])) for i in (0, 3)]
    image = Image.merge("LA", planes)
    want = over_white(LEVELS[..., :1].repeat(3, 2), LEVELS[..., 3])
    if premultiplied:
        image = image.convert("La")
    # Premultiplied values are rounded once more, and the more the thinner the pixel is.
    assert np.abs(pixels(image) - want).max() <= (2 if premultiplied else 1)


def test_premultiplied_rgba_over_white():
    image = Image.fromarray(LEVELS).convert("RGBa")
    want = over_white(LEVELS[..., :3], LEVELS[..., 3])
    assert np.abs(pixels(image) - want).max() <= 2


def test_palette():
    image = Image.fromarray(LEVELS[..., :3]).quantize(16)
    assert (pixels(png(image)) == np.asarray(image.convert("RGB"))).all()


def test_palette_with_one_transparent_index():
    image = Image.fromarray(LEVELS[..., :3]).quantize(8)
    got = pixels(png(image, transparency=3))
    clear = np.asarray(image) == 3
    assert clear.any() and not clear.all()
    assert (got[clear] == 255).all()
    assert (got[~clear] == np.asarray(image.convert("RGB"))[~clear]).all()


def test_palette_with_alpha_for_each_index():
    image = Image.fromarray(LEVELS[..., :3]).quantize(4)
    alphas = bytes([0, 85, 170, 255])
    got = pixels(png(image, transparency=alphas))
    alpha = np.frombuffer(alphas, np.uint8)[np.asarray(image)]
    assert np.abs(got - over_white(np.asarray(image.convert("RGB")), alpha)).max() <= 1


def test_palette_with_alpha_channel():
    image = Image.fromarray(LEVELS[..., :3]).quantize(16)
    with_alpha = image.convert("PA")
    with_alpha.putalpha(Image.fromarray(np.ascontiguousarray(LEVELS[..., 3])))
    want = over_white(np.asarray(image.convert("RGB")), LEVELS[..., 3])
    assert with_alpha.mode == "PA"
    assert np.abs(pixels(with_alpha) - want).max() <= 1


def test_one_bit_with_transparent_black():
    bits = LEVELS[..., 0] > 127
    image = Image.fromarray(bits)
    assert image.mode == "1"
    assert (pixels(png(image)) == bits[..., None] * 255).all()
    assert (pixels(png(image, transparency=0)) == 255).all()


def test_grey_with_a_transparent_level():
    grey = LEVELS[..., 0] // 64 * 64
    got = pixels(png(Image.fromarray(grey), transparency=64))
    assert (got == np.where(grey == 64, 255, grey)[..., None]).all()


def test_rgb_with_a_transparent_colour():
    rgb = LEVELS[..., :3] // 128 * 128
    got = pixels(png(Image.fromarray(rgb), transparency=(128, 0, 128)))
    clear = (rgb == (128, 0, 128)).all(-1)
    assert clear.any()
    assert (got == np.where(clear[..., None], 255, rgb)).all()


def test_all_16_bit_values_are_divided_by_257_and_rounded():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    want = np.rint(values / 257).astype(int)[..., None]
    assert (pixels(png(Image.fromarray(values))) == want).all()
    swapped = Image.frombytes("I;16B", (256, 256), values.astype(">u2").tobytes())
    assert (pixels(swapped) == want).all()


def test_16_bit_grey_with_a_transparent_value():
    values = np.array([[0, 1000, 65535], [1000, 257, 514]], np.uint16)
    got = pixels(png(Image.fromarray(values), transparency=1000))
    assert got[..., 0].tolist() == [[0, 255, 255], [255, 1, 2]]


def test_16_bit_ppm_grey():
    body = np.array([0, 257, 25700, 65535], ">u2").tobytes()
    assert pixels(b"P5 4 1 65535\n" + body)[0, :, 0].tolist() == [0, 1, 100, 255]


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([0, 257, 65535], [0, 1, 255]),
        ([0, 257, 25700], [0, 1, 100]),
        ([-100, 0, 100], [0, 128, 255]),
        ([0, 100000, 200000], [0, 128, 255]),
        ([-(2**31), 0, 2**31 - 1], [0, 128, 255]),
        ([-5, -5, -5], [0, 0, 0]),
    ],
)
def test_integers(values, want):
    image = Image.fromarray(np.array([values], np.int32))
    assert image.mode == "I"
    assert np.abs(pixels(image)[0, :, 0] - want).max() <= 1


@pytest.mark.parametrize(
    ("values", "want"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 2, 255], [0, 2, 255]),
        ([0, 25700, 65535], [0, 100, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([0, 5e9, 1e10], [0, 128, 255]),
        ([np.nan, np.inf, 1], [0, 0, 255]),
        ([-np.inf, 0, 0.5], [0, 0, 128]),
        ([-3e38, 0, 3e38], [0, 128, 255]),
    ],
)
def test_floats(values, want):
    image = Image.fromarray(np.array([values], np.float32))
    assert image.mode == "F"
    assert np.abs(pixels(image)[0, :, 0] - want).max() <= 1


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "L", "1", "RGBX"])
def test_the_rest_is_pillows_conversion(mode):
    image = Image.fromarray(LEVELS[..., :3])
    image = image.convert("RGB").convert(mode)
    assert (pixels(image) == np.asarray(image.convert("RGB"))).all()


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for name in ("GIF", "TIFF", "WEBP"):
        buffer = io.BytesIO()
        options = {"lossless": True} if name == "WEBP" else {}
        frames[0].save(buffer, name, save_all=True, append_images=frames[1:], **options)
        assert (pixels(buffer.getvalue()) == (255, 0, 0)).all()


# What undoes each orientation: stored = how the upright picture was turned before it was written.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def tagged(orientation, name, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](LEVELS[..., :3])))
    buffer = io.BytesIO()
    stored.save(buffer, name, exif=exif, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("name", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]
)
def test_orientation_is_undone(orientation, name, options):
    got = decode(tagged(orientation, name, **options))
    assert (np.asarray(got.image) == LEVELS[..., :3]).all()
    assert (got.width, got.height) == (40, 24)


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_a_jpeg(orientation):
    got = decode(tagged(orientation, "JPEG", quality=100, subsampling=0))
    assert np.abs(np.asarray(got.image, int) - LEVELS[..., :3]).max() <= 8
    assert (got.width, got.height) == (40, 24)


@pytest.mark.parametrize("orientation", STORED)
def test_the_size_of_a_jpeg_decoded_at_a_part_of_it_is_the_upright_pictures(orientation):
    levels = np.repeat(np.repeat(LEVELS[..., :3], 32, 0), 32, 1)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](levels)))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    stored.save(buffer, "JPEG", exif=exif)
    got = decode(buffer.getvalue(), min_side=32)
    assert (got.width, got.height) == (1280, 768)
    assert got.image.size == (160, 96)


@pytest.mark.parametrize("orientation", STORED)
def test_orientation_of_a_pil_image_is_undone_once(orientation):
    opened = Image.open(io.BytesIO(tagged(orientation, "PNG")))
    size = opened.size
    once = decode(opened)
    assert (np.asarray(once.image) == LEVELS[..., :3]).all()
    assert (np.asarray(decode(once.image).image) == LEVELS[..., :3]).all()
    assert opened.size == size


def test_orientation_survives_conversion():
    grey = np.ascontiguousarray(STORED[6](LEVELS[..., 0]))
    exif = Image.Exif()
    exif[0x0112] = 6
    for values in (grey, grey.astype(np.uint16) * 257):
        got = pixels(png(Image.fromarray(values), exif=exif))
        assert (got == LEVELS[..., :1]).all()
    translucent = Image.fromarray(np.ascontiguousarray(STORED[6](LEVELS)))
    want = over_white(LEVELS[..., :3], LEVELS[..., 3])
    assert np.abs(pixels(png(translucent, exif=exif)) - want).max() <= 1


def tiff_block(tag, kind, count, value, entries=1):
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHI4sI", entries, tag, kind, count, value, 0)


BROKEN_EXIF = {
    "empty": b"",
    "no TIFF header": b"garbage that is no TIFF",
    "header only": b"II*\0\x08\0\0\0",
    "offset beyond the end": b"II*\0\xff\xff\xff\xff",
    "more entries than bytes": tiff_block(0x0112, 3, 1, b"\6\0\0\0", entries=60000),
    "orientation 0": tiff_block(0x0112, 3, 1, b"\0\0\0\0"),
    "orientation 9": tiff_block(0x0112, 3, 1, b"\x09\0\0\0"),
    "orientation 65535": tiff_block(0x0112, 3, 1, b"\xff\xff\0\0"),
    "orientation as text": tiff_block(0x0112, 2, 4, b"six\0"),
    "orientation as bytes": tiff_block(0x0112, 7, 4, b"\6\6\6\6"),
    "orientation as two numbers": tiff_block(0x0112, 3, 2, b"\6\0\6\0"),
    "orientation as a fraction beyond the end": tiff_block(0x0112, 5, 1, b"\xff\xff\xff\x7f"),
    "orientation of an unknown type": tiff_block(0x0112, 99, 1, b"\6\0\0\0"),
    "four thousand million values": tiff_block(0x0112, 3, 0xFFFFFFFF, b"\6\0\0\0"),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Possibly corrupt EXIF")
@pytest.mark.filterwarnings(
    "ignore:Metadata Warning", "ignore:Truncated File Read", "ignore:Tag data"
)
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_broken_exif_costs_no_picture(name, exif):
    image = Image.fromarray(LEVELS[..., :3])
    buffer = io.BytesIO()
    image.save(buffer, name, exif=b"Exif\0\0" + exif)
    got = decode(buffer.getvalue())
    assert got.image.size[0] in (40, 24)
    got.image.load()


def test_orientation_in_xmp():
    stored = Image.fromarray(np.ascontiguousarray(STORED[8](LEVELS[..., :3])))
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="8"/></x:xmpmeta>'
    buffer = io.BytesIO()
    stored.save(buffer, "WEBP", lossless=True, xmp=xmp)
    assert (pixels(buffer.getvalue()) == LEVELS[..., :3]).all()
