"""The SQLite database of an index: its tables and how it is opened."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rvcnn.errors import IndexMissingError
from rvcnn.index import seal
from rvcnn.index.connections import connect
from rvcnn.index.files import DATABASE, Home, damaged, sync_folder
from rvcnn.paths import quoted

# Each row of the vectors file belongs to one item or is listed as dead, so that every byte of the
# file has a checksum. `version` counts commits; `generation` names the vectors file, `rows` says
# how many of its rows are committed. Ids are file names, so they are bytes.
SCHEMA = """
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 0),
    manifest TEXT NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    rows INTEGER NOT NULL
);
CREATE TABLE items (
    id BLOB PRIMARY KEY,
    status TEXT NOT NULL,
    size INTEGER,
    mtime_ns INTEGER,
    sha256 BLOB,
    width INTEGER,
    height INTEGER,
    format TEXT,
    added_at INTEGER,
    error TEXT,
    tried TEXT,
    metadata TEXT,
    vector_sum BLOB,
    row INTEGER,
    checksum BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX items_row ON items (row);
CREATE INDEX items_sha256 ON items (sha256);
CREATE TABLE dead (row INTEGER PRIMARY KEY, vector_sum BLOB NOT NULL);
"""


class State(NamedTuple):
    """The single row of the table `state`."""

    manifest: str
    version: int
    generation: int
    rows: int


def create(home: Home, state: State) -> None:
    """Make a database without items, in place of any other, complete or not at all."""
    temporary = home.location / (DATABASE + ".new")
    with closing(create_aside(temporary)) as connection:
        write_state(connection, state)
        connection.execute("COMMIT")
    put_in_place(temporary, home.location / DATABASE)


def create_aside(path: Path) -> sqlite3.Connection:
    """Make a database with empty tables at `path`; its transaction is open."""
    remove(path)
    connection = connect(path, "rwc")
    connection.execute("BEGIN")
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    return connection


def write_state(connection: sqlite3.Connection, state: State) -> None:
    connection.execute("INSERT INTO state VALUES (0, ?, ?, ?, ?)", state)


def put_in_place(temporary: Path, path: Path) -> None:
    """Replace a database by another one that nothing has open."""
    # A journal left by the database that goes would be taken for the new one's.
    remove_journals(path)
    os.replace(temporary, path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a database with its journals."""
    path.unlink(missing_ok=True)
    remove_journals(path)


def remove_journals(path: Path) -> None:
    for suffix in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def open_to_write(home: Home) -> sqlite3.Connection:
    """Open the database of an index for its one writer."""
    connection = connect(_existing(home), "rw")
    try:
        if not _use_wal(connection, home):
            connection.close()
            connection = _without_wal(home)
        # Each commit is on the disk before the next step, so the order of steps holds through a
        # power cut: the vectors file that a commit names is never deleted or overwritten.
        connection.execute("PRAGMA synchronous = FULL")
        return connection
    except BaseException:
        connection.close()
        raise


def _use_wal(connection: sqlite3.Connection, home: Home) -> bool:
    """Use a write-ahead log, with which readers never wait; whether it works here."""
    try:
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            seal.break_open(home.location)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return mode == "wal"
    except sqlite3.OperationalError as error:
        # The log needs memory shared between processes, which network file systems do not have.
        if _lacks_log_files(error):
            return False
        raise


def _lacks_log_files(error: sqlite3.OperationalError) -> bool:
    signs = ("unable to open", "readonly", "locking protocol", "disk I/O")
    return any(sign in str(error) for sign in signs)


def _without_wal(home: Home) -> sqlite3.Connection:
    """Open a database with a rollback journal: readers may wait a moment for a commit."""
    seal.break_open(home.location)
    connection = connect(_existing(home), "rw")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # then a log needs no shared memory
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    return connect(_existing(home), "rw")


def open_to_read(home: Home) -> sqlite3.Connection:
    """Open the database of an index for a reader."""
    path = _existing(home)
    connection = connect(path, "rw")
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        if not _lacks_log_files(error) or _has_log(path):
            raise
        # Beside a database on a read-only disk SQLite cannot make the files that its log needs.
        # Where there is no log nobody is writing, and the database can be read as it is.
        return connect(path, "ro", immutable=True)
    except BaseException:
        connection.close()
        raise


def _has_log(path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    return log.exists() and log.stat().st_size > 0


def _existing(home: Home) -> Path:
    path = home.location / DATABASE
    if not path.exists():
        if not home.location.exists():
            raise IndexMissingError(
                f"the index of {home.root} is gone: `rvcnn embed {quoted(home.root)}` makes one"
            )
        raise damaged(home, f"{DATABASE} is missing")
    return path


def read_state(connection: sqlite3.Connection, home: Home) -> State:
    found = connection.execute("SELECT manifest, version, generation, rows FROM state").fetchone()
    if found is None:
        raise damaged(home, f"{DATABASE} is empty")
    text, *numbers = found
    if not isinstance(text, str) or not all(isinstance(n, int) and n >= 0 for n in numbers):
        raise damaged(home, "its table `state` holds what was never written")
    return State(*found)
