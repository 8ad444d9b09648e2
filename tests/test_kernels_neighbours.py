"""Walks in a graph and its pruning, step by step as NumPy does them, on any lanes, on any input."""

import sys
from pathlib import Path

import numpy as np
import pytest
from kernels_memory import guarded

from rvcnn.kernels import At, dot_products, dot_rows, lanes, neighbours, pruning, run

DIMS = (1, 3, 4, 17, 63, 64, 65, 128, 200, 512)


def vectors(rng, count, dim):
    low = rng.integers(-128, 128, (count, dim), dtype=np.int8)
    return neighbours.Bytes(low, rng.uniform(0.5, 2, count).astype(np.float32))


def random_graph(rng, rows, degree):
    """Rows of different lengths, each ended by -1 or by a number that is no row."""
    graph = rng.integers(0, rows, (rows, degree), dtype=np.int32)
    for row in graph:
        length = rng.integers(0, degree + 1)
        row[length:] = rng.integers(0, rows)  # behind the end nothing counts
        if length < degree:
            row[length] = rng.choice([-1, rows, 2**31 - 1, -(2**31)])
    return graph


def values_of(held, query, scale):
    """Values of all rows, as the kernel rounds them."""
    dots = held.vectors.astype(np.int64) @ query.astype(np.int64)
    values = dots * held.steps.astype(np.float64) * np.float64(scale)
    return values if held.biases is None else values - held.biases


def walk(graph, values, size, begin):
    """The walk as its definition has it, with a list that is sorted each time."""
    rows = len(graph)
    pool, seen, been, todo = [], set(), set(), begin
    while True:
        for row in todo:
            if 0 <= row < rows and row not in seen:
                seen.add(row)
                pool.append(row)
        pool = sorted(pool, key=lambda row: -values[row])[:size]
        ahead = [row for row in pool if row not in been]
        if not ahead:
            return pool
        been.add(ahead[0])
        ends = np.flatnonzero((graph[ahead[0]] < 0) | (graph[ahead[0]] >= rows))
        todo = graph[ahead[0], : ends[0] if len(ends) else None].tolist()


def check_walks(dim, size, rng, biased=False, asked=3, rows=150):
    held = vectors(rng, rows, dim)
    if biased:
        held = held._replace(biases=rng.uniform(-9e3, 9e3, rows).astype(np.float32))
    graph = random_graph(rng, rows, 9)
    queries = rng.integers(-128, 128, (asked, dim), dtype=np.int8)
    scales = rng.uniform(0.5, 2, asked).astype(np.float32)
    questions = neighbours.Queries.of(queries, scales)
    members = rng.integers(-2, rows + 2, 40).astype(np.int32)
    entries = rng.integers(0, 40, (asked, 5)).astype(np.int32)
    entries[0, 3] = -1
    pool, found = np.empty((asked, size), np.int32), np.empty((asked, size), np.float32)
    run(neighbours.graph_search(pool, found, questions, graph, held, entries, members))
    for i in range(asked):
        values = values_of(held, queries[i], scales[i])
        begin = [members[e] for e in (entries[i] if i else entries[i, :3])]
        want = walk(graph, values, size, begin)
        assert sorted(values[pool[i, : len(want)]]) == pytest.approx(sorted(values[want]), rel=1e-6)
        np.testing.assert_array_equal(pool[i, : len(want)], want)
        assert (pool[i, len(want) :] == -1).all()
        np.testing.assert_array_equal(found[i, : len(want)], np.float32(values[want]))
    shared = np.empty_like(pool)
    run(neighbours.graph_search(shared, found, questions, graph, held, entries[1], members))
    np.testing.assert_array_equal(shared[1], pool[1])
    begin = members[entries[1]].tolist()
    for i in range(asked):
        want = walk(graph, values_of(held, queries[i], scales[i]), size, begin)
        np.testing.assert_array_equal(shared[i, : len(want)], want)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_a_walk_finds_what_its_definition_does(dim, size):
    if dim < 3:
        return check_few_values(size)
    check_walks(dim, size, np.random.default_rng(size * 1000 + dim), biased=size % 2 == 1)


