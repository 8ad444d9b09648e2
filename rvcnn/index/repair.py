"""Mending a damaged index: what is sound stays, the rest is left for the next update to embed."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rvcnn.errors import IndexDamagedError
from rvcnn.index import database, manifest, seal
from rvcnn.index.ann import drop_graphs
from rvcnn.index.connections import connect
from rvcnn.index.files import DATABASE, Home, told
from rvcnn.index.formats import FORMATS, Rows
from rvcnn.index.items import COLUMNS, FACTS, Status, fact_sum
from rvcnn.index.locate import existing_home
from rvcnn.index.lock import WriterLock
from rvcnn.index.vectors import file_name, generation_of, map_file
from rvcnn.paths import quoted

_STATUS = FACTS.index("status")
_SUM = FACTS.index("vector_sum")
_INSERT = f"INSERT INTO items ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"


class Repaired(NamedTuple):
    """What `repair` did: vectors kept; items that lost theirs and wait for the next update."""

    kept: int
    stale: int


def repair(dir: str | os.PathLike[str], wait: float = 10.0) -> Repaired:
    """Make the index of a folder sound again: afterwards `verify` finds nothing.

    The database is written anew from the items whose checksums hold. Items whose vectors are
    damaged become stale; items that cannot be read at all are gone. The next
    `rvcnn.folder.update` embeds both from their files.

    Raises
    ------
    IndexLockedError
        Another writer was at work for `wait` seconds.
    IndexDamagedError
        Neither the manifest nor the database tells what the index holds.
    """
    home = existing_home(dir)
    lock = WriterLock(home, wait)
    try:
        with told(home):
            return _repair(home)
    finally:
        lock.release()


def _repair(home: Home) -> Repaired:
    seal.break_open(home.location)
    path = home.location / DATABASE
    temporary = home.location / (DATABASE + ".new")
    with closing(_open_damaged(path)) as old, closing(database.create_aside(temporary)) as new:
        state = _read_state(old, home)
        parsed = _read_manifest(home, state)
        generation = _live_generation(home, state)
        vectors = _read_vectors(home, generation, parsed)
        owned = np.zeros(vectors.count, bool)
        stale = _copy_items(old, new, vectors, owned)
        # All rows stay, were they never committed: a reader may have any of them mapped.
        rows = vectors.count
        new.executemany(
            "INSERT INTO dead VALUES (?, ?)",
            ((int(row), vectors.sum_of(row)) for row in np.flatnonzero(~owned)),
        )
        version = state.version + 1 if state else time.time_ns()
        database.write_state(new, database.State(parsed.to_text(), version, generation, rows))
        new.execute("COMMIT")
    database.put_in_place(temporary, path)
    drop_graphs(home, vectors, generation)
    manifest.write(home.location, parsed)
    with closing(database.open_to_write(home)) as connection:
        seal.put(connection, home.location)
    return Repaired(int(owned.sum()), stale)


def _open_damaged(path: Path) -> sqlite3.Connection:
    """Open the old database as it is; an empty one if there is none."""
    if path.exists():
        connection = connect(path, "rw")
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        except sqlite3.DatabaseError:
            connection.close()
    return sqlite3.connect(":memory:")


def _read_state(old: sqlite3.Connection, home: Home) -> database.State | None:
    with suppress(sqlite3.DatabaseError, IndexDamagedError):
        return database.read_state(old, home)
    return None


def _read_manifest(home: Home, state: database.State | None) -> manifest.Manifest:
    """Read what the index holds, from the database or else from the file."""
    for text in (state and state.manifest, manifest.read_text(home.location)):
        if isinstance(text, str):
            with suppress(IndexDamagedError):
                return manifest.parse(text, home)
    raise IndexDamagedError(
        f"the index of {home.root} is damaged beyond repair: make it anew with "
        f"`rvcnn embed --rebuild {quoted(home.root)}`"
    )


def _live_generation(home: Home, state: database.State | None) -> int:
    if state is not None:
        return state.generation
    # At most one file is there but for a crash; the checksums tell what belongs to the items.
    numbers = [generation_of(path) for path in home.location.iterdir()]
    return max((n for n in numbers if n is not None), default=0)


def _read_vectors(home: Home, generation: int, parsed: manifest.Manifest) -> Rows:
    """Map the rows that every file holds."""
    planes = FORMATS[parsed.dtype].planes(parsed.dimension)
    paths = [home.location / file_name(generation, plane.suffix) for plane in planes]
    rows = min(
        path.stat().st_size // plane.row_bytes if path.exists() else 0
        for path, plane in zip(paths, planes, strict=True)
    )
    mapped = (map_file(*pair, rows) for pair in zip(paths, planes, strict=True))
    return Rows(parsed.dtype, tuple(mapped))


def _copy_items(
    old: sqlite3.Connection, new: sqlite3.Connection, vectors: Rows, owned: np.ndarray
) -> int:
    """Copy the items that are sound, mark whose vectors are in `owned`; how many are stale."""
    stale = 0
    for record in _sound_records(old):
        *known, row, _ = record
        kept = _has_vector(known, row, vectors, owned)
        if kept:
            owned[row] = True
        else:
            row = None
            if known[_STATUS] != Status.FAILED:
                stale += 1
                known[_STATUS], known[_SUM] = Status.STALE, None
        new.execute(_INSERT, (*known, row, fact_sum(*known)))
    return stale


def _has_vector(known: list, row: object, vectors: Rows, owned: np.ndarray) -> bool:
    if known[_STATUS] != Status.OK or not isinstance(row, int) or not 0 <= row < vectors.count:
        return False
    return not owned[row] and vectors.sum_of(row) == known[_SUM]


def _sound_records(old: sqlite3.Connection) -> Iterator[tuple]:
    """Yield the records whose checksums hold, from both ends of the table if its middle is lost."""
    seen = set()
    for direction in ("ASC", "DESC"):
        try:
            for record in old.execute(
                f"SELECT {', '.join(COLUMNS)} FROM items ORDER BY id {direction}"
            ):
                *known, _row, checksum = record
                if fact_sum(*known) == checksum and record[0] not in seen:
                    seen.add(record[0])
                    yield record
            return
        except sqlite3.DatabaseError:
            continue
