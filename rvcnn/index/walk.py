"""Approximate search: a walk in the graph of nearest neighbours, then exact scores.

The walk compares the upper bytes of int8 vectors; of those it finds, the nearest are scored as
exact search scores them. Rows that are not in the graph are searched exactly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rvcnn.index.formats import Rows
from rvcnn.index.graph import Graph, Header, map_graph, read_header, sample_of
from rvcnn.team import team_of
from rvcnn.threads import available_cpus

if TYPE_CHECKING:
    from rvcnn.index.database import State
    from rvcnn.kernels.neighbours import Bytes

EFFORT = 64
"""How many vectors the pool of a walk holds, unless asked otherwise."""
_UPPER_POOL = 8
_MOST_QUERIES = 64  # in one call


class Walk(NamedTuple):
    """A graph, open for search, with the vectors as its walk compares them.

    Attributes
    ----------
    header, graph
        What the file holds.
    above, low
        ``kernels.neighbours.Bytes`` of the upper graph and of all rows.
    numbers
        (M,) int32: those of `graph.members`.
    """

    header: Header
    graph: Graph
    above: "Bytes"
    low: "Bytes"
    numbers: np.ndarray

    def pool(self, queries: np.ndarray, size: int, workers: int = 0) -> np.ndarray:
        """Return (Q, size) int32: the rows that seem nearest to each query, -1 where no more."""
        asked = _as_bytes(queries)
        pool = np.empty((len(queries), size), np.int32)

        def walk(i):
            part = slice(i * _MOST_QUERIES, (i + 1) * _MOST_QUERIES)
            self._walk(pool[part], asked.part(part))

        count = -(-len(queries) // _MOST_QUERIES)
        threads = min(count, workers or available_cpus())
        if threads > 1:
            team_of(threads).each(walk, count)
        else:
            for i in range(count):
                walk(i)
        return pool

    def _walk(self, pool, asked):
        from rvcnn.kernels import neighbours, run

        graph = self.graph
        upper = np.empty((len(pool), min(_UPPER_POOL, len(graph.members))), np.int32)
        values = np.empty(max(pool.size, upper.size), np.float32)
        search = neighbours.graph_search
        run(search(upper, values, asked, graph.upper, self.above, graph.entries, self.numbers))
        run(search(pool, values, asked, graph.neighbours, self.low, upper, graph.members))


def _as_bytes(queries):
    """Return queries as a walk compares them."""
    from rvcnn.kernels import neighbours

    largest = np.abs(queries).max(axis=1, initial=0)
    steps = np.maximum(largest / np.float32(127), np.finfo(np.float32).tiny)
    return neighbours.Queries.of(np.rint(queries / steps[:, None]).astype(np.int8), steps)


def open_walk(path: Path, state: "State", vectors: Rows, dim: int, metric: str) -> Walk | None:
    """Open a graph; None where it is not of these vectors or cannot be read."""
    try:
        header = read_header(path)
        if (header.dimension, header.metric, header.dtype) != (dim, metric, vectors.dtype):
            return None
        if header.generation != state.generation or header.rows > state.rows:
            return None
        if header.sample != sample_of(vectors, header.rows):
            return None
        graph = map_graph(path, header)
    except (OSError, ValueError, RecursionError):  # of a damaged file, `verify` tells
        return None
    return make_walk(header, graph, vectors)


def make_walk(header: Header, graph: Graph, vectors: Rows) -> Walk:
    """Put a graph together with the vectors that it is of."""
    from rvcnn.kernels.neighbours import Bytes

    if vectors.dtype == "int8":
        high, _, scale = vectors.planes
        low = Bytes(high[: header.rows], 256 * scale[: header.rows, 0])
    else:
        low = Bytes(graph.low_bytes, graph.low_steps)
    above = Bytes(graph.upper_bytes, graph.upper_steps)
    if header.metric == "euclidean":
        low = low._replace(biases=half_squares(vectors, header.rows))
        above = above._replace(biases=low.biases[graph.members])
    return Walk(header, graph, above, low, np.arange(len(graph.members), dtype=np.int32))


def half_squares(vectors: Rows, rows: int) -> np.ndarray:
    """Return (rows,) float32: half the squares of vectors' lengths."""
    if vectors.dtype == "int8":
        return (np.square(vectors.planes[2][:rows, 2], dtype=np.float64) / 2).astype(np.float32)
    found = np.empty(rows, np.float32)
    for start in range(0, rows, 1 << 14):
        part = vectors.planes[0][start : min(rows, start + (1 << 14))]
        found[start : start + len(part)] = np.einsum("ij,ij->i", part, part, dtype=np.float64) / 2
    return found
