"""Making the files of a new index."""

import os
from collections.abc import Mapping
from typing import Any

from rvcnn.errors import UsageError
from rvcnn.index import database, manifest, seal
from rvcnn.index.files import Home, told
from rvcnn.index.locate import home_of, make_home
from rvcnn.index.lock import WriterLock
from rvcnn.index.vectors import generation_of


def create_index(
    folder: str | os.PathLike[str],
    dim: int,
    metric: str = "cosine",
    description: Mapping[str, Any] | None = None,
    wait: float = 10.0,
    exist_ok: bool = False,
    dtype: str = "float32",
) -> Home:
    """Make an empty index of a folder; with `exist_ok`, unless there is one.

    Raises
    ------
    UsageError
        The folder has an index and that is not ok, or an argument cannot be meant.
    """
    new = manifest.make(dim, metric, description, dtype=dtype)
    home = make_home(folder)
    lock = WriterLock(home, wait)
    try:
        if home_of(home.root) is None:
            _write(home, manifest.at_home(new, home), 0)
        elif not exist_ok:
            raise UsageError(f"{os.fspath(folder)} has an index already")
    finally:
        lock.release()
    return home


def replace_index(home: Home, new: manifest.Manifest, wait: float) -> None:
    """Put an empty index in place of whatever there is: damaged, or of a newer format."""
    lock = WriterLock(home, wait)
    try:
        with told(home):
            seal.break_open(home.location)
            # A file of a generation that was never used: readers may have the others mapped.
            used = [generation_of(path) for path in home.location.iterdir()]
            unused = max((n for n in used if n is not None), default=-1) + 1
        _write(home, manifest.at_home(new, home), unused)
    finally:
        lock.release()


def _write(home: Home, new: manifest.Manifest, generation: int) -> None:
    with told(home):
        database.create(home, database.State(new.to_text(), 1, generation, 0))
        manifest.write(home.location, new)
