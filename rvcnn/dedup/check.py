"""The last look at a file before it is touched."""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

from rvcnn.dedup.pictures import Picture
from rvcnn.dedup.plan import HARDLINK, Action
from rvcnn.index.items import time_of

_CHUNK = 1 << 20
_FLAGS = ("O_BINARY", "O_NONBLOCK", "O_NOCTTY")  # a pipe must not be waited for


class Changed(Exception):
    """A file that is not what the plan was made for."""


class Seen(NamedTuple):
    """What the file system said of a duplicate and of its keeper when they were read."""

    own: os.stat_result
    kept: os.stat_result


def check(action: Action) -> Seen:
    """Raise Changed unless both files are, byte by byte, what the index knows of them.

    And unless they are two files, on one disk where the one is to be linked to the other.
    """
    kept = _unchanged(action.keeper)
    own = _unchanged(action.picture)
    if action.picture.path.is_symlink():
        raise Changed(f"{action.picture.path} is a symbolic link")
    if (own.st_dev, own.st_ino) == (kept.st_dev, kept.st_ino):
        raise Changed(f"{action.picture.path} is the same file as {action.keeper.path} already")
    if action.how == HARDLINK:
        if action.picture.item.sha256 != action.keeper.item.sha256:
            raise Changed(f"the bytes of {action.picture.path} are not {action.keeper.path}'s")
        if own.st_dev != kept.st_dev:
            raise Changed(f"{action.picture.path} is on another disk than {action.keeper.path}")
    still_the_same(action.keeper.path, kept)
    still_the_same(action.picture.path, own)
    return Seen(own, kept)


def still_the_same(path: Path, seen: os.stat_result) -> None:
    """Raise Changed unless a path leads to the very file that was seen, as it was then."""
    if _facts(_status(path)) != _facts(seen):
        raise Changed(f"{path} changed just now")


def _facts(status):
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _status(path: Path) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        raise Changed(f"{path} is gone") from None
    except OSError as error:
        raise Changed(f"{path}: {error.strerror or error}") from None


def _unchanged(picture: Picture) -> os.stat_result:
    """Return what the file system says of a file whose size, time and content are as indexed."""
    item, status = picture.item, _status(picture.path)
    if not stat.S_ISREG(status.st_mode):
        raise Changed(f"{picture.path} is no regular file")
    same = (status.st_size, time_of(status)) == (item.size, item.mtime_ns)
    if not same or _sha256(picture) != item.sha256:
        raise Changed(f"{picture.path} changed since it was indexed (`rvcnn embed` reads it anew)")
    return status


def _sha256(picture: Picture) -> bytes:
    digest = hashlib.sha256()
    try:
        descriptor = os.open(picture.path, os.O_RDONLY | sum(getattr(os, f, 0) for f in _FLAGS))
        with open(descriptor, "rb", buffering=0) as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    except OSError as error:
        raise Changed(f"{picture.path}: {error.strerror or error}") from None
    return digest.digest()
