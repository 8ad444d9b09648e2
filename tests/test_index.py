import json
import os
import pickle
import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from index_fake import random_vectors

from rvcnn.errors import (
    IndexDamagedError,
    IndexMismatchError,
    IndexMissingError,
    RvcnnError,
    ShapeError,
    UsageError,
)
from rvcnn.index import Index, find_index

IDS = ["a.jpg", "b.jpg", "c/d.jpg"]


@pytest.fixture
def index(tmp_path):
    index = Index.create(tmp_path / "photos", 4, description={"model": "m"})
    index.add(np.eye(4, dtype=np.float32)[:3], IDS)
    return index


def test_a_new_index_is_empty(tmp_path):
    index = Index.create(tmp_path / "new", 16, "dot", {"model": "m", "sizes": (1, 2)})
    assert (index.dim, index.metric, len(index)) == (16, "dot", 0)
    assert index.description == {"model": "m", "sizes": [1, 2]}
    assert index.path == tmp_path / "new"
    assert index.location == tmp_path / "new" / ".rvcnn"
    assert index.ids == [] and list(index.items()) == []
    assert index.vectors().shape == (0, 16)
    assert index.verify() == []
    found = index.search(np.ones((3, 16)), k=5)
    assert found.ids == [[], [], []]
    assert found.scores.shape == found.rows.shape == (3, 0)
    assert index.nearest(np.ones(16)) is None
    assert index.search_with_threshold(np.ones(16), 0.5) == []
    assert not index.has_near_match(np.ones(16), 0.5)


def test_the_manifest_says_what_is_inside(index):
    content = json.loads((index.location / "manifest.json").read_text())
    assert content == {
        "format": "rvcnn index",
        "format_version": 1,
        "dimension": 4,
        "metric": "cosine",
        "description": {"model": "m"},
    }


def test_what_was_added_is_there_after_opening_again(index):
    again = Index.open(index.path)
    assert again.ids == IDS
    np.testing.assert_array_equal(again.vectors(), np.eye(4)[:3])
    np.testing.assert_array_equal(again.vectors(["c/d.jpg", "a.jpg"]), np.eye(4)[[2, 0]])
    assert "b.jpg" in again and "x" not in again and "" not in again and 3 not in again
    item = again.item("b.jpg")
    assert (item.id, item.status, item.row, item.metadata) == ("b.jpg", "ok", 1, None)
    assert again.item("x") is None
    assert again.stats()[:4] == (3, 0, 0, 0)


def test_an_open_index_sees_what_another_adds(index):
    other = Index.open(index.path)
    assert len(other) == 3
    index.add([[0, 0, 0, 1]], ["z"])
    assert len(other) == 4
    assert other.nearest([0, 0, 0, 1]).id == "z"
    index.remove(["z"])
    assert other.nearest([0, 0, 0, 1]).score == 0


def test_search(index):
    found = index.search([[1, 0.1, 0, 0], [0, 0, 1, 0]], k=2)
    assert found.ids == [["a.jpg", "b.jpg"], ["c/d.jpg", "a.jpg"]]
    assert found.rows.tolist() == [[0, 1], [2, 0]]
    np.testing.assert_allclose(found.scores[0], np.array([1, 0.1]) / np.hypot(1, 0.1), rtol=1e-6)
    assert index.search([1, 0, 0, 0], k=50).scores.shape == (1, 3)


def test_near_matches(index):
    assert index.nearest([0, 2, 0, 0]) == ("b.jpg", 1.0, 1)
    assert index.has_near_match([0, 2, 0, 0], 1.0)
    assert not index.has_near_match([0, 1, 1, 0], 0.75)
    near = index.search_with_threshold([0, 1, 1, 0], 0.7)
    assert [m.id for m in near] == ["b.jpg", "c/d.jpg"]


