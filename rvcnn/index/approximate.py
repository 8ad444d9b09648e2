"""Approximate search of an index: what a walk finds, scored exactly, and the rows no graph has."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rvcnn.index import exact
from rvcnn.index.formats import Rows
from rvcnn.index.walk import EFFORT, Walk

_MOST_SHARE = 8  # of the graph's rows, above which a pool is no shorter way than all of them
_WIDER = 4
_SCORED = 2  # of a pool, for each result that is wanted, and
_SCORED_MORE = 12
_MOST_QUERIES = 256  # at once


class Living(NamedTuple):
    """Which rows may be found.

    Attributes
    ----------
    alive
        (N,) bool.
    count
        How many those are.
    late
        (N - G,) int64: the places of the ids of rows that the graph has not, in their order; -1 for
        a dead row.
    """

    alive: np.ndarray
    count: int
    late: np.ndarray


def pays(walk: Walk, k: int) -> bool:
    """Whether a walk finds so many sooner than a search of everything does."""
    return max(EFFORT, 2 * k) * _MOST_SHARE <= walk.header.rows


def top_k(
    rows: Rows,
    walk: Walk,
    queries: np.ndarray,
    k: int,
    living: Living,
    ids_of: Callable[[np.ndarray], list[bytes]],
    exactly: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    effort: int = 0,
    workers: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Find rows near each query: nearly always the `k` nearest.

    Parameters
    ----------
    rows
        N vectors, of which the walk's graph has the first G.
    queries
        (Q, D) C-contiguous float32, checked.
    k
        How many; at most `living.count`.
    ids_of
        Gives the ids of rows, by which equal scores are ordered.
    exactly
        Finds rows and scores by a search of everything, for queries round which most is gone.
    effort
        How many vectors the walk keeps in view; 0 for the default.

    Returns
    -------
    rows, scores
        (Q, k) int64 and float32, best first, with the scores that exact search gives them.
    """
    found, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    size, waiting = max(effort, k) if effort else max(EFFORT, 2 * k), np.arange(len(queries))
    while len(waiting) and size * _MOST_SHARE <= walk.header.rows:
        for start in range(0, len(waiting), _MOST_QUERIES):
            part = waiting[start : start + _MOST_QUERIES]
            near = _candidates(rows, walk, queries[part], k, living, size, workers)
            values = exact.scores_of_each(
                rows, queries[part], np.maximum(near, 0), walk.header.metric
            )
            values[near < 0] = -np.inf
            found[part], scores[part] = _ordered(near, values, k, ids_of)
        waiting = waiting[(found[waiting] < 0).any(axis=1)]
        size *= _WIDER
    if len(waiting):
        found[waiting], scores[waiting] = exactly(queries[waiting])
    return found, scores


def _candidates(rows, walk, queries, k, living, size, workers):
    """Return (Q, C) rows, -1 for none: the nearest that a walk finds, and those no graph has."""
    near, first = walk.pool(queries, size, workers).astype(np.int64), walk.header.rows
    most = max(k, _SCORED * k + _SCORED_MORE)
    if living.count < len(living.alive):
        near[~living.alive[near]] = -1
        order = np.argsort(near < 0, axis=1, kind="stable")
        near = np.take_along_axis(near, order[:, :most], axis=1)
    near = near[:, :most]
    if first == rows.count:
        return near
    since = rows.part(slice(first, None))
    late, _ = exact.top_k(since, queries, k, walk.header.metric, living.late, workers)
    return np.concatenate([near, late + first], axis=1)


def _ordered(near, values, k, ids_of):
    """Return the `k` best of each query, equal ones in the order of their ids."""
    order = np.arange(len(near))[:, None], np.argsort(-values, axis=1, kind="stable")
    near, values = near[order], values[order]
    # The one that comes after the last says whether an equal one would be left out.
    equal = (values[:, 1 : k + 1] == values[:, :k][:, : values.shape[1] - 1]) & (
        near[:, 1 : k + 1] >= 0
    )
    for query in np.flatnonzero(equal.any(axis=1)):
        good = near[query] >= 0
        rows, best = near[query][good], values[query][good]
        best_first = sorted(zip(-best, ids_of(rows), rows, strict=True))
        near[query][good] = [row for _, _, row in best_first]
    return near[:, :k], values[:, :k]
