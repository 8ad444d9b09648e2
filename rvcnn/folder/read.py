"""Reading a file so that what is hashed is what is embedded, and as it was at one moment."""

import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rvcnn.index.items import time_of

LARGE = 64 << 20  # bytes; of files larger than this one is in memory at a time
_ONE_LARGE = threading.Lock()
_FLAGS = ("O_BINARY", "O_NONBLOCK", "O_NOCTTY")  # a pipe must not be waited for


class Unreadable(Exception):
    """A file that could not be read as it is; a later run may."""


class Content(NamedTuple):
    """All bytes of a file, their sha256, and its size and mtime when they were read."""

    data: bytes
    sha256: bytes
    size: int
    mtime_ns: int


@contextmanager
def content_of(path: str, largest: int) -> Iterator[Content]:
    """Read a file; its bytes are to be let go of at the end of the ``with``.

    Parameters
    ----------
    path
        The file.
    largest
        Most bytes it may have.

    Raises
    ------
    FileNotFoundError
        It is gone.
    Unreadable
        It may not be read, is no regular file, is too large, or changes while it is read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, f, 0) for f in _FLAGS))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    with open(descriptor, "rb", buffering=0) as file:
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable("no regular file")
        if before.st_size > largest:
            raise Unreadable(
                f"a file of {before.st_size >> 20} MiB is too large, {largest >> 20} MiB is the "
                "most that an image within the limit of megapixels can need"
            )
        if before.st_size > LARGE:
            with _ONE_LARGE:
                yield _read(file, before)
        else:
            yield _read(file, before)


def _read(file, before: os.stat_result) -> Content:
    parts, left = [], before.st_size
    try:
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
        after = os.fstat(file.fileno())
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None
    if left or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise Unreadable("it changed while it was read")
    data = parts[0] if len(parts) == 1 else b"".join(parts)
    return Content(data, hashlib.sha256(data).digest(), before.st_size, time_of(before))
