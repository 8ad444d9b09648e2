"""Building the graph of nearest neighbours, by searching the part of it that is there already.

The rows come in random order. Among the first few thousand the nearest are found exactly. The
others come in batches: each looks for its nearest by a walk in the graph so far. Once all are in,
each looks once more. Of what it finds, and of the rows that found it, a row keeps those that no
kept one is nearer to than itself: so a walk takes long steps as well as short ones (Malkov and
Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable
small world graphs", 2016; Subramanya et al., "DiskANN", 2019). The upper graph is made alike, of
some rows at random and of those that no edge leads to.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rvcnn.index.formats import Rows, encode
from rvcnn.index.graph import Graph, Header, digest_of, sample_of
from rvcnn.team import team_of
from rvcnn.threads import available_cpus

DEGREE = 32
BREADTH = 48
_FILLED = {"cosine": (0, 16), "euclidean": (0, 16), "dot": (1024, 1024)}
"""How many neighbours a row has at least, if so many are known: of those found, of those kept.

With the inner product the longest vectors are near everything, and few others would be kept.
"""
_FEW = 4096  # rows, up to which the nearest are found exactly
_GROWTH = 2  # a batch is this part of what is there: 1 / _GROWTH
_UPPER_SHARE = 64
_UPPER_POOL = 16
_ENTRIES = 256
_PART = 2048
_BLOCK = 128


class _Points(NamedTuple):
    """Vectors as steps times bytes, which is all that a graph is built from.

    The inner product is the Euclidean distance of vectors with one value more, `rests`, that makes
    them all equally long (Neyshabur and Srebro, "On symmetric and asymmetric LSHs for inner product
    search", 2015).
    """

    low: np.ndarray
    steps: np.ndarray
    squares: np.ndarray
    rests: np.ndarray

    def part(self, where):
        return _Points(*(np.ascontiguousarray(array[where]) for array in self))

    def held(self, count):
        """Return the first so many for a walk, which goes by the Euclidean distance."""
        from rvcnn.kernels import neighbours

        halves = (self.squares[:count] - np.square(self.rests[:count])) / 2
        return neighbours.Bytes(self.low[:count], self.steps[:count], halves)


def build(
    vectors: Rows,
    generation: int,
    rows: int,
    metric: str,
    degree: int = DEGREE,
    breadth: int = BREADTH,
    workers: int = 0,
    note: Callable[[str], None] = lambda step: None,
) -> tuple[Header, Graph]:
    """Build the graph of the first rows of a generation.

    Parameters
    ----------
    vectors
        At least `rows` rows.
    generation
        Theirs.
    metric
        ``cosine``, ``dot`` or ``euclidean``.
    degree
        Most neighbours of a row.
    breadth
        How many rows a walk keeps in view that looks for a row's neighbours.
    workers
        Threads; 0 for as many as this process may use.
    note
        Told what begins.
    """
    vectors = vectors.part(slice(rows))
    maker = _Maker(degree, breadth, _FILLED[metric], workers or available_cpus(), note)
    note(f"a graph of {rows} images")
    points = _points(vectors, metric)
    order = np.random.default_rng(0).permutation(rows).astype(np.int32)
    graph = _renumbered(maker.graph(points.part(order)), order)
    members = _spread(graph, order[: max(_ENTRIES, rows // _UPPER_SHARE)])
    chosen = points.part(members)
    upper = maker.graph(chosen)
    entries = _spread(upper, np.arange(min(len(upper), _ENTRIES)))
    copied = points if vectors.dtype == "float32" else points.part(slice(0))
    steps = chosen.low, chosen.steps, copied.low, copied.steps
    built = Graph(graph, members, upper, entries, *steps)
    header = Header(
        generation,
        rows,
        vectors.planes[0].shape[1],
        metric,
        vectors.dtype,
        digest_of(vectors, rows),
        sample_of(vectors, rows),
        tuple(array.shape for array in built),
        {"degree": degree, "breadth": breadth},
    )
    return header, built


def _points(vectors, metric):
    count, dim = vectors.planes[0].shape
    if vectors.dtype == "int8":
        low, steps = vectors.planes[0], 256 * np.ascontiguousarray(vectors.planes[2][:, 0])
    else:
        low, steps = np.empty((count, dim), np.int8), np.empty(count, np.float32)
        for part in _parts(count):
            high, _, scale = encode(vectors.planes[0][part], "int8").planes
            low[part], steps[part] = high, 256 * scale[:, 0]
    squares, rests = np.empty(count, np.float32), np.zeros(count, np.float32)
    for part in _parts(count):
        lengths = np.square(low[part], dtype=np.float32).sum(axis=1, dtype=np.float64)
        squares[part] = lengths * np.square(steps[part], dtype=np.float64)
    if metric == "dot":
        rests[:] = np.sqrt(squares.max() - squares)
        squares += np.square(rests)
    return _Points(low, steps, squares, rests)


def _parts(count, size=_PART):
    return [slice(start, min(count, start + size)) for start in range(0, count, size)]


class _Maker(NamedTuple):
    """Makes graphs of points that are in random order."""

    degree: int
    breadth: int
    filled: tuple[int, int]
    threads: int
    note: Callable[[str], None]

    def graph(self, points):
        """Return (N, degree) int32: of each row, those kept of what is near it, then -1."""
        count = len(points.low)
        graph = np.full((count, self.degree), -1, np.int32)
        there = min(count, _FEW)
        found = self._nearest(points, there)
        graph[:there] = self._linked(points, graph[:there], found, 0)
        first = graph[:there].copy()
        while there < count:
            until = min(count, there + max(1, there // _GROWTH))
            found = self._found(points, graph, first, there, until)
            graph[:until] = self._linked(points, graph[:until], found, there)
            there = until
            self.note(f"{there} of {count}")
        if count > len(first):
            self.note("once more")
            found = self._found(points, graph, first, 0, count)
            graph = self._linked(points, graph, found, 0)
        return graph

    def _nearest(self, points, count):
        """Return (count, K) int32: the rows nearest to each of the first rows."""
        from rvcnn.kernels import dot_products_s8

        low, steps, squares, rests = (array[:count] for array in points)
        most = min(count, self.breadth + 1)
        rows = np.empty((count, most), np.int32)

        def find(i):
            part = slice(i * _BLOCK, (i + 1) * _BLOCK)
            value = dot_products_s8(low[part], low) * (steps[part, None] * steps)
            value += np.outer(rests[part], rests)
            value -= squares / 2
            rows[part] = np.argpartition(-value, most - 1, axis=1)[:, :most]

        team_of(self.threads).each(find, -(-count // _BLOCK))
        return rows

    def _found(self, points, graph, first, start, end):
        """Return (end - start, breadth) int32: what walks find that look for rows of their own."""
        from rvcnn.kernels import neighbours, run

        there = end if start == 0 else start
        above, low = points.held(len(first)), points.held(there)
        members = np.arange(len(first), dtype=np.int32)
        asked = neighbours.Queries.of(points.low[start:end], points.steps[start:end])
        pool = np.empty((end - start, self.breadth), np.int32)
        parts = _parts(len(pool), _BLOCK)

        def walk(i):
            some, found = asked.part(parts[i]), pool[parts[i]]
            upper = np.empty((len(found), _UPPER_POOL), np.int32)
            values = np.empty(max(upper.size, found.size), np.float32)
            begin = members[:_ENTRIES]
            run(neighbours.graph_search(upper, values, some, first, above, begin, members))
            run(neighbours.graph_search(found, values, some, graph[:there], low, upper, members))

        team_of(self.threads).each(walk, len(parts))
        return pool

    def _linked(self, points, graph, found, start):
        """Return the graph with what the rows from `start` on found, and they themselves, in it."""
        least, last = (min(self.degree, least) for least in self.filled)
        known = np.concatenate([found, graph[start:]], axis=1)
        kept = self._kept(points, known, least, start)
        both = np.full((len(graph), 2 * self.degree), -1, np.int32)
        both[:, : self.degree] = graph
        both[start:, : self.degree] = kept
        both[:, self.degree :] = _reversed(kept, start, len(graph), self.degree)
        return self._kept(points, both, last, 0)

    def _kept(self, points, candidates, fill, start):
        """Return (N, degree) int32: of the candidates of the rows from `start` on those kept."""
        from rvcnn.kernels import neighbours, pruning, run

        count = len(candidates)
        kept = np.empty((count, self.degree), np.int32)
        held = neighbours.Bytes(points.low, points.steps)
        starts = neighbours.starts_of(points.low)
        parts = _parts(count, _BLOCK)

        def prune(i):
            part = parts[i]
            geometry = starts, points.squares, points.rests
            numbers = part.start, part.stop - part.start, start
            run(pruning.prune(kept, fill, candidates, held, *geometry, *numbers))

        team_of(self.threads).each(prune, len(parts))
        return kept


def _reversed(graph, start, count, width):
    """Return (count, width) int32: rows that each row is a neighbour of, not all of many.

    Row `i` of the graph is row ``start + i``.
    """
    near, place = graph.ravel(), np.arange(graph.size, dtype=np.int64)
    place = place[near >= 0]
    # Those whose nearest it is come first.
    place = place[np.argsort(place % graph.shape[1], kind="stable")]
    place = place[np.argsort(near[place], kind="stable")]
    near = near[place]
    first = np.searchsorted(near, np.arange(count))
    rank = np.arange(len(near)) - first[near]
    fits = rank < width
    found = np.full((count, width), -1, np.int32)
    found[near[fits], rank[fits]] = start + place[fits] // graph.shape[1]
    return found


def _renumbered(graph, order):
    """Return the graph of the rows themselves, where row `i` of it is row ``order[i]``."""
    named = np.where(graph < 0, -1, order[graph])
    result = np.empty_like(graph)
    result[order] = named
    return result


def _spread(graph, chosen):
    """Return rows from which all can be reached: some, and one of each part that none leads to."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    count, there = len(graph), graph >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    edges = csr_array((np.ones(ends[-1], bool), graph[there], ends), shape=(count, count))
    parts, label = connected_components(edges, connection="strong")
    begins, enters = np.repeat(label, np.diff(ends)), label[graph[there]]
    reached = np.zeros(parts, bool)
    reached[enters[begins != enters]] = True
    reached[label[chosen]] = True
    _, first = np.unique(label, return_index=True)
    return np.concatenate([chosen, first[~reached]]).astype(np.int32)
