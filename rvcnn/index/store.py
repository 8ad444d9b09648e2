"""The files of an index open for its one writer, and what makes a change all or nothing."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from rvcnn.errors import RvcnnError, UsageError
from rvcnn.index import database, lock, manifest, seal
from rvcnn.index.compact import compact
from rvcnn.index.connections import refuse_inherited
from rvcnn.index.files import DATABASE, Home, told
from rvcnn.index.graph import clear_graphs
from rvcnn.index.items import FACTS, Status, fact_sum
from rvcnn.index.vectors import VectorsFile, file_names, generation_of
from rvcnn.paths import file_identity

_DEAD_SHARE = 0.3  # of the rows, above which they are compacted
_NEXT_FACTS = f"SELECT {', '.join(FACTS)} FROM items WHERE id > ? ORDER BY id LIMIT 4096"


class Store:
    """The database and the vectors file, locked.

    Attributes
    ----------
    connection
        To the database; None once closed. A transaction is open while something is not committed.
    file
        The live vectors file. Rows beyond `state.rows` are not committed.
    state, manifest
        As of the last commit.
    guard
        To be held while any of these is used.
    """

    def __init__(self, home: Home, wait: float):
        manifest.refuse_newer(home)
        refuse_inherited(home.location / DATABASE)
        self._process = os.getpid()
        self.home = home
        self.guard = threading.RLock()
        self.connection = None
        self.file = None
        self._lock = lock.WriterLock(home, wait)
        try:
            with told(home):
                self._opened = self._files()
                self.connection = database.open_to_write(home)
                self._open_files()
                self._clear_away()
                if manifest.read_text(home.location) != self.state.manifest:
                    manifest.write(home.location, self.manifest)
        except BaseException:
            self._release()
            raise

    def _files(self) -> list[tuple[int, int] | None]:
        """Return which files lie where the database and the lock do."""
        names = DATABASE, lock.NAME
        return [file_identity(self.home.location / name) for name in names]

    def check_place(self) -> None:
        """Raise RvcnnError if others' files lie where those did that this writer opened.

        And a UsageError in a process that was forked since.
        """
        if self._process != os.getpid():
            raise UsageError("this writer is another process's: open one in this process")
        if self._files() != self._opened:
            raise RvcnnError(
                f"the index in {self.home.location} was moved, deleted or replaced while it was "
                "written to: what was committed went with it; run the command again"
            )

    def _open_files(self) -> None:
        """Go by what is committed."""
        self.state = database.read_state(self.connection, self.home)
        self.manifest = manifest.parse(self.state.manifest, self.home)
        if self.file is not None and self.file.generation == self.state.generation:
            self.file.cut(self.state.rows)
            return
        if self.file is not None:
            self.file.close()
        self.file = VectorsFile(
            self.home,
            self.state.generation,
            self.manifest.dimension,
            self.manifest.dtype,
            self.state.rows,
        )

    def _clear_away(self) -> None:
        """Delete what a writer that died left behind."""
        live = file_names(self.state.generation, self.manifest.dtype)
        for path in self.home.location.iterdir():
            is_rows = generation_of(path) is not None
            if path.suffix == ".new" or (is_rows and path.name not in live):
                with suppress(OSError):  # on Windows a reader may still have it mapped
                    path.unlink()
        clear_graphs(self.home, self.state.generation, self.state.rows)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Make what is changed inside all or nothing; it is not committed by this."""
        with self.guard:
            if self.connection is None:
                raise UsageError("this writer is closed")
            with told(self.home):
                self.check_place()
                if not self.connection.in_transaction:
                    seal.break_open(self.home.location)
                    self.connection.execute("BEGIN IMMEDIATE")
                rows = self.file.rows
                self.connection.execute("SAVEPOINT change")
                try:
                    yield
                except BaseException:
                    self._undo(rows)
                    raise
                self.connection.execute("RELEASE change")

    def _undo(self, rows: int) -> None:
        if self.connection is None:  # a second interrupt went past it, and closed it first
            return
        # A full disk may have ended the transaction, and all that was not committed with it.
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK TO change")
            self.connection.execute("RELEASE change")
            self.file.cut(rows)
        else:
            self.rollback()

    def commit(self) -> None:
        """Commit all changes, or, where that fails, forget them."""
        with self.guard, told(self.home):
            if self.connection is None or not self.connection.in_transaction:
                return
            self.check_place()
            try:
                # The rows are on the disk before the commit that speaks of them.
                self.file.sync()
                self.connection.execute(
                    "UPDATE state SET version = version + 1, rows = ?", (self.file.rows,)
                )
                self.connection.execute("COMMIT")
            except Exception:
                self.rollback()
                raise
            self.state = database.read_state(self.connection, self.home)

    def rollback(self) -> None:
        """Forget what was not committed."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._open_files()

    def reset(self, new: manifest.Manifest) -> None:
        """Commit that no item has a vector any more, and what the next ones are going to be."""
        with self.guard, told(self.home):
            self.check_place()
            self.rollback()
            old = file_names(self.state.generation, self.manifest.dtype)
            seal.break_open(self.home.location)
            try:
                self.connection.execute("BEGIN IMMEDIATE")
                self._forget_vectors(new)
                self.connection.execute("COMMIT")
            finally:
                self.rollback()
            manifest.write(self.home.location, self.manifest)
            for name in old:
                with suppress(OSError):
                    (self.home.location / name).unlink()
            clear_graphs(self.home, self.state.generation, 0)

    def _forget_vectors(self, new: manifest.Manifest) -> None:
        self.connection.execute(
            f"UPDATE items SET status = '{Status.STALE}', row = NULL, vector_sum = NULL"
        )
        self._sum_again()
        self.connection.execute("DELETE FROM dead")
        self.connection.execute(
            "UPDATE state SET manifest = ?, version = version + 1, generation = generation + 1, "
            "rows = 0",
            (new.to_text(),),
        )

    def _sum_again(self) -> None:
        """Bring the checksum of every item up to date.

        Not by a function of Python's that SQLite calls: to SQLite an interrupt in one is damage.
        """
        after = b""
        while records := self.connection.execute(_NEXT_FACTS, (after,)).fetchall():
            sums = [(fact_sum(*record), record[0]) for record in records]
            self.connection.executemany("UPDATE items SET checksum = ? WHERE id = ?", sums)
            after = records[-1][0]

    def close(self) -> None:
        """Forget what was not committed, put the files in order, and let the next writer in."""
        with self.guard:
            if self.connection is None or self._process != os.getpid():
                return
            with told(self.home):
                try:
                    if self.connection.in_transaction:
                        self.rollback()
                    self._tidy()
                finally:
                    self._release()

    def _tidy(self) -> None:
        if self._files() != self._opened:
            return
        dead = self.connection.execute("SELECT count(*) FROM dead").fetchone()[0]
        if dead > _DEAD_SHARE * self.state.rows:
            seal.break_open(self.home.location)
            # It only saves room: where room itself is wanting, a later writer tries again.
            with suppress(RvcnnError), told(self.home):
                compact(self.connection, self.home, self.state, self.file)
                clear_graphs(self.home, self.state.generation + 1, 0)
        seal.put(self.connection, self.home.location)

    def _release(self) -> None:
        with ExitStack() as last_first:
            last_first.callback(self._lock.release)
            for resource in (self.connection, self.file):
                if resource is not None:
                    last_first.callback(resource.close)
            self.file = self.connection = None