def check_few_values(size):
    """Of one dimension many values are the same: they are found, in any order."""
    rng = np.random.default_rng(size)
    held = vectors(rng, 60, 1)
    graph = np.tile(np.arange(60, dtype=np.int32), (60, 1))
    pool, found = np.empty((1, size), np.int32), np.empty((1, size), np.float32)
    some = np.zeros((1, 1), np.int32)
    query = np.full((1, 1), 3, np.int8)
    asked = neighbours.Queries.of(query, np.ones(1, np.float32))
    run(neighbours.graph_search(pool, found, asked, graph, held, some, some[0]))
    want = np.sort(values_of(held, query[0], 1.0))[::-1][:size]
    np.testing.assert_array_equal(found[0, : len(want)], want.astype(np.float32))


def test_nothing_to_begin_with_is_nothing_found():
    rng = np.random.default_rng(0)
    held, graph = vectors(rng, 10, 8), random_graph(rng, 10, 4)
    pool, found = np.empty((1, 4), np.int32), np.empty((1, 4), np.float32)
    none = np.full((1, 2), -1, np.int32)
    asked = neighbours.Queries.of(held.vectors[:1], np.ones(1, np.float32))
    run(neighbours.graph_search(pool, found, asked, graph, held, none, np.zeros(1, np.int32)))
    assert (pool == -1).all()


def test_memory_beside_the_arrays_is_left_alone():
    """Whatever numbers a graph holds."""
    rng = np.random.default_rng(5)
    held, graph = vectors(rng, 65, 70), random_graph(rng, 65, 6)
    graph[::3] = rng.integers(-(2**31), 2**31, graph[::3].shape, dtype=np.int64).astype(np.int32)
    entries, members = np.zeros((2, 3), np.int32), np.array([7], np.int32)
    pool, found = np.empty((2, 9), np.int32), np.empty((2, 9), np.float32)
    asked = neighbours.Queries.of(held.vectors[:2], np.ones(2, np.float32))
    (call,) = neighbours.graph_search(pool, found, asked, graph, held, entries, members)
    run([call])
    copies = []

    def moved(argument):
        if isinstance(argument, np.ndarray):
            copies.append((argument, guarded(argument, False)))
            return copies[-1][1]
        assert not isinstance(argument, At)
        return argument

    run([call._replace(args=tuple(map(moved, call.args)))])
    for array, copy in copies:
        bands = copy.base.view(np.uint8)
        size = 64 * array.itemsize
        assert (bands[:size] == 255).all() and (bands[-size:] == 255).all()
    assert copies[0][1].tobytes() == pool.tobytes()


# --- pruning ------------------------------------------------------------------------------------


def pruned(candidates, held, squares, rests, degree, fill):
    """The definition, row by row, in float64."""
    low = held.vectors.astype(np.int64)
    scaled = np.outer(held.steps, held.steps).astype(np.float64)
    dots = (low @ low.T) * scaled + np.outer(rests, rests).astype(np.float64)
    distances = np.add.outer(squares.astype(np.float64), squares) - 2 * dots
    graph = np.full((len(candidates), degree), -1, np.int32)
    for row, near in enumerate(candidates):
        near = {c for c in near.tolist() if 0 <= c < len(candidates) and c != row}
        near = sorted(near, key=lambda c: (np.float32(distances[row, c]), c))
        kept = []
        for c in near:
            if all(distances[c, other] > np.float32(distances[row, c]) for other in kept):
                kept.append(c)
        kept = kept[:degree]
        rest = [c for c in near if c not in kept]
        kept += rest[: max(0, fill - len(kept))]
        graph[row, : len(kept)] = kept
    return graph


@pytest.mark.parametrize("dim", DIMS[2:])
@pytest.mark.parametrize(("degree", "fill"), [(3, 0), (8, 8), (40, 12)])
def test_pruning_keeps_what_its_definition_does(dim, degree, fill):
    rng = np.random.default_rng(dim * 100 + degree)
    held = vectors(rng, 60, dim)
    rests = rng.uniform(0, 90, 60).astype(np.float32)
    low = held.vectors.astype(np.float64) * held.steps[:, None]
    squares = ((low**2).sum(axis=1) + rests**2).astype(np.float32)
    candidates = rng.integers(-1, 60, (60, 25), dtype=np.int32)
    graph = np.empty((60, degree), np.int32)
    starts = neighbours.starts_of(held.vectors)
    geometry = candidates, held, starts, squares, rests
    for first, count in ((0, 17), (17, 3)):
        run(pruning.prune(graph, fill, *geometry, first, count))
    last = candidates[20:].copy(), *geometry[1:]
    run(pruning.prune(graph[20:], fill, *last, 0, 40, start=20))
    np.testing.assert_array_equal(graph, pruned(candidates, held, squares, rests, degree, fill))


