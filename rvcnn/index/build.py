"""Building the graph of nearest neighbours.

The nearest of each row are found exactly where rows are few, else by pynndescent. Of those, and of
the rows that have it among theirs, a row keeps the ones that no kept one is nearer to than itself:
so a walk takes long steps as well as short ones. The upper graph is made alike, of every 64th row
and one of each part that no edge leads to.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rvcnn.index.formats import Rows, encode
from rvcnn.index.graph import Graph, Header, digest_of, sample_of
from rvcnn.team import team_of
from rvcnn.threads import available_cpus

DEGREE = 32
NEIGHBOURS = 30
_FILLED = {"cosine": (0, 16), "euclidean": (0, 16), "dot": (1024, 1024)}
"""How many neighbours a row has at least, if so many are known: of those found, of those kept.

With the inner product the longest vectors are near everything, and few others would be kept.
"""
_FEW = 8192  # rows, up to which the nearest are found exactly
_UPPER_SHARE = 64
_ENTRIES = 256
_PART = 2048
_BLOCK = 128

_one_at_a_time = threading.Lock()  # what pynndescent compiles must not be run twice at once


def build(
    vectors: Rows,
    generation: int,
    rows: int,
    metric: str,
    degree: int = DEGREE,
    neighbours: int = NEIGHBOURS,
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
    neighbours
        How many of each row's nearest are looked for, to choose among.
    workers
        Threads; 0 for as many as this process may use.
    note
        Told what begins.
    """
    vectors = vectors.part(slice(rows))
    threads = workers or available_cpus()
    points = _points(vectors, metric)
    note("nearest neighbours")
    found = _nearest(_dense(vectors, points, metric), neighbours, threads)
    note("graph")
    graph = _pruned(points, found, degree, metric, threads)
    members = _spread(graph, max(_ENTRIES, rows // _UPPER_SHARE))
    note("upper graph")
    chosen = points.part(members)
    dense = _dense(vectors.part(members), chosen, metric)
    found = _nearest(dense, neighbours, threads)
    upper = _pruned(chosen, found, degree, metric, threads)
    copied = points if vectors.dtype == "float32" else points.part(slice(0))
    entries = _spread(upper, _ENTRIES)
    built = Graph(
        graph, members, upper, entries, chosen.low, chosen.steps, copied.low, copied.steps
    )
    header = Header(
        generation,
        rows,
        vectors.planes[0].shape[1],
        metric,
        vectors.dtype,
        digest_of(vectors, rows),
        sample_of(vectors, rows),
        tuple(array.shape for array in built),
        {"degree": degree, "neighbours": neighbours},
    )
    return header, built


class _Points(NamedTuple):
    """Vectors as the pruning compares them.

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
    return [slice(start, start + size) for start in range(0, count, size)]


def _dense(vectors, points, metric):
    """Return (N, D) float32, of which the nearest by Euclid are the nearest by the metric."""
    dense = vectors.planes[0] if vectors.dtype == "float32" else vectors.vectors(metric)
    if metric == "dot":
        return np.concatenate([dense, points.rests[:, None]], axis=1)
    return np.asarray(dense)


def _nearest(dense, neighbours, threads):
    """Return (N, K) int32: the rows nearest to each row, which may be among them; -1 is none."""
    count = len(dense)
    if count > _FEW:
        return descend(dense, neighbours, threads)
    from rvcnn.kernels import dot_products

    most = min(count, neighbours + 1)
    rows = np.empty((count, most), np.int32)
    halves = np.einsum("ij,ij->i", dense, dense, dtype=np.float64) / 2

    def find(i):
        part = slice(i * _BLOCK, (i + 1) * _BLOCK)
        value = dot_products(dense[part], dense) - halves.astype(np.float32)
        rows[part] = np.argpartition(-value, most - 1, axis=1)[:, :most]

    team_of(threads).each(find, -(-count // _BLOCK))
    return rows


def descend(dense: np.ndarray, neighbours: int, threads: int) -> np.ndarray:
    """Return (N, neighbours) int32: the rows nearest to each row, nearly all, by pynndescent."""
    with _one_at_a_time:
        import numba
        import pynndescent

        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            found = pynndescent.NNDescent(dense, n_neighbors=neighbours, random_state=0)
            return np.ascontiguousarray(found.neighbor_graph[0], np.int32)
        finally:
            numba.set_num_threads(before)


def _pruned(points, found, degree, metric, threads):
    """Return (N, degree) int32: the rows kept of those found and of those that found a row."""
    first, last = (min(degree, least) for least in _FILLED[metric])
    graph = _kept(points, found, degree, first, threads)
    both = np.concatenate([graph, _reversed(graph, degree)], axis=1)
    return _kept(points, both, degree, last, threads)


def _kept(points, candidates, degree, fill, threads):
    from rvcnn.kernels import neighbours, pruning, run

    kept = np.empty((len(candidates), degree), np.int32)
    held = neighbours.Bytes(points.low, points.steps)
    starts = neighbours.starts_of(points.low)
    parts = _parts(len(kept))

    def prune(i):
        first, count = parts[i].start, len(kept[parts[i]])
        geometry = starts, points.squares, points.rests
        run(pruning.prune(kept, fill, candidates, held, *geometry, first, count))

    team_of(threads).each(prune, len(parts))
    return kept


def _reversed(graph, width):
    """Return (N, width) int32: rows that each row is a neighbour of, not all of many."""
    near, place = graph.ravel(), np.arange(graph.size, dtype=np.int64)
    place = place[near >= 0]
    # Those whose nearest it is come first.
    place = place[np.argsort(place % graph.shape[1], kind="stable")]
    place = place[np.argsort(near[place], kind="stable")]
    near = near[place]
    first = np.searchsorted(near, np.arange(len(graph)))
    rank = np.arange(len(near)) - first[near]
    fits = rank < width
    found = np.full((len(graph), width), -1, np.int32)
    found[near[fits], rank[fits]] = place[fits] // graph.shape[1]
    return found


def _spread(graph, least):
    """Return rows from which all can be reached: at random, and one of each part none leads to."""
    from scipy.sparse import csr_array  # as pynndescent needs, only to build
    from scipy.sparse.csgraph import connected_components

    count, there = len(graph), graph >= 0
    ends = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    edges = csr_array((np.ones(ends[-1], bool), graph[there], ends), shape=(count, count))
    parts, label = connected_components(edges, connection="strong")
    chosen = np.random.default_rng(0).permutation(count)[:least]
    begins, enters = np.repeat(label, np.diff(ends)), label[graph[there]]
    reached = np.zeros(parts, bool)
    reached[enters[begins != enters]] = True
    reached[label[chosen]] = True
    _, first = np.unique(label, return_index=True)
    return np.concatenate([chosen, first[~reached]]).astype(np.int32)