def test_euclidean_scores_are_negated_distances(tmp_path):
    index = Index.create(tmp_path, 2, "euclidean")
    index.add([[0, 0], [3, 4]], ["zero", "five"])
    found = index.search([0, 0], k=2)
    assert found.ids == [["zero", "five"]]
    assert found.scores.tolist() == [[0, -5]]
    assert [m.id for m in index.search_with_threshold([0, 0], -4.9)] == ["zero"]
    assert [m.id for m in index.search_with_threshold([0, 0], -5)] == ["zero", "five"]


def test_equal_scores_come_in_the_order_of_ids(tmp_path):
    index = Index.create(tmp_path, 4)
    ids = [f"id{n}" for n in np.random.default_rng(0).permutation(40)]
    index.add(np.ones((40, 4)), ids)
    assert index.search(np.ones(4), k=12).ids == [sorted(ids)[:12]]
    index.remove(sorted(ids)[:3])
    assert index.search(np.ones(4), k=5).ids == [sorted(ids)[3:8]]


def test_an_id_that_is_there_gets_the_new_vector(index):
    index.add([[0, 0, 0, 1], [0, 1, 0, 0]], ["a.jpg", "new"])
    assert sorted(index.ids) == sorted([*IDS, "new"])
    np.testing.assert_array_equal(index.vectors(["a.jpg"]), [[0, 0, 0, 1]])
    assert index.stats().dead_rows == 1
    assert index.verify() == []


def test_remove_counts_what_was_there(index):
    assert index.remove(["a.jpg", "nothing"]) == 1
    assert index.ids == IDS[1:]
    assert index.remove([]) == 0
    assert index.verify() == []


def test_metadata_stays_until_new_is_given(index):
    index.add([[1, 0, 0, 0]], ["a.jpg"], metadata=[{"species": "fox", "count": 2, "ä": [None]}])
    assert index.item("a.jpg").metadata == {"species": "fox", "count": 2, "ä": [None]}
    index.add([[0, 1, 0, 0]], ["a.jpg"])
    assert index.item("a.jpg").metadata == {"species": "fox", "count": 2, "ä": [None]}
    index.add([[0, 1, 0, 0]], ["a.jpg"], metadata=[{}])
    assert index.item("a.jpg").metadata == {}
    assert index.verify() == []


def test_cosine_stores_unit_vectors_and_keeps_their_bits(tmp_path):
    index = Index.create(tmp_path, 64)
    vectors = random_vectors(50, 64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    index.add(unit, [f"u{i:02}" for i in range(50)])
    assert index.vectors().tobytes() == unit.tobytes()
    index.add(vectors.astype(np.float64) * 1e-9, [f"v{i:02}" for i in range(50)])
    np.testing.assert_allclose(index.vectors()[50:], unit, rtol=0, atol=1e-7)
    assert index.verify() == []


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
def test_other_metrics_store_vectors_as_they_are(tmp_path, metric):
    index = Index.create(tmp_path, 4, metric)
    vectors = np.array([[0, 0, 0, 0], [1e5, -3, 0, 1]], np.float32)
    index.add(vectors, ["zero", "far"])
    np.testing.assert_array_equal(index.vectors(["zero", "far"]), vectors)
    assert index.verify() == []


def test_what_can_be_given_as_vectors_and_ids(index):
    index.add([0, 0, 0, 1], [Path("one") / "path.jpg"])
    index.add(np.eye(4, dtype=np.int64), ["i", "ii", "iii", "iv"])
    index.add(np.asfortranarray(np.eye(4, dtype=np.float16)), (c for c in "wxyz"))
    assert os.path.join("one", "path.jpg") in index
    index.add(np.zeros((0, 4)), [])
    assert len(index) == 12


@pytest.mark.parametrize(
    ("vectors", "ids", "error", "says"),
    [
        (np.ones((2, 5)), ["x", "y"], ShapeError, r"\(N, 4\)"),
        (np.ones((2, 2, 4)), ["x", "y"], ShapeError, r"\(N, 4\)"),
        (np.ones((2, 4, 1)), ["x", "y"], ShapeError, r"\(N, 4\)"),
        (np.ones((2, 4)), ["x"], ShapeError, "2 vectors and 1 ids"),
        (np.ones((2, 4)), ["x", "x"], UsageError, "'x' is given twice"),
        (np.ones((1, 4)), [7], UsageError, "not 7"),
        (np.ones((1, 4)), [b"x"], UsageError, "not b'x'"),
        (np.ones((1, 4)), [None], UsageError, "not None"),
        (np.ones((1, 4)), [""], UsageError, "non-empty"),
        (np.ones((1, 4)), "x", UsageError, "list of ids"),
        ([[1, 0, np.nan, 0]], ["x"], UsageError, r"vector 0 \('x'\) holds NaN"),
        ([[1, 0, 0, 0], [np.inf, 0, 0, 0]], ["x", "y"], UsageError, r"vector 1 \('y'\)"),
        ([[1e300, 0, 0, 0]], ["x"], UsageError, "infinity"),
        ([[1e19, 0, 0, 0]], ["x"], UsageError, "length above"),
        ([[1, 0, 0, 0], [0, 0, 0, 0]], ["x", "y"], UsageError, r"vector 1 \('y'\) is zero"),
        ([["a", "b", "c", "d"]], ["x"], UsageError, "numbers"),
        ([[1, 2], [3]], ["x", "y"], UsageError, "numbers"),
    ],
)
def test_add_refuses_what_it_cannot_hold(index, vectors, ids, error, says):
    with pytest.raises(error, match=says):
        index.add(vectors, ids)
    assert index.ids == IDS
    assert index.verify() == []


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ([{"a": 1}], "2 ids and 1 metadata"),
        ([{"a": 1}, "text"], "dictionary"),
        ([{"a": {1}}, None], "plain JSON"),
        ([{"a": float("nan")}, None], "plain JSON"),
    ],
)
def test_add_refuses_metadata_that_is_no_json(index, metadata, says):
    with pytest.raises(RvcnnError, match=says):
        index.add(np.ones((2, 4)), ["x", "y"], metadata)
    assert index.ids == IDS


