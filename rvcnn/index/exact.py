"""Exact search: every row is scored, block by block, and what may be among the best is refined.

A score says how near a row is, whatever the metric: higher is nearer.

========== =============================================================
metric     score
========== =============================================================
cosine     dot product of unit vectors: the cosine, -1 to 1
dot        dot product
euclidean  the distance, negated: 0 is the same vector, -5 is five away
========== =============================================================

Results depend neither on how many queries are asked at once, nor on the order of the rows, nor on
threads: equal scores are ordered by `rank`. Rows that are held as int8 are found, and scored, as
the vectors that `Rows.vectors` gives back.
"""

import functools
import threading

import numpy as np

from rvcnn.index.bounds import SCANS
from rvcnn.index.formats import Rows
from rvcnn.team import team_of
from rvcnn.threads import available_cpus

_BLOCK_SCORES = 1 << 20  # scores held at once by a thread
_MOST_QUERIES = 256  # at once
_MOST_ROWS = 1 << 16
_SAMPLE = 1 << 12  # of a block's rows
_MOST_REFINED = 1 << 12  # at once
_MOST_GATHERED = 1 << 13  # at once
_FEW = 1 / 4  # of the rows: fewer are gathered, the others not even looked at


def top_k(
    rows: Rows,
    queries: np.ndarray,
    k: int,
    metric: str,
    rank: np.ndarray | None = None,
    workers: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` rows nearest to each query.

    Parameters
    ----------
    rows
        N vectors (D,); finite, and of unit length where the metric is cosine.
    queries
        (Q, D) C-contiguous float32, as the vectors are.
    k
        How many; fewer come where there are fewer rows.
    metric
        ``cosine``, ``dot`` or ``euclidean``.
    rank
        (N,) integers: a row's place among equal scores, lower first; negative: not to be found.
        The default is the row's number.
    workers
        Threads; 0 for as many as this process may use.

    Returns
    -------
    rows, scores
        (Q, K) int64 and float32, best first.
    """
    if rank is None:
        rank = np.arange(rows.count)
    k = min(k, int(np.count_nonzero(rank >= 0)))
    found = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries) if k else 0, _MOST_QUERIES):
        part = slice(start, start + _MOST_QUERIES)
        best = [_Best(k) for _ in queries[part]]
        _scan(rows, queries[part], metric, rank, best, workers)
        for i, candidates in enumerate(best, start):
            exact = scores_of(rows, queries[i], candidates.rows, metric)
            order = np.lexsort((rank[candidates.rows], -exact))[:k]
            found[i] = candidates.rows[order]
            scores[i] = exact[order]
    return found, scores


def above(
    rows: Rows,
    query: np.ndarray,
    threshold: float,
    metric: str,
    rank: np.ndarray | None = None,
    workers: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Find every row whose score is at least `threshold`: rows and scores, best first."""
    if rank is None:
        rank = np.arange(rows.count)
    candidates = _Best(rows.count, _floor(query, threshold, metric))
    _scan(rows, query[None], metric, rank, [candidates], workers)
    exact = scores_of(rows, query, candidates.rows, metric).astype(np.float32)
    order = np.lexsort((rank[candidates.rows], -exact))
    order = order[exact[order] >= np.float32(threshold)]
    return candidates.rows[order], exact[order]


def _scan(rows, queries, metric, rank, best, workers):
    """Offer each query's `best` all rows that may be found, block by block."""
    alive = rank >= 0
    total = int(np.count_nonzero(alive))
    gathered = np.flatnonzero(alive) if total < _FEW * rows.count else None
    whole = gathered is not None or total == rows.count
    total, most = (total, _MOST_GATHERED) if gathered is not None else (rows.count, _MOST_ROWS)
    size = max(1, min(most, _BLOCK_SCORES // len(queries), total))
    scan = SCANS[rows.dtype](rows, queries, metric)

    free = []

    def block(i):
        try:
            scratch = free.pop()
        except IndexError:
            scratch = scan.scratch(size)
        where = slice(i * size, (i + 1) * size)
        bounds = scan.bounds(where if gathered is None else gathered[where], scratch)
        found = None if whole else alive[where]
        for i, candidates in enumerate(best):
            error_of = functools.partial(bounds.error_of, i)
            candidates.offer(where.start, found, bounds.value[i], bounds.most[i], error_of)
        free.append(scratch)

    count = -(-total // size)
    threads = workers or available_cpus()
    if min(count, threads) > 1:
        team_of(threads).each(block, count)
    else:
        for i in range(count):
            block(i)
    if gathered is not None:
        for candidates in best:
            candidates.rows = gathered[candidates.rows]


class _Best:
    """The rows that may be among the best `k` of one query."""

    def __init__(self, k, floor=-np.inf):
        self.k = k
        self.floor = floor  # what the k-th best reaches at least
        self.rows = np.empty(0, np.int64)
        self._lower = self._upper = np.empty(0)
        self._change = threading.Lock()

    @np.errstate(invalid="ignore")  # of a damaged index, `verify` tells
    def offer(self, start, found, value, most, error_of):
        """Take what may be among the best of a block; from several threads at once."""
        if self.floor == -np.inf:
            self._raise_floor(value if found is None else value[found], most)
        least = np.nextafter(value.dtype.type(self.floor - most), -np.inf, dtype=value.dtype)
        if value.max() < least:
            return
        near = np.flatnonzero(value >= least)
        if found is not None:
            near = near[found[near]]
        if not len(near):
            return
        value, error = value[near].astype(np.float64), error_of(near)
        with self._change:
            self.rows = np.concatenate([self.rows, near + start])
            self._lower = np.concatenate([self._lower, value - error])
            self._upper = np.concatenate([self._upper, value + error])
            if len(self.rows) > self.k:
                kth = np.partition(self._lower, -self.k)[-self.k]
                self.floor = max(self.floor, kth)
            keep = self._upper >= self.floor
            self.rows, self._lower = self.rows[keep], self._lower[keep]
            self._upper = self._upper[keep]

    def _raise_floor(self, value, most):
        """Let a part of a block say what the k-th best reaches, before all of it is looked at."""
        some = value[: max(self.k, _SAMPLE)]
        if len(some) >= self.k:
            floor = float(np.partition(some, -self.k)[-self.k]) - most
            with self._change:
                self.floor = max(self.floor, floor)


def _floor(query, threshold, metric):
    """Return the bound that a row of at least this score reaches."""
    if metric != "euclidean":
        return np.float32(threshold)
    if threshold > 0:
        return np.inf
    square = float(np.dot(query.astype(np.float64), query.astype(np.float64)))
    value = (square - float(threshold) ** 2) / 2
    return value - 1e-6 * (square + float(threshold) ** 2)


def scores_of(rows: Rows, query: np.ndarray, candidates: np.ndarray, metric: str) -> np.ndarray:
    """Return the scores of rows; Euclidean ones from the differences, in float64."""
    return scores_of_each(rows, query[None], candidates[None], metric)[0]


def scores_of_each(
    rows: Rows, queries: np.ndarray, candidates: np.ndarray, metric: str
) -> np.ndarray:
    """Return the scores (Q, K) of each query's own rows; Euclidean ones in float64."""
    count, each = candidates.shape
    if metric != "euclidean":
        return _products(rows, queries, np.ascontiguousarray(candidates, np.int64), metric)
    scores = np.empty((count, each), np.float64)
    wide = max(1, min(each, _MOST_REFINED))
    some = max(1, _MOST_REFINED // wide)
    for start in range(0, count, some):
        for first in range(0, each, wide):
            part = slice(start, start + some), slice(first, first + wide)
            asked, near = queries[part[0]], candidates[part]
            vectors = rows.vectors(metric, near.ravel()).reshape(*near.shape, -1)
            difference = vectors.astype(np.float64) - asked[:, None]
            scores[part] = 0.0 - np.sqrt((difference * difference).sum(axis=2))
    return scores


def _products(rows, queries, chosen, metric):
    """Return (Q, K) float32: of each query with rows of its own, as `Rows.vectors` gives them."""
    from rvcnn.kernels import dot_rows, run

    out = np.empty(chosen.shape, np.float32)
    if not chosen.size:
        return out
    if rows.dtype == "float32":
        run(dot_rows.dot_rows(out, queries, rows.planes[0], chosen))
        return out
    high, low, scale = rows.planes
    steps, lengths = (np.ascontiguousarray(scale[:, i]) for i in (0, 2))
    lengths = lengths if metric == "cosine" else None
    run(dot_rows.dot_rows_s16(out, queries, high, low, steps, lengths, chosen))
    return out