@pytest.mark.parametrize("dim", DIMS)
def test_products_with_chosen_rows_are_those_with_all(dim):
    rng = np.random.default_rng(dim)
    queries, rows = (rng.standard_normal((n, dim)).astype(np.float32) for n in (3, 50))
    chosen = rng.integers(0, 50, (3, 7))
    out = np.empty((3, 7), np.float32)
    run(dot_rows.dot_rows(out, queries, rows, chosen))
    want = np.take_along_axis(queries.astype(np.float64) @ rows.T, chosen, axis=1)
    sizes = np.take_along_axis(np.abs(queries) @ np.abs(rows).T, chosen, axis=1)
    assert (np.abs(out - want) <= (dim + 8) * 2.0**-24 * sizes).all()
    assert out.tobytes() == np.take_along_axis(dot_products(queries, rows), chosen, 1).tobytes()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("divided", [True, False])
def test_products_with_chosen_rows_of_two_planes(dim, divided):
    """Bit by bit those with the vectors that NumPy makes of the planes."""
    rng = np.random.default_rng(dim)
    queries = rng.standard_normal((3, dim)).astype(np.float32)
    high, low = (rng.integers(-128, 128, (50, dim), dtype=np.int8) for _ in range(2))
    steps = rng.integers(1, 512, 50).astype(np.float32) * np.float32(2.0**-20)
    lengths = rng.uniform(0.5, 2, 50).astype(np.float32)
    chosen = rng.integers(0, 50, (3, 7))
    out = np.empty((3, 7), np.float32)
    asked = (high, low, steps, lengths if divided else None)
    run(dot_rows.dot_rows_s16(out, queries, *asked, chosen))
    rows = (256 * high.astype(np.float32) + low) * steps[:, None]
    rows = rows / lengths[:, None] if divided else rows
    assert out.tobytes() == np.take_along_axis(dot_products(queries, rows), chosen, 1).tobytes()


# --- elsewhere ----------------------------------------------------------------------------------


def digest():
    """Everything that a walk and a pruning of random vectors give, as bytes."""
    rng = np.random.default_rng(1)
    held = vectors(rng, 300, 130)
    rests = np.zeros(300, np.float32)
    squares = (held.vectors.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
    squares *= held.steps**2
    graph, candidates = np.empty((300, 8), np.int32), rng.integers(0, 300, (300, 40))
    starts = neighbours.starts_of(held.vectors)
    args = candidates.astype(np.int32), held, starts, squares, rests, 0, 300
    run(pruning.prune(graph, 4, *args))
    pool, found = np.empty((20, 30), np.int32), np.empty((20, 30), np.float32)
    entries = np.arange(5, dtype=np.int32)
    asked = neighbours.Queries.of(held.vectors[:20], held.steps[:20])
    run(neighbours.graph_search(pool, found, asked, graph, held, entries, entries))
    return graph.tobytes() + pool.tobytes() + found.tobytes()


@pytest.mark.parametrize(("count", "dot"), [(4, ""), (8, "pmaddwd"), (16, "")])
def test_any_lane_count_gives_the_same_bytes(count, dot, tmp_path):
    from test_kernels_targets import run_child

    out = tmp_path / "out"
    run_child(Path(__file__).name, out, RVCNN_LANES=str(count), RVCNN_DOT=dot)
    assert out.read_bytes() == bytes([count]) + digest()


def test_what_is_compiled_calls_nothing():
    """A call of memset, say, is out of reach of code that lies anywhere in memory."""
    for kernel in (neighbours.search_kernel(), pruning.prune_kernel()):
        named = [line for line in kernel.llvm_ir().splitlines() if line.startswith("declare")]
        assert named and all("@llvm." in line for line in named), named
        assert not any("@llvm.mem" in line for line in named), named


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(bytes([lanes()]) + digest())
