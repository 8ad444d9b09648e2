"""Compaction: new vectors files without the rows that no item has any more."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress

from rvcnn.index.database import State
from rvcnn.index.files import Home
from rvcnn.index.vectors import VectorsFile, file_names

_CHUNK = 4096


def compact(connection: sqlite3.Connection, home: Home, state: State, file: VectorsFile) -> None:
    """Copy the live rows into the next generation's files and commit them; then the old ones go.

    `file` is the live vectors file, all of it committed. At any moment either generation is the one
    that the database names, and it is whole.
    """
    paths = [home.location / name for name in file_names(state.generation + 1, file.dtype)]
    for path in paths:
        path.unlink(missing_ok=True)
    new = VectorsFile(home, state.generation + 1, file.dim, file.dtype, 0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        _move_rows(connection, file, new)
        new.sync()
        connection.execute("DELETE FROM dead")
        connection.execute(
            "UPDATE state SET version = version + 1, generation = generation + 1, rows = ?",
            (new.rows,),
        )
        connection.execute("COMMIT")
    except BaseException:
        new.close()
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    new.close()
    file.close()
    for name in file_names(state.generation, file.dtype):
        with suppress(OSError):  # on Windows a reader may map it: the next writer deletes it
            (home.location / name).unlink()


def _move_rows(connection: sqlite3.Connection, old: VectorsFile, new: VectorsFile) -> None:
    live = connection.execute(
        "SELECT row, id FROM items WHERE row IS NOT NULL ORDER BY row"
    ).fetchall()
    for start in range(0, len(live), _CHUNK):
        part = live[start : start + _CHUNK]
        first = new.rows
        for begin, count in _runs([row for row, _ in part]):
            new.append(old.read(begin, count))
        connection.executemany(
            "UPDATE items SET row = ? WHERE id = ?",
            [(first + n, identity) for n, (_, identity) in enumerate(part)],
        )


def _runs(rows: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the length of each run of consecutive rows."""
    begin = 0
    for n in range(1, len(rows) + 1):
        if n == len(rows) or rows[n] != rows[n - 1] + 1:
            yield rows[begin], n - begin
            begin = n
