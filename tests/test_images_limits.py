"""Limits of pixels and bytes: what is too large is refused before memory is taken for it."""

import contextlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from images_samples import BOMBS, encoded, png_header, reason
from PIL import Image

from rvcnn.errors import ImageError
from rvcnn.images import decode, formats, headers, sources


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_the_header_is_enough_to_refuse(content):
    assert reason(content) == "50000 x 50000 pixels are more than the limit of 200 megapixels"


def test_the_limit_is_the_callers():
    content = encoded(np.zeros((1000, 1000, 3), np.uint8))
    assert decode(content, max_megapixels=1).width == 1000
    assert "limit of 0.999" in reason(content, max_megapixels=0.999)
    for source in (Image.new("RGB", (1000, 1000)), np.zeros((1000, 1000, 3), np.uint8)):
        assert "limit of 0.5" in reason(source, max_megapixels=0.5)


def test_what_turns_out_larger_than_its_header_says_is_refused_too():
    large = Image.new("RGB", (1200, 1000))

    class Growing(Image.Image):
        def load(self):
            self.__dict__.update(large.__dict__)
            return super().load()

    image = Growing()
    image.__dict__.update(Image.new("RGB", (9, 9)).__dict__)
    assert reason(image, max_megapixels=1).startswith("1200 x 1000 pixels are more than")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_an_image_without_pixels(size):
    assert reason(Image.new("RGB", size)) == f"an image of {size[0]} x {size[1]} has no pixels"


@pytest.mark.parametrize("megapixels", [100, 190])
def test_pillows_own_limits_stay_out_of_it(megapixels):
    header = png_header(10000, megapixels * 100, bits=1, colour=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "damaged PNG" in reason(header)


@pytest.mark.parametrize("name", ["GIF", "WEBP", "ICO"])
def test_plugins_that_take_memory_on_opening_are_not_even_asked(name, monkeypatch):
    def ask(*_):
        raise AssertionError("opened")

    options = {"sizes": [(250, 200)]} if name == "ICO" else {}
    content = encoded(np.zeros((200, 250, 3), np.uint8), name, **options)
    stream = io.BytesIO(content)
    decode(content)
    accept = formats._REGISTERED[name][1]
    monkeypatch.setitem(formats._REGISTERED, name, (ask, accept))
    assert "limit of 0.04 megapixels" in reason(content, max_megapixels=0.04)
    assert headers.SIZE_BEFORE_OPEN[name](stream) == (250, 200)


@pytest.mark.parametrize(
    "options", [{"lossless": True}, {"quality": 50}, {"exif": b"Exif\0\0II*\0"}]
)
def test_webp_sizes(options):
    content = encoded(np.zeros((201, 257, 3), np.uint8), "WEBP", **options)
    assert headers.webp_size(io.BytesIO(content)) == (257, 201)


def test_ico_sizes():
    icon = Image.new("RGBA", (64, 64))
    for kind in ("png", "bmp"):
        buffer = io.BytesIO()
        icon.save(buffer, "ICO", sizes=[(16, 16), (64, 64)], bitmap_format=kind)
        buffer.seek(0)
        assert headers.ico_size(buffer) == (64, 64)


def test_the_size_of_an_icon_is_its_largest_pictures_wherever_that_stands():
    pictures = [png_header(side, side) for side in (16, 64, 48)]
    entries, at = b"", 6 + 16 * len(pictures)
    for picture in pictures:
        entries += b"\x01" * 8 + struct.pack("<II", len(picture), at)
        at += len(picture)
    icon = b"\0\0\1\0\3\0" + entries + b"".join(pictures)
    assert headers.ico_size(io.BytesIO(icon)) == (64, 64)


@pytest.mark.parametrize("size_of", headers.SIZE_BEFORE_OPEN.values())
def test_short_headers_have_no_size(size_of):
    for content in (b"", b"GIF89a", b"\0\0\1\0", b"\0\0\1\0\2\0\0\0"):
        assert size_of(io.BytesIO(content)) is None


def test_an_icon_whose_pictures_lie_beyond_its_end_has_no_size():
    assert headers.ico_size(io.BytesIO(b"\0\0\1\0\1\0" + b"\xff" * 16)) is None


def test_what_pillow_refuses_by_itself_is_told_apart_from_our_limit():
    stream = io.BytesIO()
    Image.new("1", (18000, 12000)).save(stream, "TIFF", compression="group4")
    with pytest.raises(ImageError, match="12000 pixels are more than the limit of 200 megapixels"):
        decode(stream.getvalue())
    with pytest.raises(ImageError, match="^more than the 179 megapixels that Pillow reads of"):
        decode(stream.getvalue(), max_megapixels=1000)


@pytest.mark.parametrize("name", [b"zTXt", b"iTXt"])
def test_a_bomb_in_a_text_chunk(name):
    text = zlib.compress(bytes(100_000_000))
    body = b"key\0\0" + text if name == b"zTXt" else b"key\0\1\0\0\0" + text
    assert "too large" in reason(png_header(4, 4, (name, body)))


def test_a_bomb_in_a_colour_profile():
    profile = b"icc\0\0" + zlib.compress(bytes(100_000_000))
    assert "too large" in reason(png_header(4, 4, (b"iCCP", profile)))


def test_a_file_of_just_as_many_bytes_as_the_limit_is_read(tmp_path):
    (tmp_path / "a").write_bytes(bytes(1000))
    for source in (tmp_path / "a", bytes(1000), io.BytesIO(bytes(1000))):
        with contextlib.closing(sources.open_stream(source, 1000)) as stream:
            assert stream.read() == bytes(1000)
        with pytest.raises(ImageError, match="the file is larger than"):
            sources.open_stream(source, 999)


def test_limit_of_input_bytes(tmp_path):
    class Endless:
        given = 0

        def read(self, size):
            size = min(size, 65536)
            self.given += size
            return bytes(size)

    endless = Endless()
    with pytest.raises(ImageError, match="larger than"):
        sources.open_stream(endless, 1_000_000)
    assert endless.given <= 1_000_001
    with pytest.raises(ImageError, match="larger than"):
        sources.open_stream(bytes(11), 10)
    sparse = tmp_path / "huge.jpg"
    with open(sparse, "wb") as file:
        file.write(b"\xff\xd8\xff")
        file.truncate(100_000_000)
    assert "larger than" in reason(sparse, max_megapixels=1)
    assert sources.max_bytes(200e6) > 200e6 * 8
