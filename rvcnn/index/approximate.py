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
    ids_of
        Gives the ids of rows, by which equal scores are ordered.
    effort
        How many vectors the walk keeps in view; 0 for the default.

    Returns
    -------
    rows, scores
        (Q, K) int64 and float32, best first, with the scores that exact search gives them.
    """
    k = min(k, living.count)
    found, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    metric, size = walk.header.metric, max(effort or EFFORT, 2 * k)
    since = rows.part(slice(walk.header.rows, None))
    late, _ = exact.top_k(since, queries, k, metric, living.late, workers)
    waiting = np.arange(len(queries))
    while len(waiting):
        if size * _MOST_SHARE > walk.header.rows:
            rank = np.where(living.alive, np.arange(rows.count), -1)
            pool = exact.top_k(rows, queries[waiting], k, metric, rank, workers)[0]
            most = k
        else:
            pool = walk.pool(queries[waiting], size, workers)
            most = _SCORED * k + _SCORED_MORE
        again = []
        for query, near in zip(waiting, pool, strict=True):
            near = near[near >= 0]
            near = near[living.alive[near]][:most].astype(np.int64)
            near = np.concatenate([near, late[query] + walk.header.rows])
            if len(near) < k:
                again.append(query)
                continue
            values = exact.scores_of(rows, queries[query], near, metric)
            order = _ordered(near, values, k, ids_of)
            found[query], scores[query] = near[order], values[order]
        waiting = np.array(again, np.int64)
        size *= _WIDER
    return found, scores


def _ordered(rows, scores, k, ids_of):
    """Return the places of the `k` best, equal ones in the order of their ids."""
    order = np.argsort(-scores, kind="stable")
    near = order[scores[order] >= scores[order[k - 1]]]
    best = scores[near]
    if len(near) == k and (best[1:] != best[:-1]).all():
        return near
    ids = ids_of(rows[near])
    return np.array(
        sorted(near, key=dict(zip(near, zip(-best, ids, strict=True), strict=True)).get)
    )[:k]