@pytest.mark.parametrize(
    ("query", "k", "error"),
    [
        (np.ones(3), 1, ShapeError),
        ([[np.nan] * 4], 1, UsageError),
        (np.zeros(4), 1, UsageError),
        (np.ones(4), 0, UsageError),
        (np.ones(4), -2, UsageError),
        (np.ones(4), 1.5, UsageError),
        (np.ones(4), True, UsageError),
        (np.ones(4), None, UsageError),
        (np.ones(4), "5", UsageError),
        (np.ones(4), np.inf, UsageError),
    ],
)
def test_search_refuses_nonsense(index, query, k, error):
    with pytest.raises(error):
        index.search(query, k)


@pytest.mark.parametrize("effort", [-1, 0.5, None])
def test_search_refuses_an_effort_that_is_none(index, effort):
    with pytest.raises(UsageError, match="effort is a whole number of at least 0"):
        index.search(np.ones(4), 1, effort=effort)


def test_one_vector_means_one(index):
    with pytest.raises(UsageError, match="one vector"):
        index.nearest(np.ones((2, 4)))
    with pytest.raises(UsageError, match="no vector of 'x'"):
        index.vectors(["x"])


@pytest.mark.parametrize(
    "name", ["new\nline.jpg", "tab\t.jpg", "ünïcode.jpg", "日本.jpg", "a'b\"c.jpg", " ", "%00?#"]
)
def test_any_text_can_be_an_id(tmp_path, name):
    index = Index.create(tmp_path, 4)
    index.add(np.ones((2, 4)), [name, "other"])
    assert sorted(index.ids) == sorted([name, "other"])
    assert index.item(name).id == name
    assert index.remove([name]) == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are Unicode")
def test_an_id_that_is_no_utf8_keeps_its_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9\xff.jpg")
    index = Index.create(tmp_path, 4)
    index.add(np.ones((1, 4)), [name])
    assert os.fsencode(index.ids[0]) == b"caf\xe9\xff.jpg"
    assert index.nearest(np.ones(4)).id == name
    with pytest.raises(UsageError, match="file name"):
        index.add(np.ones((1, 4)), ["\ud800"])


