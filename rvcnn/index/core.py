"""`Index`: what users of the library see of an index."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rvcnn.errors import UsageError
from rvcnn.index import manifest
from rvcnn.index.ann import build_ann
from rvcnn.index.arguments import whole_number
from rvcnn.index.build import BREADTH, DEGREE
from rvcnn.index.create import create_index
from rvcnn.index.files import Home, bytes_below
from rvcnn.index.items import Item, Status
from rvcnn.index.locate import existing_home
from rvcnn.index.snapshot import Snapshot, Source
from rvcnn.index.vectors import checked
from rvcnn.index.verify import verify
from rvcnn.index.writer import Writer
from rvcnn.where import Condition


class Match(NamedTuple):
    """One hit: its id, its score (higher is nearer) and its row."""

    id: str
    score: float
    row: int


class Matches(NamedTuple):
    """Hits of Q queries, best first: ids, (Q, k) float32 scores (higher is nearer), int64 rows."""

    ids: list[list[str]]
    scores: np.ndarray
    rows: np.ndarray


class Stats(NamedTuple):
    """What an index holds: items of each status, rows without an item, bytes on the disk."""

    vectors: int
    failed: int
    stale: int
    dead_rows: int
    bytes: int


class Index:
    """Vectors on disk, each with an id, and search over them: exact, or by a graph.

    Every call sees the index as of its last commit, as a whole, and none waits for a writer. One
    object may be used from several threads, and in a process that was forked while nothing read or
    wrote the index. Scores are the cosine, the dot product or, for the metric euclidean, the
    negated distance: higher is always nearer.
    """

    def __init__(self, home: Home, source: Source):
        self._home = home
        self._source = source

    @classmethod
    def create(
        cls,
        dir: str | os.PathLike[str],
        dim: int,
        metric: str = "cosine",
        description: Mapping[str, Any] | None = None,
        wait: float = 10.0,
        dtype: str = "float32",
    ) -> "Index":
        """Make an empty index of a folder, and the folder where there is none.

        Parameters
        ----------
        dir
            The folder the ids are relative to. The index goes to ``.rvcnn`` in it or, where that
            cannot be written, to the user's data folder.
        dim
            Length of the vectors.
        metric
            ``cosine``, ``euclidean`` or ``dot``.
        description
            What makes the vectors, as plain JSON.
        wait
            Seconds to wait for another process that is making it.
        dtype
            How vectors are held: as ``float32``, or as ``int8``, of which a search reads a quarter
            as many bytes and the disk holds half as many. To a vector's 16-bit steps (about 1e-6 of
            a score) the results are the same.

        Raises
        ------
        UsageError
            The folder has an index, or an argument cannot be meant.
        """
        return cls.open(create_index(dir, dim, metric, description, wait, dtype=dtype).root)

    @classmethod
    def open(cls, dir: str | os.PathLike[str]) -> "Index":
        """Open the index of a folder.

        Raises
        ------
        IndexMissingError
            It has none.
        IndexMismatchError
            It has a newer format.
        IndexDamagedError
            It cannot be read.
        """
        home = existing_home(dir)
        manifest.refuse_newer(home)
        source = Source(home)
        with source.snapshot():
            return cls(home, source)

    def close(self) -> None:
        """Close what is open. The index can be used again."""
        self._source.close()

    def __enter__(self) -> "Index":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __reduce__(self):
        return type(self).open, (self.path,)

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, dim={self.dim}, metric={self.metric!r})"

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Open the last commit, for several reads that must agree with each other."""
        return self._source.snapshot()

    def writer(self, wait: float = 10.0) -> Writer:
        """Return a writer, to be used with ``with``; commits when that ends.

        Raises
        ------
        IndexLockedError
            Another writer was at work for `wait` seconds.
        """
        return Writer(self._home, wait)

    @property
    def path(self) -> Path:
        """The folder that ids are relative to."""
        return self._home.root

    @property
    def location(self) -> Path:
        """The folder that the index's files are in."""
        return self._home.location

    @property
    def dim(self) -> int:
        """Length of the vectors."""
        return self._manifest().dimension

    @property
    def metric(self) -> str:
        """``cosine``, ``euclidean`` or ``dot``."""
        return self._manifest().metric

    @property
    def dtype(self) -> str:
        """How vectors are held: ``float32`` or ``int8``."""
        return self._manifest().dtype

    @property
    def description(self) -> Mapping[str, Any]:
        """What makes the vectors."""
        return self._manifest().description

    def _manifest(self) -> manifest.Manifest:
        with self.snapshot() as now:
            return now.manifest

    def __len__(self) -> int:
        with self.snapshot() as now:
            return now.count()

    def __contains__(self, identity: object) -> bool:
        item = self.item(identity) if isinstance(identity, str) and identity else None
        return item is not None and item.status == Status.OK

    @property
    def ids(self) -> list[str]:
        """The ids that have a vector, in the order of their bytes."""
        with self.snapshot() as now:
            return now.ids()

    def vectors(self, ids: Iterable[str] | None = None) -> np.ndarray:
        """Return the vectors of `ids`, or of all in the order of `Index.ids`: (N, D) float32."""
        with self.snapshot() as now:
            return now.vectors(ids)

    def items(self) -> Iterator[Item]:
        """Iterate over all items, those without a vector too, in the order of their ids' bytes."""
        with self.snapshot() as now:
            yield from now.items()

    def item(self, identity: str) -> Item | None:
        """Return what is known of one id; None if nothing is."""
        with self.snapshot() as now:
            return now.item(identity)

    def stats(self) -> Stats:
        """Count what the index holds."""
        with self.snapshot() as now:
            counts = now.counts()
            return Stats(
                counts.get(Status.OK, 0),
                counts.get(Status.FAILED, 0),
                counts.get(Status.STALE, 0),
                now.dead(),
                bytes_below(self.location),
            )

    def add(
        self,
        vectors: Any,
        ids: Iterable[str | os.PathLike[str]],
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Add vectors and commit, as `Writer.add`. For many calls, one `writer()` is faster."""
        with self.writer() as writer:
            writer.add(vectors, ids, metadata)

    def remove(self, ids: Iterable[str | os.PathLike[str]]) -> int:
        """Remove ids and commit; how many of them were there."""
        with self.writer() as writer:
            return writer.remove(ids)

    def search(
        self,
        queries: Any,
        k: int = 10,
        workers: int = 0,
        exact: bool = False,
        where: str | Condition | None = None,
        effort: int = 0,
    ) -> Matches:
        """Find the `k` nearest to each of (Q, D) queries; (D,) is a single one.

        Equal scores come in the order of their ids' bytes. `k` becomes smaller where there are
        fewer vectors. `workers` threads search; 0 for as many as this process may use. With
        `where`, a filter of `rvcnn.where`, the `k` nearest of those that it holds for are found.

        Where `build_ann` made a graph, some of the nearest may be missed, unless `exact` or
        filtered; what is found has its exact score. `effort` is how many vectors the search keeps
        in view, as hnswlib's ``ef``: more of them miss fewer; 0 for a default.

        Raises
        ------
        UsageError, ShapeError
            Wrong dimensions or numbers, NaN, a zero vector where directions are compared, a filter
            that is none.
        """
        k, effort = whole_number("k", k), whole_number("effort", effort, 0)
        with self.snapshot() as now:
            asked = self._queries(now, queries)
            rows, scores = now.top_k(asked, k, workers, where, exact, effort)
            ids, each = now.ids_of(rows.ravel()), rows.shape[1]
            return Matches([ids[i * each : (i + 1) * each] for i in range(len(rows))], scores, rows)

    def build_ann(
        self,
        degree: int = DEGREE,
        breadth: int = BREADTH,
        workers: int = 0,
        wait: float = 10.0,
        note: Callable[[str], None] = lambda step: None,
    ) -> bool:
        """Build the graph by which `search` finds the nearest without looking at every vector.

        It takes minutes for a million vectors. Readers and writers go on meanwhile, and until it is
        there search is exact. What is added later is searched exactly until the next build.

        Parameters
        ----------
        degree
            Most neighbours of a vector, as hnswlib's ``M``, of which its lowest layer has twice.
        breadth
            How many vectors are kept in view to choose them, as hnswlib's ``ef_construction``.
        workers
            Threads; 0 for as many as this process may use.
        wait
            Seconds to wait for another writer when it is done.
        note
            Told what begins.

        Returns
        -------
        Whether there was anything to do: not where there is the same graph of all vectors.

        Raises
        ------
        IndexLockedError
            Another writer was at work for `wait` seconds.
        """
        if not 4 <= degree <= 1024 or not 4 <= breadth <= 4096:
            raise UsageError(
                f"degree is from 4 to 1024 and breadth from 4 to 4096, not {degree} and {breadth}"
            )
        return build_ann(self._home, self._source, degree, breadth, workers, wait, note)

    def nearest(self, vector: Any, where: str | Condition | None = None) -> Match | None:
        """Return the nearest to one vector (D,), or None if there is none to be found."""
        with self.snapshot() as now:
            vectors = self._queries(now, vector, one=True)
            rows, scores = now.top_k(vectors, 1, where=where)
            if not rows.size:
                return None
            return Match(now.ids_of(rows[0])[0], float(scores[0, 0]), int(rows[0, 0]))

    def search_with_threshold(
        self, vector: Any, threshold: float, where: str | Condition | None = None
    ) -> list[Match]:
        """Return all that score at least `threshold` with one vector (D,), best first."""
        with self.snapshot() as now:
            query = self._queries(now, vector, one=True)[0]
            rows, scores = now.above(query, threshold, where=where)
            ids = now.ids_of(rows)
        return [
            Match(i, float(score), int(row))
            for i, score, row in zip(ids, scores, rows, strict=True)
        ]

    def has_near_match(
        self, vector: Any, threshold: float, where: str | Condition | None = None
    ) -> bool:
        """Whether anything scores at least `threshold` with one vector (D,)."""
        best = self.nearest(vector, where)
        return best is not None and bool(best.score >= np.float32(threshold))

    @staticmethod
    def _queries(now: Snapshot, queries: Any, one: bool = False) -> np.ndarray:
        array = checked(queries, now.manifest.dimension, now.manifest.metric)
        if one and len(array) != 1:
            raise UsageError(f"one vector is asked for, not {len(array)}")
        return array

    def verify(self) -> list[str]:
        """Check every vector, row and checksum; one line for each thing that is wrong."""
        return verify(self.path)
