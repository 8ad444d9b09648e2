"""A snapshot: everything as of one commit, whatever a writer does meanwhile."""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np

from rvcnn.errors import IndexDamagedError, RvcnnError, UsageError
from rvcnn.index import approximate, database, exact, manifest
from rvcnn.index.choose import Choices
from rvcnn.index.connections import Immutable, Keeper
from rvcnn.index.files import DATABASE, Home, damaged, told
from rvcnn.index.formats import Rows
from rvcnn.index.graph import newest
from rvcnn.index.items import COLUMNS, Item, decode_id, encode_id, from_record
from rvcnn.index.vectors import map_rows
from rvcnn.index.walk import Walk, open_walk
from rvcnn.paths import file_identity
from rvcnn.where import Condition

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM items"
_ATTEMPTS = 20
_PAUSE = 0.05
_AT_ONCE = 256  # rows that the database is asked for


class Loaded:
    """What is kept in memory of one commit; shared by all snapshots of it."""

    def __init__(self, state: database.State, parsed: manifest.Manifest, vectors: Rows):
        self.state = state
        self.manifest = parsed
        self.vectors = vectors
        self.walk: Walk | None = None
        self.living: approximate.Living | None = None
        self.order: np.ndarray | None = None
        self.rank: np.ndarray | None = None
        self.choices = Choices()


