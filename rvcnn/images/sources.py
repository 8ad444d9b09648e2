"""What ``decode`` accepts, as something Pillow can read from without taking over the process."""

from __future__ import annotations

import io
import os
import stat
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from rvcnn.errors import ImageError

# A file may be this much larger than its decoded pixels at 16 bits in each of four channels.
_BYTES_PER_PIXEL = 8
_BYTES_OF_METADATA = 64 << 20


class Stream:
    """The reading methods of an open file, without its name and descriptor.

    Given a name or a descriptor, Pillow and libtiff map the file into memory, and a file that
    shrinks while it is read then kills the process with SIGBUS instead of ending in an error.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self.readline = file.readline
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close


def max_bytes(max_pixels: float) -> int:
    """Largest file, in bytes, that an image of ``max_pixels`` can need."""
    return int(_BYTES_PER_PIXEL * max_pixels) + _BYTES_OF_METADATA


def open_stream(source: Any, limit: int) -> Stream:
    """Open a path, bytes or a binary file object; ImageError above ``limit`` bytes."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        _check_bytes(memoryview(source).nbytes, limit)
        return Stream(io.BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        return Stream(_open_regular(source, limit))
    if hasattr(source, "read"):
        return Stream(_read_all(source, limit))
    raise ImageError(
        f"{type(source).__name__} is no image: give a path, bytes, a binary file, "
        "an (H, W, 3) uint8 array or a PIL image"
    )


def _open_regular(path: Any, limit: int) -> BinaryIO:
    # Looked at before opening, because opening alone sets some devices going; and again after it.
    _check_regular(os.stat(path))
    flags = os.O_RDONLY
    for name in ("O_BINARY", "O_CLOEXEC", "O_NOINHERIT", "O_NOCTTY", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    descriptor = os.open(path, flags)
    try:
        info = os.fstat(descriptor)
        _check_regular(info)
        _check_bytes(info.st_size, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(info: os.stat_result) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise ImageError("is a directory")
    if not stat.S_ISREG(info.st_mode):
        raise ImageError("is not a regular file")


def _check_bytes(count: int, limit: int) -> None:
    if count == 0:
        raise ImageError("the file is empty")
    if count > limit:
        raise ImageError(
            f"the file is larger than {limit / 1e6:.0f} MB, more than an image within the limit of "
            "megapixels needs; raise the limit to read it"
        )


def _read_all(file: Any, limit: int) -> BinaryIO:
    try:
        file.seek(0)
    except (AttributeError, OSError):
        pass
    content = bytearray()
    while len(content) <= limit:
        part = file.read(limit + 1 - len(content))
        if not isinstance(part, (bytes, bytearray, memoryview)):
            raise ImageError("the file is not open in binary mode")
        if not part:
            break
        content += part
    _check_bytes(len(content), limit)
    return io.BytesIO(content)


def from_array(array: np.ndarray) -> Image.Image:
    """Turn (H, W, 3), (H, W, 4), (H, W, 1) or (H, W) uint8 into a PIL image."""
    if array.dtype != np.uint8:
        raise ImageError(
            f"an array of {array.dtype} is no image: give uint8, with values from 0 to 255"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ImageError(
            f"an array of shape {array.shape} is no image: give (H, W, 3), (H, W, 4) or (H, W)"
        )
    if array.size == 0:
        raise ImageError(f"an array of shape {array.shape} has no pixels")
    return Image.fromarray(np.ascontiguousarray(array))
