"""The seal: a digest of the whole database, for changed bytes where no row lies.

A writer breaks it before its first change and puts it back when it has closed the database in good
order. Where there is none, a writer died or a reader was in the way: nothing is wrong then, and
the checksums of the rows still hold.
"""

import hashlib
import sqlite3
from contextlib import suppress
from pathlib import Path

from rvcnn.index.connections import read_beside
from rvcnn.index.files import DATABASE, sync_folder, write_whole

NAME = "items.sha256"


def break_open(location: Path) -> None:
    """Remove the seal, and for good: a power cut must not bring it back beside later changes."""
    with suppress(FileNotFoundError):
        (location / NAME).unlink()
        sync_folder(location)


def put(connection: sqlite3.Connection, location: Path) -> None:
    """Move the write-ahead log into the database and seal it, unless something is in the way."""
    if (location / NAME).exists():
        return
    with suppress(OSError, sqlite3.Error):
        connection.execute("PRAGMA busy_timeout = 0")  # a reader must not keep a writer waiting
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not busy:
            write_whole(location / NAME, digest(location))


def holds(location: Path) -> bool:
    """Whether the database is as it was sealed; true where there is no seal."""
    while True:
        sealed = read(location)
        if sealed is None or sealed == digest(location):
            return True
        # A writer breaks the seal before it changes anything: if it is as before, so was the rest.
        if read(location) == sealed:
            return False


def read(location: Path) -> bytes | None:
    try:
        return (location / NAME).read_bytes()
    except FileNotFoundError:
        return None


def digest(location: Path) -> bytes:
    state, size = hashlib.sha256(), 0
    for chunk in read_beside(location / DATABASE):
        state.update(chunk)
        size += len(chunk)
    return f"{state.hexdigest()} {size} {DATABASE}\n".encode("ascii")
