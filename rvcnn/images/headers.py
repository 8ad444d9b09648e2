"""Sizes read from file headers, for the plugins that take memory for the pixels while they open.

Every other plugin of the allow-list only reads the header on opening, so its image's ``size`` can
be looked at before any pixel is decoded. All functions return ``(width, height)`` in pixels, or
None where the header is too short or unknown: the plugin then finds out what is wrong with it.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def gif_size(file: BinaryIO) -> tuple[int, int] | None:
    """Logical screen of a GIF."""
    head = file.read(10)
    return struct.unpack_from("<HH", head, 6) if len(head) == 10 else None


def webp_size(file: BinaryIO) -> tuple[int, int] | None:
    """Canvas of a WebP, in any of its three headers."""
    head = file.read(30)
    if len(head) < 30:
        return None
    chunk = head[12:16]
    if chunk == b"VP8X":
        return (
            int.from_bytes(head[24:27], "little") + 1,
            int.from_bytes(head[27:30], "little") + 1,
        )
    if chunk == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def ico_size(file: BinaryIO) -> tuple[int, int] | None:
    """Largest picture of an icon, by the pictures' own headers."""
    directory = file.read(16 * int.from_bytes(file.read(6)[4:], "little"))
    sizes = []
    for at in range(0, len(directory) - 15, 16):
        file.seek(int.from_bytes(directory[at + 12 : at + 16], "little"))
        size = _picture_size(file.read(24))
        if size is not None:
            sizes.append(size)
    return max(sizes, key=lambda s: s[0] * s[1], default=None)


def _picture_size(head: bytes) -> tuple[int, int] | None:
    if len(head) < 24:
        return None
    if head.startswith(_PNG_MAGIC):
        return struct.unpack_from(">II", head, 16)
    if head.startswith(b"\x0c\x00\x00\x00"):
        return struct.unpack_from("<HH", head, 4)
    width, height = struct.unpack_from("<ii", head, 4)
    return abs(width), abs(height) // 2


SIZE_BEFORE_OPEN = {"GIF": gif_size, "WEBP": webp_size, "ICO": ico_size}
