"""Exact search: every row is scored, block by block, and the best are kept.

A score says how near a row is, whatever the metric: higher is nearer.

========== =============================================================
metric     score
========== =============================================================
cosine     dot product of unit vectors: the cosine, -1 to 1
dot        dot product
euclidean  the distance, negated: 0 is the same vector, -5 is five away
========== =============================================================

Results depend neither on how many queries are asked at once nor on the order of the rows: equal
scores are ordered by `rank`.
"""

from typing import NamedTuple

import numpy as np

_BLOCK_SCORES = 1 << 22  # scores held at once
_MOST_QUERIES = 256  # at once
_MOST_ROWS = 1 << 15
_EPS = 2.0**-24


class Bounds(NamedTuple):
    """What is known of (Q, B) scores before they are refined: on a scale where higher is nearer."""

    lower: np.ndarray
    upper: np.ndarray


def top_k(
    vectors: np.ndarray, queries: np.ndarray, k: int, metric: str, rank: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Find the `k` rows nearest to each query.

    Parameters
    ----------
    vectors, queries
        (N, D) and (Q, D) C-contiguous finite float32; of unit length where the metric is cosine.
    k
        How many; fewer come where there are fewer rows.
    metric
        ``cosine``, ``dot`` or ``euclidean``.
    rank
        (N,) integers: a row's place among equal scores, lower first; negative: not to be found.
        The default is the row's number.

    Returns
    -------
    rows, scores
        (Q, K) int64 and float32, best first.
    """
    if rank is None:
        rank = np.arange(len(vectors))
    k = min(k, int(np.count_nonzero(rank >= 0)))
    rows = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries) if k else 0, _MOST_QUERIES):
        part = slice(start, start + _MOST_QUERIES)
        _top_k(vectors, queries[part], metric, rank, rows[part], scores[part])
    return rows, scores


def _top_k(vectors, queries, metric, rank, rows, scores):
    best = [_Best(rows.shape[1]) for _ in queries]
    for start, found, bounds in _blocks(vectors, queries, metric, rank):
        for i, candidates in enumerate(best):
            candidates.offer(start, found, bounds.lower[i], bounds.upper[i])
    for i, candidates in enumerate(best):
        exact = _refine(vectors, queries[i], candidates, metric)
        order = np.lexsort((rank[candidates.rows], -exact))[: rows.shape[1]]
        rows[i] = candidates.rows[order]
        scores[i] = exact[order]


def above(
    vectors: np.ndarray,
    query: np.ndarray,
    threshold: float,
    metric: str,
    rank: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Find every row whose score is at least `threshold`: rows and scores, best first."""
    if rank is None:
        rank = np.arange(len(vectors))
    candidates = _Best(len(vectors), _floor(query, threshold, metric))
    for start, found, bounds in _blocks(vectors, query[None], metric, rank):
        candidates.offer(start, found, bounds.lower[0], bounds.upper[0])
    exact = _refine(vectors, query, candidates, metric).astype(np.float32)
    order = np.lexsort((rank[candidates.rows], -exact))
    order = order[exact[order] >= np.float32(threshold)]
    return candidates.rows[order], exact[order]


def _blocks(vectors, queries, metric, rank):
    """Yield, block by block: the first row, which rows may be found (or None: all), the bounds."""
    from rvcnn.kernels import dot_products  # brings in numba

    size = max(1, min(_MOST_ROWS, _BLOCK_SCORES // len(queries), len(vectors)))
    dots = np.empty(len(queries) * size, np.float32)
    bounds_of = BOUNDS[metric]
    for start in range(0, len(vectors), size):
        block = vectors[start : start + size]
        out = dots[: len(queries) * len(block)].reshape(len(queries), len(block))
        dot_products(queries, block, out)
        found = rank[start : start + size] >= 0
        yield start, None if found.all() else found, bounds_of(out, queries, block)


class _Best:
    """The rows that may be among the best `k` of one query."""

    def __init__(self, k, floor=-np.inf):
        self.k = k
        self.floor = floor  # what the k-th best reaches at least
        self.rows = np.empty(0, np.int64)
        self.lower = np.empty(0, np.float32)
        self.upper = np.empty(0, np.float32)

    def offer(self, start, found, lower, upper):
        reaches = upper >= self.floor
        if found is not None:
            reaches &= found
        new = np.flatnonzero(reaches)
        if not len(new):
            return
        self.rows = np.concatenate([self.rows, new + start])
        self.lower = np.concatenate([self.lower, lower[new]])
        self.upper = np.concatenate([self.upper, upper[new]])
        if len(self.rows) > self.k:
            self.floor = max(self.floor, np.partition(self.lower, -self.k)[-self.k])
            keep = self.upper >= self.floor
            self.rows, self.lower, self.upper = self.rows[keep], self.lower[keep], self.upper[keep]


def _dot_bounds(dots, queries, block):
    return Bounds(dots, dots)


def _euclidean_bounds(dots, queries, block):
    """Bound q.x - |x|^2 / 2, which is higher where the distance is less.

    Rounding of the sums of D products is at most about D eps times the sums of their sizes.
    """
    squares = np.einsum("ij,ij->i", block, block, dtype=np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", queries, queries, dtype=np.float64))
    error = (block.shape[1] + 8) * _EPS * np.outer(lengths, np.sqrt(squares))
    value = dots - squares / 2
    error += 4 * _EPS * np.abs(value)
    return Bounds(value - error, value + error)


BOUNDS = {"cosine": _dot_bounds, "dot": _dot_bounds, "euclidean": _euclidean_bounds}


def _floor(query, threshold, metric):
    """Return the bound that a row of at least this score reaches."""
    if metric != "euclidean":
        return np.float32(threshold)
    if threshold > 0:
        return np.inf
    square = float(np.dot(query.astype(np.float64), query.astype(np.float64)))
    value = (square - float(threshold) ** 2) / 2
    return value - 1e-6 * (square + float(threshold) ** 2)


def _refine(vectors, query, candidates, metric):
    """Return the scores of the candidates, Euclidean ones computed anew from the differences."""
    if metric != "euclidean":
        return candidates.lower
    scores = np.empty(len(candidates.rows))
    for start in range(0, len(scores), _MOST_ROWS):
        rows = candidates.rows[start : start + _MOST_ROWS]
        difference = vectors[rows].astype(np.float64) - query
        scores[start : start + _MOST_ROWS] = 0.0 - np.sqrt((difference * difference).sum(axis=1))
    return scores
