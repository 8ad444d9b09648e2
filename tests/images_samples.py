"""Pictures and helpers of the image tests."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from rvcnn.errors import ImageError
from rvcnn.images import decode

ARRAY = np.random.default_rng(4).integers(0, 256, (30, 50, 3), np.uint8)


def encoded(array=ARRAY, name="PNG", **options):
    """Content of a file of the format ``name``."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, name, **options)
    return buffer.getvalue()


def smooth(height, width):
    """An array that JPEG hardly changes."""
    y, x = np.mgrid[:height, :width]
    diagonal = (x + y) * 255 / (width + height)
    planes = [128 + 100 * np.sin(x / 97), 128 + 100 * np.cos(y / 71), diagonal]
    return np.stack(planes, -1).astype(np.uint8)


def reason(source, **options):
    """Why ``decode`` refuses, after checking that the message is one short line."""
    with pytest.raises(ImageError) as caught:
        decode(source, **options)
    text = str(caught.value)
    assert text and text.isprintable() and len(text) <= 160
    return text


def png_header(width, height, *chunks, bits=8, colour=2):
    def chunk(name, body):
        check = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = [
        chunk(b"IHDR", head),
        *(chunk(*c) for c in chunks),
        chunk(b"IDAT", zlib.compress(b"\0")),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body) + chunk(b"IEND", b"")


def webp_header(width, height):
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF\x60\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + sides + bytes(60)


def ico_of(picture):
    return b"\0\0\1\0\1\0" + b"\0\0\0\0\1\0\x20\0" + struct.pack("<II", len(picture), 22) + picture


BOMBS = {
    "PNG": png_header(50000, 50000),
    "GIF": b"GIF89a" + struct.pack("<HH", 50000, 50000) + bytes(40),
    "WEBP": webp_header(50000, 50000),
    "ICO": ico_of(png_header(50000, 50000)),
    "BMP": b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 50000, 50000, 1, 24, 0) + bytes(20),
    "PPM": b"P6 50000 50000 255\n",
    "TGA": struct.pack("<BBBHHBHHHHBB", 0, 0, 2, 0, 0, 0, 0, 0, 50000, 50000, 24, 0),
}
