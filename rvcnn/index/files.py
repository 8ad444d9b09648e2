"""Writing so that a crash at any moment leaves the old or the new, and saying what went wrong."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from rvcnn.errors import IndexDamagedError, IndexLockedError, RvcnnError
from rvcnn.paths import quoted

_SIGNS_OF_DAMAGE = ("no such", "malformed", "not a database")

DATABASE = "items.sqlite"


class Home(NamedTuple):
    """Where an index is: the folder its ids are relative to, and the folder its files are in."""

    root: Path
    location: Path


def write_all(file, data) -> None:
    """Write all of `data` to an unbuffered file, which may take a part at a time."""
    view = memoryview(data).cast("B")
    while view:
        view = view[file.write(view) :]


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file by `data`: at any moment it holds the old bytes or the new ones."""
    temporary = path.with_name(path.name + ".new")
    with open(temporary, "wb", buffering=0) as file:
        write_all(file, data)
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created or renamed in a folder survive a power cut, where that is possible."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def bytes_below(folder: Path) -> int:
    """Return how many bytes the files in and below a folder have, while others make and delete."""
    total = 0
    for inner, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                total += os.stat(os.path.join(inner, name)).st_size
    return total


@contextmanager
def told(home: Home) -> Iterator[None]:
    """Turn what the disk and SQLite raise into rvcnn's errors, with what to do."""
    try:
        yield
    except (RvcnnError, sqlite3.ProgrammingError):
        raise
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text or "busy" in text:
            raise IndexLockedError(
                f"the index of {home.root} is in use ({text}): try again in a moment"
            ) from error
        if any(sign in text for sign in _SIGNS_OF_DAMAGE):
            raise damaged(home, text) from error
        raise _failed(home, text) from error
    except sqlite3.DatabaseError as error:
        raise damaged(home, str(error)) from error
    except OSError as error:
        raise _failed(home, error.strerror or str(error)) from error


def damaged(home: Home, what: str) -> IndexDamagedError:
    return IndexDamagedError(
        f"the index of {home.root} is damaged ({what}): "
        f"`rvcnn verify --repair {quoted(home.root)}` mends it"
    )


def _failed(home: Home, reason: str) -> RvcnnError:
    return RvcnnError(
        f"the index in {home.location} could not be read or written: {reason}; what was committed "
        "before is safe: run the same command again when the cause is gone"
    )