def test_an_index_can_be_pickled(index):
    again = pickle.loads(pickle.dumps(index))
    assert again.ids == IDS


def test_create_refuses_a_second_index(index):
    with pytest.raises(UsageError, match="already"):
        Index.create(index.path, 4)
    assert Index.open(index.path).ids == IDS


@pytest.mark.parametrize(
    ("dim", "metric", "description", "dtype", "says"),
    [
        (0, "cosine", {}, "float32", "dim is a whole number of at least 1"),
        (2.5, "cosine", {}, "float32", "dim is a whole number"),
        (True, "dot", {}, "float32", "dim is a whole number"),
        (4, "manhattan", {}, "float32", "unknown metric 'manhattan': one of cosine"),
        (4, "dot", {"a": object()}, "float32", "JSON"),
        (4, "dot", {}, "float16", "unknown dtype 'float16': one of float32, int8"),
        (10**6, "dot", {}, "int8", "int8 vectors have at most"),
    ],
)
def test_create_refuses_nonsense_and_leaves_nothing(
    tmp_path, dim, metric, description, dtype, says
):
    with pytest.raises(UsageError, match=says):
        Index.create(tmp_path / "x", dim, metric, description, dtype=dtype)
    assert not (tmp_path / "x").exists()


def test_open_without_an_index(tmp_path):
    with pytest.raises(IndexMissingError, match="rvcnn embed"):
        Index.open(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        Index.open(tmp_path / "nowhere")
    (tmp_path / ".rvcnn").mkdir()
    with pytest.raises(IndexMissingError):
        Index.open(tmp_path)


def test_a_newer_format_is_refused_and_named(index):
    file = index.location / "manifest.json"
    file.write_text(file.read_text().replace('"format_version": 1', '"format_version": 7'))
    for use in (lambda: Index.open(index.path), index.writer):
        with pytest.raises(IndexMismatchError, match=r"format 7.*up to 2.*--rebuild"):
            use()


def test_a_newer_format_in_the_database_is_refused(index):
    index.close()
    with sqlite3.connect(index.location / "items.sqlite") as connection:
        connection.execute(
            "UPDATE state SET manifest = replace(manifest, 'version\": 1', 'version\": 3')"
        )
    connection.close()
    with pytest.raises(IndexMismatchError, match="format 3"):
        Index.open(index.path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda location: (location / "items.sqlite").unlink(),
        lambda location: (location / "items.sqlite").write_bytes(b""),
        lambda location: (location / "items.sqlite").write_bytes(b"no database" * 999),
        lambda location: (location / "vectors.f32").unlink(),
        lambda location: (location / "vectors.f32").write_bytes(b"short"),
    ],
)
def test_a_damaged_index_says_what_mends_it(index, damage):
    index.close()
    damage(index.location)
    with pytest.raises(IndexDamagedError, match="rvcnn verify --repair"):
        Index.open(index.path)
    with pytest.raises(IndexDamagedError, match="rvcnn verify --repair"):
        index.writer()


def test_a_missing_or_damaged_manifest_file_does_not_stop_reading(index):
    file = index.location / "manifest.json"
    whole = file.read_bytes()
    for content in (b"", b"{", b"[]", b"\xff\xfe"):
        file.write_bytes(content)
        assert Index.open(index.path).ids == IDS
    file.unlink()
    assert Index.open(index.path).ids == IDS
    with index.writer():
        pass
    assert file.read_bytes() == whole


def test_the_nearest_index_at_or_above_is_found(index, tmp_path):
    below = index.path / "c" / "deep"
    below.mkdir(parents=True)
    assert find_index(below) == index.path
    assert find_index(index.path) == index.path
    assert find_index(tmp_path) is None
    Index.create(index.path / "c", 2)
    assert find_index(below) == index.path / "c"
    assert Index.open(index.path / "c" / ".rvcnn").path == index.path / "c"


def test_no_pickle_is_in_the_code():
    package = Path(sys.modules["rvcnn.index"].__file__).parent
    sources = [path.read_text() for path in package.glob("*.py")]
    assert sources and not any("pickle" in source for source in sources)
