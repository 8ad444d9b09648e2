"""Search in a graph of nearest neighbours.

Vectors are bytes with a step each, ``step * bytes``, and so are queries. Values are on a scale
where higher is nearer: ``query . vector - bias``. Sums of bytes are exact and nothing is fused, so
results are the same on every CPU.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _target
from ._jit import F32, I64, S8, S32, kernel, unroll
from ._program import Call

if TYPE_CHECKING:
    from ._control import hidden, prefetch
    from ._int import as_unsigned, dot, load_groups_s8, sum_lanes_s32, zeros_s32

LINE = 64
"""Bytes of a cache line."""


@kernel("s8_graph_search_{ROWS}x{AHEAD}x{GROUP}__v{LANES}", exact=True)
def s8_graph_search(
    pool: S32,
    values: F32,
    todo: S32,
    marks: I64,
    marked: int,
    queries: S8,
    starts: S32,
    scales: F32,
    count: int,
    size: int,
    neighbours: S32,
    rows: int,
    degree: int,
    vectors: S8,
    steps: F32,
    biases: F32,
    biased: int,
    dim: int,
    entries: S32,
    entry_row: int,
    entry_count: int,
    members: S32,
):
    """For each of ``count`` queries the ``size`` nearest vectors that a walk of the graph meets.

    The walk looks at the neighbours of the best vector of the pool that it has not been at, until
    it has been at all; the pool keeps the best. A row of ``neighbours`` ends at the first number
    that is none of ``rows``, and one of ``pool`` that is not full at -1. The walk begins at
    ``members[e]`` for the first ``entry_count`` numbers ``e`` of the query's row of ``entries``.
    ``marks`` has a bit for each vector, in ``marked`` words; ``todo`` has room for the larger of
    ``degree`` and ``entry_count``, and ROWS more. ``starts[q]`` makes up for what ``dot`` adds to
    bytes in whole registers.
    """
    whole = dim - dim % (GROUP * LANES)
    nothing, none = hidden(0), hidden(-1)
    for q in range(count):
        for i in range(marked):
            marks[i] = nothing
        best = q * size
        held = 0
        to_do = 0
        for i in range(entry_count):
            e = entries[q * entry_row + i]
            if e < 0:
                break
            id = members[e]
            bit = 1 << (id & 63)
            if 0 <= id and id < rows and marks[id >> 6] & bit == 0:
                marks[id >> 6] |= bit
                todo[to_do] = id
                to_do += 1
        following = 0
        while to_do > 0:
            for r in unroll(ROWS):
                todo[to_do + r] = todo[0]
            for i in range(AHEAD if to_do > AHEAD else to_do):
                for line in range(0, dim, 64):
                    prefetch(vectors, todo[i] * dim + line)
            for i in range(0, to_do, ROWS):
                for k in unroll(ROWS):
                    if i + AHEAD + k < to_do:
                        for line in range(0, dim, 64):
                            prefetch(vectors, todo[i + AHEAD + k] * dim + line)
                for r in unroll(ROWS):
                    reg_s[r] = zeros_s32(LANES)
                for d in range(0, whole, GROUP * LANES):
                    a = load_groups_s8(queries, q * dim + d, LANES)
                    for r in unroll(ROWS):
                        b = as_unsigned(load_groups_s8(vectors, todo[i + r] * dim + d, LANES))
                        reg_s[r] = dot(reg_s[r], b, a)
                for r in unroll(ROWS):
                    id = todo[i + r]
                    total = starts[q] + sum_lanes_s32(reg_s[r])
                    for d in range(whole, dim):
                        total += queries[q * dim + d] * vectors[id * dim + d]
                    value = total * steps[id] * scales[q]
                    if biased:
                        value -= biases[id]
                    if i + r < to_do and (held < size or value > values[best + held - 1]):
                        at = held if held < size else size - 1
                        held = at + 1
                        while at > 0 and values[best + at - 1] < value:
                            values[best + at] = values[best + at - 1]
                            pool[best + at] = pool[best + at - 1]
                            at -= 1
                        values[best + at] = value
                        pool[best + at] = id
                        following = at if at < following else following
            to_do = 0
            while to_do == 0 and following < held:
                id = pool[best + following]
                if id >= 0:
                    pool[best + following] = -1 - id
                    for i in range(id * degree, id * degree + degree):
                        near = neighbours[i]
                        if near < 0 or near >= rows:
                            break
                        bit = 1 << (near & 63)
                        if marks[near >> 6] & bit == 0:
                            marks[near >> 6] |= bit
                            todo[to_do] = near
                            to_do += 1
                following += 1
        for i in range(held):
            pool[best + i] = -1 - pool[best + i]
        for i in range(held, size):
            pool[best + i] = none


SEARCH_ROWS, AHEAD = 4, 8
"""Vectors that share a query's registers in a walk, and how many ahead of them are asked for."""


class Bytes(NamedTuple):
    """Vectors as steps times bytes, and what makes values of their products.

    Attributes
    ----------
    vectors
        (N, D) int8.
    steps
        (N,) float32.
    biases
        (N,) float32: what is subtracted from a product; None for nothing.
    """

    vectors: np.ndarray
    steps: np.ndarray
    biases: np.ndarray | None = None


class Queries(NamedTuple):
    """Queries as steps times bytes.

    Attributes
    ----------
    vectors
        (Q, D) int8.
    steps
        (Q,) float32.
    starts
        (Q,) int32: what makes up for what ``dot`` adds to each byte in whole registers.
    """

    vectors: np.ndarray
    steps: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, vectors, steps):
        """Queries of these bytes and steps."""
        return cls(vectors, steps, starts_of(vectors))

    def part(self, where):
        """Some of them, that lie one after another."""
        return Queries(*(array[where] for array in self))


def starts_of(queries):
    """(Q,) int32: what makes up for what ``dot`` adds to each byte in whole registers."""
    whole = queries.shape[1] - queries.shape[1] % (_target.dot().group * _target.lanes())
    added = 128 - _target.dot().offset
    return np.int32(-added) * queries[:, :whole].sum(axis=1, dtype=np.int32)


def search_kernel():
    """The kernel of :func:`graph_search`."""
    sizes = {"GROUP": _target.dot().group, "LANES": _target.lanes()}
    return s8_graph_search(ROWS=SEARCH_ROWS, AHEAD=AHEAD, **sizes)


def graph_search(pool, values, asked, neighbours, held, entries, members):
    """Calls for a walk of a graph, for each query from its own entries.

    Parameters
    ----------
    pool, values : ndarray
        (Q, size) int32 and float32: rows found, the nearest first, -1 where there are no more.
    asked : Queries
        Q of them.
    neighbours : ndarray
        (N, degree) int32: a row's neighbours, then -1.
    held : Bytes
        The N vectors.
    entries : ndarray
        (Q, E) or, for all the same, (E,) int32: where to begin, numbers of `members`.
    members : ndarray
        (M,) int32: rows.
    """
    rows, degree = neighbours.shape
    marks = np.empty(-(-rows // 64), np.int64)
    each = entries.shape[-1]
    todo = np.empty(max(degree, each) + SEARCH_ROWS, np.int32)
    biased = held.biases is not None
    args = (pool, values, todo, marks, len(marks), asked.vectors, asked.starts, asked.steps)
    args += (*pool.shape, neighbours, rows, degree, *held, int(biased), asked.vectors.shape[1])
    args += (entries, each if entries.ndim == 2 else 0, each, members)
    return [Call(search_kernel(), args)]
