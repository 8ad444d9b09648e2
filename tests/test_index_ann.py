"""Search by a graph: nearly all of the nearest, with exact scores, at every moment."""

import json
import os
import shutil

import numpy as np
import pytest
from child import run_python

from rvcnn.errors import UsageError
from rvcnn.index import Index, build, repair, verify
from rvcnn.index.formats import encode
from rvcnn.index.graph import MAGIC, read_header

METRICS = ("cosine", "euclidean", "dot")
COUNT, DIM, QUERIES = 3000, 40, 60
CHANGES = int(os.environ.get("RVCNN_CHANGES", 40))


def clustered(count, dim=DIM, seed=0, clusters=60, spread=0.6):
    """Vectors round random centres, of different lengths."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((clusters, dim))
    points = centres[rng.integers(0, clusters, count)]
    points += spread * rng.standard_normal((count, dim))
    return (points * rng.uniform(0.9, 1.1, (count, 1))).astype(np.float32)


def names(count, first=0):
    return [f"{i:06}.jpg" for i in range(first, first + count)]


def make(folder, metric="cosine", dtype="float32", count=COUNT, built=True):
    index = Index.create(folder, DIM, metric, dtype=dtype)
    index.add(clustered(count), names(count))
    if built:
        assert index.build_ann()
    return index


def compare(index, queries, k=10, **options):
    """Share of the exact answers that are found; what is found must have its exact score."""
    want, got = index.search(queries, k, exact=True), index.search(queries, k, **options)
    assert got.scores.shape == want.scores.shape and got.rows.shape == want.rows.shape
    shares = []
    everything = index.search(queries, len(index), exact=True)
    for i in range(len(queries)):
        scores = dict(zip(everything.ids[i], everything.scores[i], strict=True))
        assert [scores[name] for name in got.ids[i]] == got.scores[i].tolist()
        place = {name: n for n, name in enumerate(everything.ids[i])}
        assert (np.diff([place[name] for name in got.ids[i]]) > 0).all()
        shares.append(len({*want.ids[i]} & {*got.ids[i]}) / len(want.ids[i]))
    return np.mean(shares)


@pytest.fixture(scope="module", params=[(m, d) for m in METRICS for d in ("float32", "int8")])
def built(request, tmp_path_factory):
    metric, dtype = request.param
    return make(tmp_path_factory.mktemp("built"), metric, dtype)


def is_used(index):
    with index.snapshot() as now:
        return now.walk() is not None


# --- what is found ------------------------------------------------------------------------------


def test_nearly_all_is_found_with_its_exact_score(built):
    queries = clustered(QUERIES, seed=1)
    assert is_used(built)
    assert compare(built, queries) >= 0.95
    assert compare(built, queries, k=40, effort=200) >= 0.95
    assert compare(built, queries, effort=300) >= compare(built, queries, effort=12)
    for k in (1, 7, 400, COUNT + 5):
        assert compare(built, queries[:3], k=k) > 0.6


def test_answers_depend_neither_on_threads_nor_on_how_many_are_asked(built):
    queries = clustered(150, seed=2)
    want = built.search(queries, 5, workers=1)
    again = built.search(queries, 5, workers=2)
    assert want.ids == again.ids and want.scores.tobytes() == again.scores.tobytes()
    alone = [built.search(query, 5) for query in queries[::10]]
    assert [a.ids[0] for a in alone] == want.ids[::10]


def test_equal_vectors_come_in_the_order_of_their_ids(tmp_path):
    index = Index.create(tmp_path, DIM)
    same = np.repeat(clustered(400), 5, axis=0)
    index.add(same, names(len(same))[::-1])
    index.build_ann()
    found = index.search(same[::50], 5)
    for ids, scores in zip(found.ids, found.scores, strict=True):
        assert len({*scores.tolist()}) == 1 and ids == sorted(ids)


def test_many_copies_of_one_vector_hide_nothing(tmp_path):
    vectors = clustered(2000)
    vectors[:1500] = vectors[0]
    index = Index.create(tmp_path, DIM, "euclidean")
    index.add(vectors, names(2000))
    index.build_ann()
    others = vectors[1500:]
    assert np.mean(index.search(others, 1).scores[:, 0] == 0) >= 0.97
    assert (index.search(vectors[0], 50).scores == 0).all()


# --- rows that come and go ----------------------------------------------------------------------


def test_what_is_added_is_found_and_what_is_removed_is_not(tmp_path):
    index = make(tmp_path)
    queries = clustered(QUERIES, seed=3)
    index.add(queries, names(QUERIES, COUNT))
    found = index.search(queries, 1)
    assert [ids[0] for ids in found.ids] == names(QUERIES, COUNT)
    assert compare(index, queries) >= 0.97
    index.remove(names(QUERIES, COUNT))
    assert compare(index, queries) >= 0.97
    nearest = index.search(queries[0], 300, exact=True).ids[0]
    index.remove(nearest)
    assert is_used(index) and compare(index, queries) >= 0.97
    assert not {*nearest} & {*index.search(queries[0], 20).ids[0]}


def test_as_many_come_as_there_are(tmp_path):
    """Though nearly all that a walk meets are gone."""
    index = make(tmp_path)
    query = clustered(1, seed=4)
    everything = index.search(query, COUNT, exact=True).ids[0]
    index.remove(everything[:800])
    found = index.search(query, 15)
    assert is_used(index) and len(found.ids[0]) == 15
    assert found.ids == index.search(query, 15, exact=True).ids


def test_replacing_a_vector_moves_its_id(tmp_path):
    index = make(tmp_path)
    query = clustered(1, seed=5)
    index.add(query, ["000007.jpg"])
    assert index.search(query, 3).ids[0][0] == "000007.jpg"
    assert index.search(query, COUNT, exact=True).ids[0].count("000007.jpg") == 1


def test_compaction_ends_a_graph_and_the_next_build_makes_another(tmp_path):
    index = make(tmp_path)
    reader = Index.open(tmp_path)
    assert is_used(reader)
    index.remove(names(COUNT // 2))
    queries = clustered(QUERIES, seed=6)
    assert not is_used(reader) and compare(reader, queries) == 1
    assert not (index.location / "ann").exists()
    assert index.build_ann() and is_used(reader)
    assert compare(reader, queries) >= 0.97


def test_a_graph_is_built_once_for_the_same_vectors(tmp_path):
    index = make(tmp_path)
    assert not index.build_ann()
    assert index.build_ann(degree=16)
    index.add(clustered(5, seed=7), names(5, COUNT))
    assert index.build_ann(degree=16) and not index.build_ann(degree=16)
    (path,) = graph_files_of(index)
    assert read_header(path).rows == COUNT + 5


def test_too_few_vectors_need_no_graph(tmp_path):
    index = Index.create(tmp_path, 3)
    assert not index.build_ann()
    index.add(np.eye(3), list("abc"))
    assert index.build_ann() and index.search(np.eye(3)[1], 2).ids[0][0] == "b"


def test_a_reader_sees_a_graph_as_soon_as_it_is_there(tmp_path):
    index = make(tmp_path, built=False)
    reader = Index.open(tmp_path)
    assert not is_used(reader)
    index.build_ann()
    assert is_used(reader)


def graph_files_of(index):
    return [path for path in (index.location / "ann").iterdir() if path.suffix == ".graph"]


# --- damage -------------------------------------------------------------------------------------


def test_a_changed_byte_anywhere_in_a_graph_is_found_and_mended(tmp_path):
    index = make(tmp_path, count=600, dtype="int8")
    (path,) = graph_files_of(index)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [0, 20, 4095, len(whole) - 1, *rng.integers(0, len(whole), 30)]:
        broken = bytearray(whole)
        broken[place] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        (line,) = verify(tmp_path)
        assert path.name in line
        # Whatever it holds, nothing fails, and what is found is there.
        found = Index.open(tmp_path).search(clustered(20, seed=8), 5)
        assert {name for ids in found.ids for name in ids} <= {*names(600)}
    assert repair(tmp_path).kept == 600
    assert verify(tmp_path) == [] and not path.exists()
    assert index.build_ann() and verify(tmp_path) == []


def test_a_changed_byte_anywhere_in_the_index_is_found_and_mended(tmp_path):
    index = make(tmp_path / "index", count=500, dtype="int8")
    location = index.location
    index.close()
    whole = shutil.copytree(location, tmp_path / "whole")
    files = [path for path in whole.rglob("*") if path.is_file() and path.stat().st_size]
    assert any(path.suffix == ".graph" for path in files)
    rng = np.random.default_rng(1)
    for path in [files[i] for i in rng.integers(0, len(files), CHANGES)]:
        broken = bytearray(path.read_bytes())
        broken[rng.integers(0, len(broken))] ^= 1 << rng.integers(8)
        target = location / path.relative_to(whole)
        target.write_bytes(broken)
        assert verify(location.parent), path.name
        repair(location.parent)
        assert verify(location.parent) == [], path.name
        shutil.rmtree(location)
        shutil.copytree(whole, location)


@pytest.mark.parametrize("size", [0, 10, 4096, 5000, -1])
def test_a_graph_that_is_cut_short_is_not_used(size, tmp_path):
    index = make(tmp_path, count=800)
    (path,) = graph_files_of(index)
    path.write_bytes(path.read_bytes()[:size])
    again = Index.open(tmp_path)
    assert not is_used(again) and compare(again, clustered(5, seed=9)) == 1
    assert len(verify(tmp_path)) == 1


def test_headers_that_lie_are_refused(tmp_path):
    index = make(tmp_path, count=800)
    (path,) = graph_files_of(index)
    whole = path.read_bytes()
    lies = [
        (b'"rows": 800', b'"rows": 801'),
        (b"[256], [256, 40]", b"[257], [256, 40]"),
        (b"[800, 32]", b"[400, 64]"),
        (b'"rows": 800', b'"rows": -80'),
        (b'"version": 1', b'"version": 9'),
        (b'"dimension": 40', b'"dimension": 41'),
        (b'"metric": "cosine"', b'"metric": "cosinf"'),
    ]
    for true, lie in lies:
        assert true in whole[:4096]
        path.write_bytes(whole.replace(true, lie.ljust(len(true)), 1))
        assert not is_used(Index.open(tmp_path)), lie


def test_a_size_that_64_bits_do_not_hold_is_no_small_one(tmp_path):
    make(tmp_path, count=800).close()
    (path,) = (tmp_path / ".rvcnn" / "ann").iterdir()
    header = read_header(path)
    rows = 1 << 30
    shapes = [(rows, 1 << 34), (1,), (1, 4), (1,), (1, DIM), (1,), (0, DIM), (0,)]
    text = {**header._asdict(), "rows": rows, "dtype": "int8", "shapes": shapes, "version": 1}
    path.write_bytes((MAGIC + json.dumps(text).encode()).ljust(4096 + 5 * 64 + 32))
    with pytest.raises(ValueError, match="its size is not"):
        read_header(path)


def test_a_graph_of_other_vectors_is_not_used(tmp_path):
    index = make(tmp_path / "a")
    other = Index.create(tmp_path / "b", DIM)
    other.add(clustered(COUNT, seed=10), names(COUNT))
    shutil.copytree(index.location / "ann", other.location / "ann")
    again = Index.open(tmp_path / "b")
    assert not is_used(again)
    assert [line for line in verify(tmp_path / "b") if "other vectors" in line]


def test_files_that_a_build_left_behind_are_cleared_away(tmp_path):
    index = make(tmp_path)
    (index.location / "ann" / "0.9.graph.new").write_bytes(b"half")
    (index.location / "ann" / "7.2.graph").write_bytes(b"old")
    index.add(clustered(1, seed=11), ["x"])
    assert len(graph_files_of(index)) == 1 and is_used(index)


# --- the building -------------------------------------------------------------------------------


def maker(breadth=12, degree=8):
    return build._Maker(degree, breadth, (0, 4), 1, lambda step: None)


def test_the_nearest_are_the_nearest():
    points = build._points(encode(clustered(300), "int8"), "euclidean")
    rows = maker()._nearest(points, 200)
    low = points.low[:200] * points.steps[:200, None].astype(np.float64)
    distances = ((low[:, None] - low) ** 2).sum(axis=2)
    want = np.sort(distances, axis=1)[:, :13]
    got = np.sort(np.take_along_axis(distances, rows.astype(int), axis=1), axis=1)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-3)


def test_a_graph_made_in_batches_is_as_good(tmp_path, monkeypatch):
    index = make(tmp_path, built=False)
    monkeypatch.setattr(build, "_FEW", 100)
    index.build_ann()
    assert compare(index, clustered(QUERIES, seed=12)) >= 0.97


def test_a_graph_does_not_depend_on_threads(monkeypatch):
    monkeypatch.setattr(build, "_FEW", 100)
    vectors = encode(clustered(1500), "int8")
    one, two = (build.build(vectors, 0, 1500, "cosine", workers=n) for n in (1, 2))
    assert one[0] == two[0]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one[1], two[1], strict=True))


def test_every_row_can_be_reached():
    vectors = encode(clustered(1200, clusters=300, spread=0.01), "float32")
    header, graph = build.build(vectors, 0, 1200, "euclidean", degree=4, breadth=4)

    def reached(edges, begin):
        seen, todo = {*begin}, [*begin]
        while todo:
            new = {n for n in edges[todo.pop()].tolist() if n >= 0} - seen
            seen |= new
            todo += new
        return seen

    assert reached(graph.upper, graph.entries.tolist()) == {*range(len(graph.members))}
    assert reached(graph.neighbours, graph.members.tolist()) == {*range(1200)}


def test_reversed_edges():
    graph = np.array([[1, 2], [2, -1], [0, 1], [2, -1]], np.int32)
    found = build._reversed(graph, 0, 4, 2)
    assert [{*row} - {-1} for row in found.tolist()] == [{2}, {0, 2}, {1, 3}, set()]
    found = build._reversed(graph, 3, 7, 2)
    assert [{*row} - {-1} for row in found.tolist()][:3] == [{5}, {3, 5}, {4, 6}]


def test_settings_outside_their_bounds_are_refused(tmp_path):
    index = make(tmp_path, built=False, count=50)
    for settings in ({"degree": 3}, {"breadth": 1}, {"degree": 5000}):
        with pytest.raises(UsageError):
            index.build_ann(**settings)


def test_searching_by_a_graph_imports_no_scipy(tmp_path):
    index = make(tmp_path)
    script = (
        "import sys, numpy as np; from rvcnn.index import Index\n"
        f"index = Index.open({str(index.path)!r})\n"
        f"found = index.search(np.ones({DIM}), 3)\n"
        "with index.snapshot() as now: assert now.walk() is not None\n"
        "print(len(found.ids[0]), {'pynndescent', 'scipy', 'numba'} & {*sys.modules})"
    )
    assert run_python(script, tmp_path)[-1] == "3 set()"