class Snapshot:
    """One commit of an index, open for reading."""

    def __init__(self, home: Home, connection: sqlite3.Connection, loaded: Loaded):
        self.home = home
        self._connection = connection
        self._loaded = loaded
        self.manifest = loaded.manifest
        self.state = loaded.state

    @property
    def all_vectors(self) -> Rows:
        """All rows of the vectors' files, dead ones included; not to be changed."""
        return self._loaded.vectors

    def order(self) -> np.ndarray:
        """Return (N,) int64: the rows that have an id, in the order of their ids' bytes."""
        if self._loaded.order is None:
            rows = self._rows("SELECT row FROM items WHERE row IS NOT NULL ORDER BY id")
            self._loaded.order = self._there(rows)
        return self._loaded.order

    def _rows(self, query: str, *values) -> np.ndarray:
        """Return what the database gives: (N,) int64."""
        try:
            return np.fromiter(chain.from_iterable(self.execute(query, *values)), np.int64)
        except (TypeError, ValueError, OverflowError) as error:
            raise damaged(self.home, f"the row of an item is no number: {error}") from error

    def rank(self, where: Condition | str | None = None) -> np.ndarray:
        """Return (rows,) int64: the place of each row's id in their order; -1 for a dead row.

        And for one for which the condition `where` is not true.
        """
        if where is not None:
            return self._rank_of(self.chosen(where))
        if self._loaded.rank is None:
            self._loaded.rank = self._rank_of(self.order())
        return self._loaded.rank

    def _rank_of(self, order: np.ndarray) -> np.ndarray:
        rank = np.full(self.state.rows, -1, np.int64)
        rank[self._there(order)] = np.arange(len(order))
        return rank

    def _there(self, rows: np.ndarray) -> np.ndarray:
        if len(rows) and (rows.min() < 0 or rows.max() >= self.state.rows):
            raise damaged(self.home, "an item has a row that is not there")
        return rows

    def chosen(self, where: Condition | str) -> np.ndarray:
        """Return (N,) int64: the rows for which a condition is true, in the order of `order`."""
        return self._loaded.choices.rows(self.home, self._connection, where)

    def count(self) -> int:
        """Return how many ids have a vector."""
        return self._connection.execute("SELECT count(row) FROM items").fetchone()[0]

    def ids(self) -> list[str]:
        """Return the ids that have a vector, in the order of their bytes."""
        rows = self._connection.execute("SELECT id FROM items WHERE row IS NOT NULL ORDER BY id")
        return [decode_id(identity) for (identity,) in rows]

    def items(self, which: str = "ORDER BY id", *values) -> Iterator[Item]:
        """Iterate over all items, with a vector or without, in the order of their ids' bytes.

        Or over others, in another order: `which` is the end of an SQL query, with its `values`.
        """
        for record in self.execute(f"{_SELECT} {which}", *values):
            yield from_record(record, self.state.rows)

    def item(self, identity: str) -> Item | None:
        """Return one item."""
        return next(self.items("WHERE id = ?", encode_id(identity)), None)

    def vectors(self, ids: Iterable[str] | None = None) -> np.ndarray:
        """Return a copy of the vectors of `ids`, or of all `ids()`: (N, D) float32."""
        rows = self.order() if ids is None else np.array([self._row(i) for i in ids], np.int64)
        return self.all_vectors.vectors(self.manifest.metric, rows)

    def _row(self, identity: str) -> int:
        query = "SELECT row FROM items WHERE id = ? AND row IS NOT NULL"
        found = self._there(self._rows(query, encode_id(identity)))
        if not len(found):
            raise UsageError(f"the index of {self.home.root} has no vector of {identity!r}")
        return int(found[0])

    def top_k(
        self,
        queries: np.ndarray,
        k: int,
        workers: int = 0,
        where: Condition | str | None = None,
        exactly: bool = True,
        effort: int = 0,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores of the `k` nearest to each of (Q, D) checked queries.

        Unless filtered or `exactly`, by the graph where there is one and it pays.
        """
        walk = None if exactly or where is not None else self._loaded.walk
        if walk is not None and approximate.pays(walk, k):
            living = self._living(walk)
            k = min(k, living.count)

            def exactly(some):
                return self.top_k(some, k, workers)

            found = walk, queries, k, living, self._encoded_ids, exactly, effort, workers
            return approximate.top_k(self.all_vectors, *found)
        metric, rank = self.manifest.metric, self.rank(where)
        return exact.top_k(self.all_vectors, queries, k, metric, rank, workers)

    def walk(self) -> Walk | None:
        """Return the graph, ready to search; None where there is none."""
        return self._loaded.walk

    def _living(self, walk: Walk) -> approximate.Living:
        """Return which rows may be found, without reading all ids."""
        if self._loaded.living is None:
            count, first = self.state.rows, walk.header.rows
            alive = np.ones(count, bool)
            dead = self._rows("SELECT row FROM dead")
            late = self._rows("SELECT row FROM items WHERE row >= ? ORDER BY id", first)
            for rows, least in ((dead, 0), (late, first)):
                if len(rows) and (rows.min() < least or rows.max() >= count):
                    raise damaged(self.home, "it names a row that is not there")
            alive[dead] = False
            rank = np.full(count - first, -1, np.int64)
            rank[late - first] = np.arange(len(late))
            self._loaded.living = approximate.Living(alive, int(alive.sum()), rank)
        return self._loaded.living

    def _encoded_ids(self, rows: np.ndarray) -> list[bytes]:
        return [os.fsencode(identity) for identity in self.ids_of(rows)]

    def above(
        self,
        query: np.ndarray,
        threshold: float,
        workers: int = 0,
        where: Condition | str | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and scores of all that score at least `threshold`."""
        metric, rank = self.manifest.metric, self.rank(where)
        return exact.above(self.all_vectors, query, threshold, metric, rank, workers)

    def ids_of(self, rows: Iterable[int]) -> list[str]:
        """Return the ids of rows."""
        asked = [int(row) for row in rows]
        wanted, known = sorted({*asked}), {}
        for start in range(0, len(wanted), _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(part))
            known.update(self.execute(f"SELECT row, id FROM items WHERE row IN ({marks})", *part))
        missing = [row for row in wanted if row not in known]
        if missing:
            raise damaged(self.home, f"row {missing[0]} has no id")
        return [decode_id(known[row]) for row in asked]

    def counts(self) -> dict[str, int]:
        """Return how many items there are of each status."""
        rows = self._connection.execute("SELECT status, count(*) FROM items GROUP BY status")
        return dict(rows.fetchall())

    def dead(self) -> int:
        """Return how many rows no item has any more."""
        return self._connection.execute("SELECT count(*) FROM dead").fetchone()[0]

    def execute(self, query: str, *values) -> sqlite3.Cursor:
        """Ask the database."""
        return self._connection.execute(query, values)


class Source(Keeper):
    """Makes snapshots of one index, from any thread."""

    def __init__(self, home: Home):
        super().__init__()
        self._home = home
        self._idle: list[sqlite3.Connection] = []
        self._owner = os.getpid(), file_identity(home.location / DATABASE)
        self._loaded: Loaded | None = None
        self._walk: tuple[object, Walk | None] = None, None

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open the last commit."""
        with told(self._home):
            owner, connection, loaded = self._begin()
        try:
            yield Snapshot(self._home, connection, loaded)
        except sqlite3.Error as error:
            with told(self._home):
                raise error
        finally:
            self._end(owner, connection)

    def _begin(self) -> tuple[tuple, sqlite3.Connection, Loaded]:
        """Begin a read, again and again if each time a compaction or a repair overtakes it."""
        for _ in range(_ATTEMPTS):
            self._discard_foreign()
            owner, connection = self._owner, None
            try:
                connection = self._take()
                connection.execute("BEGIN")
                return owner, connection, self._load(connection)
            except BaseException as error:
                if connection is not None:
                    connection.close()
                if not self._overtaken(error, owner):
                    raise
        raise damaged(self._home, "its vectors file is missing")

    def _overtaken(self, error: BaseException, owner: tuple) -> bool:
        """Whether what failed may have met with files that were on their way out."""
        if isinstance(error, FileNotFoundError):
            return not isinstance(error, RvcnnError)
        if not isinstance(error, (sqlite3.Error, IndexDamagedError)):
            return False
        # A database that is replaced loses its log first.
        time.sleep(_PAUSE)
        return file_identity(self._home.location / DATABASE) != owner[1]

    def _load(self, connection: sqlite3.Connection) -> Loaded:
        state = database.read_state(connection, self._home)
        loaded = self._loaded
        if loaded is None or loaded.state != state:
            parsed = manifest.parse(state.manifest, self._home)
            vectors = map_rows(
                self._home, state.generation, state.rows, parsed.dimension, parsed.dtype
            )
            loaded = self._loaded = Loaded(state, parsed, vectors)
            loaded.walk = self._open_walk(loaded)
        return loaded

    def _open_walk(self, loaded: Loaded) -> Walk | None:
        """Open the graph of a commit, or keep the one that is open where it is the same."""
        path = newest(self._home, loaded.state.generation, loaded.state.rows)
        try:
            status = path and os.stat(path)
        except OSError:
            status = None
        key = path and status and (path, status.st_ino, status.st_mtime_ns)
        kept = self._walk
        if key != kept[0]:
            walk = None
            if key:
                about = loaded.manifest.dimension, loaded.manifest.metric
                walk = open_walk(path, loaded.state, loaded.vectors, *about)
            self._walk = kept = key, walk
        return kept[1]

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return database.open_to_read(self._home)

    def _discard_foreign(self) -> None:
        """Let go of connections from before a fork, or to a database that was replaced."""
        owner = os.getpid(), file_identity(self._home.location / DATABASE)
        if owner == self._owner:
            return
        # Known before the old ones go: a thread that gives one back now must not keep it.
        former, self._owner = self._owner, owner
        if former[0] == os.getpid():
            self.close()
        else:
            # SQLite's connections must not be used, nor closed, on the other side of a fork.
            _OF_PARENTS.append(self._idle)
            self._idle = []

    def _end(self, owner: tuple, connection: sqlite3.Connection) -> None:
        if owner[0] != os.getpid():
            _OF_PARENTS.append([connection])
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            connection.close()
            return
        # The database may have been replaced while it was read.
        if owner != self._owner or isinstance(connection, Immutable):
            connection.close()
        else:
            self._idle.append(connection)

    def __del__(self):
        if self._owner[0] == os.getpid():
            self.close()

    def close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        self.close_idle()
        self._loaded = None
        self._walk = None, None


_OF_PARENTS: list[list[sqlite3.Connection]] = []
