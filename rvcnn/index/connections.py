"""Connections to a database, and reading its file beside them.

A process that closes any descriptor of a file loses all its POSIX locks on that file. SQLite's are
such locks: without them another process takes itself for the last one and deletes the log that is
being written. So what the file was read by stays open as long as this process has a connection.

A forked process has none of its parent's locks, but SQLite's memory of them, by which it would take
none of its own. So connections that nobody uses are closed before a fork, and a database that was
in use is refused after it.
"""

import functools
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from weakref import WeakSet

from rvcnn.errors import UsageError
from rvcnn.paths import file_identity

_BUSY_SECONDS = 30.0
_CHUNK = 1 << 20


class _Uses:
    """What this process has open of one file."""

    def __init__(self):
        self.connections: WeakSet[Connection] = WeakSet()
        self.descriptors: list[int] = []


# Reentrant: whatever is done under it, the garbage collector may close a connection.
_GUARD = threading.RLock()
_USES: dict[tuple[int, int], _Uses] = {}
"""By the device and inode of a file."""
_KEEPERS: WeakSet["Keeper"] = WeakSet()
_INHERITED: set[tuple[int, int]] = set()


class Keeper:
    """Whoever keeps connections for later: they are closed before this process is forked."""

    def __init__(self):
        _watch_forks()
        with _GUARD:
            _KEEPERS.add(self)

    def close_idle(self) -> None:
        raise NotImplementedError


@functools.cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=_before_a_fork, after_in_parent=_GUARD.release, after_in_child=_forked
        )


def _before_a_fork() -> None:
    _GUARD.acquire()
    for keeper in [*_KEEPERS]:
        keeper.close_idle()


def _forked() -> None:
    _INHERITED.update(file for file, uses in _USES.items() if uses.connections)
    for uses in _USES.values():
        for descriptor in uses.descriptors:
            os.close(descriptor)
    _USES.clear()
    _GUARD.release()


def refuse_inherited(path: Path) -> None:
    """Raise UsageError if a database was in use when this process was forked."""
    if file_identity(path) in _INHERITED:
        raise UsageError(
            f"{path} was in use when this process was forked from another: fork while nothing "
            "reads or writes the index, or start processes by multiprocessing's `spawn`"
        )


class Connection(sqlite3.Connection):
    """A connection that is known to be open."""

    def close(self) -> None:
        super().close()
        with _GUARD:
            for file, uses in [*_USES.items()]:
                uses.connections.discard(self)
                if not uses.connections and _USES.pop(file, None):
                    for descriptor in uses.descriptors:
                        os.close(descriptor)


class Immutable(Connection):
    """A connection that does not see what is committed after it was made."""


def connect(path: Path, mode: str, immutable: bool = False) -> Connection:
    """Open a database: `mode` is SQLite's rw or rwc. Transactions are begun and ended by hand."""
    refuse_inherited(path)
    name = path.as_posix()
    uri = "file://" + quote(os.fsencode(name if name.startswith("/") else "/" + name), "/:")
    connection = sqlite3.connect(
        f"{uri}?mode={mode}{'&immutable=1' if immutable else ''}",
        uri=True,
        timeout=_BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=Immutable if immutable else Connection,
    )
    if file := file_identity(path):
        with _GUARD:
            _USES.setdefault(file, _Uses()).connections.add(connection)
    connection.text_factory = _text
    return connection


def _text(raw: bytes) -> str:
    # Damaged text must reach the checksum that tells of it.
    return raw.decode("utf-8", "surrogateescape")


def read_beside(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a database's file, whatever connections there are to it."""
    descriptor = _take(path)
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        while chunk := os.read(descriptor, _CHUNK):
            yield chunk
    finally:
        _put_back(descriptor)


def _take(path: Path) -> int:
    with _GUARD:
        uses = _USES.get(file_identity(path))
        if uses and uses.descriptors:
            return uses.descriptors.pop()
    return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))


def _put_back(descriptor: int) -> None:
    with _GUARD:
        uses = _USES.get(file_identity(descriptor))
        if uses and uses.connections:
            uses.descriptors.append(descriptor)
        else:
            os.close(descriptor)
