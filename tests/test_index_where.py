"""Filtered searches against brute force over the rows that a filter keeps."""

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rvcnn.errors import IndexDamagedError, UsageError
from rvcnn.index import Index, Item, choose, exact
from rvcnn.index.choose import rows_where
from rvcnn.index.database import SCHEMA
from rvcnn.index.formats import FORMATS
from rvcnn.index.items import encode_metadata
from rvcnn.where import parse
from rvcnn.where.evaluate import predicate
from rvcnn.where.narrow import ALL, narrow
from rvcnn.where.terms import (
    And,
    Compare,
    Constant,
    Contains,
    Field,
    IsNull,
    Match,
    Not,
    Or,
    StartsWith,
)

COUNT, DIM = 30_000, 24
SHARES = {"half": 0.5, "hundredth": 0.01, "few": 0.0001, "none": 0.0, "all": 1.0}


@pytest.fixture(scope="module", params=[*FORMATS, "euclidean"])
def filled(request, tmp_path_factory):
    """An index of random vectors, some of them equal; which rows each filter keeps; its vectors."""
    rng = np.random.default_rng(5)
    metric = "euclidean" if request.param == "euclidean" else "cosine"
    dtype = "float32" if request.param == "euclidean" else request.param
    index = Index.create(tmp_path_factory.mktemp("where"), DIM, metric, dtype=dtype)
    vectors = rng.standard_normal((COUNT, DIM)).astype(np.float32)
    vectors[rng.integers(0, COUNT, 3000)] = vectors[7]
    kept = {}
    for name, share in SHARES.items():
        kept[name] = np.zeros(COUNT, bool)
        kept[name][rng.permutation(COUNT)[: round(share * COUNT)]] = True
    names = np.array([f"{n:05d}" for n in rng.permutation(COUNT)])
    tags = [{name: bool(kept[name][i]) for name in SHARES} for i in range(COUNT)]
    with index.writer() as writer:
        writer.add(vectors, names.tolist(), tags)
        writer.add(
            vectors[:50], [f"gone{n}" for n in range(50)], [dict.fromkeys(SHARES, True)] * 50
        )
    index.remove([f"gone{n}" for n in range(50)])
    return index, names, kept, index.vectors(names.tolist()).astype(np.float64)


def truth(vectors, query, metric):
    """Return the scores by their definition, in float64."""
    if metric == "euclidean":
        return -np.sqrt(((vectors - query) ** 2).sum(axis=1))
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return vectors @ query / lengths


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("k", [1, 10, 500])
def test_the_k_nearest_of_those_a_filter_keeps(filled, name, k):
    index, names, kept, vectors = filled
    queries = np.random.default_rng(k).standard_normal((3, DIM)).astype(np.float32)
    found = index.search(queries, k, where=name)
    wanted = min(k, int(kept[name].sum()))
    assert found.scores.shape == (3, wanted)
    place = {identity: i for i, identity in enumerate(names)}
    for query, ids, scores in zip(queries, found.ids, found.scores, strict=True):
        true = truth(vectors, query.astype(np.float64), index.metric)
        best = -np.sort(-true[kept[name]])[:wanted]
        rows = [place[i] for i in ids]
        assert kept[name][rows].all() and len(set(rows)) == wanted
        np.testing.assert_allclose(true[rows], best, rtol=0, atol=1e-5)
        np.testing.assert_allclose(scores, best, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SHARES)
def test_thresholds_and_near_matches_among_those_a_filter_keeps(filled, name):
    index, names, kept, vectors = filled
    query = np.random.default_rng(9).standard_normal(DIM).astype(np.float32)
    true = truth(vectors, query.astype(np.float64), index.metric)
    among = np.sort(true[kept[name]])
    best = index.nearest(query, where=name)
    if not len(among):
        assert best is None and not index.has_near_match(query, -1e9, where=name)
        assert index.search_with_threshold(query, -1e9, where=name) == []
        return
    assert kept[name][names.tolist().index(best.id)]
    assert best.score == pytest.approx(among[-1], abs=1e-5)
    # Halfway between two scores that differ, so that rounding decides nothing.
    gaps = np.diff(among[-200:])
    at = int(np.argmax(gaps)) if len(gaps) else 0
    threshold = float(among[-200:][at] + gaps[at] / 2) if len(gaps) else float(among[-1] - 1)
    wanted = set(names[kept[name] & (true >= threshold)].tolist())
    assert {m.id for m in index.search_with_threshold(query, threshold, where=name)} == wanted
    assert index.has_near_match(query, threshold, where=name)
    assert not index.has_near_match(query, float(among[-1]) + 1e-3, where=name)


def test_equal_scores_come_in_the_order_of_ids(tmp_path):
    index = Index.create(tmp_path, 4)
    ids = [f"id{n}" for n in np.random.default_rng(0).permutation(40)]
    index.add(np.ones((40, 4)), ids, [{"n": n % 2} for n in range(40)])
    kept = sorted(ids[1::2])
    assert index.search(np.ones(4), k=12, where="n = 1").ids == [kept[:12]]
    assert index.search(np.ones(4), k=50, where="n in (1, 7)").ids == [kept]
    assert [m.id for m in index.search_with_threshold(np.ones(4), 0.5, where="n = 1")] == kept


def test_gathering_does_not_show(filled, monkeypatch):
    index, *_ = filled
    queries = np.random.default_rng(1).standard_normal((5, DIM)).astype(np.float32)
    gathered = index.search(queries, 20, where="hundredth")
    monkeypatch.setattr(exact, "_FEW", 0)
    scanned = index.search(queries, 20, where="hundredth")
    assert gathered.ids == scanned.ids
    assert gathered.scores.tobytes() == scanned.scores.tobytes()
    monkeypatch.setattr(exact, "_FEW", 2)
    monkeypatch.setattr(exact, "_MOST_GATHERED", 97)
    blocks = index.search(queries, 20, where="hundredth")
    assert blocks.ids == scanned.ids and blocks.scores.tobytes() == scanned.scores.tobytes()


def test_few_rows_are_read_alone(filled, monkeypatch):
    index, *_ = filled
    read = []
    for scan in exact.SCANS.values():
        bounds = scan.bounds

        def counting(self, block, scratch, bounds=bounds):
            read.append(block.stop - block.start if isinstance(block, slice) else len(block))
            return bounds(self, block, scratch)

        monkeypatch.setattr(scan, "bounds", counting)
    index.search(np.ones(DIM), 10, where="few")
    assert sum(read) == round(SHARES["few"] * COUNT)


def test_a_filter_is_evaluated_once_a_commit(tmp_path, monkeypatch):
    index = Index.create(tmp_path, 2)
    index.add(np.eye(2), ["a", "b"], [{"n": 1}, {"n": 2}])
    calls = []

    def counting(*args):
        calls.append(args)
        return rows_where(*args)

    monkeypatch.setattr(choose, "rows_where", counting)
    for _ in range(3):
        assert index.search([1, 0], where="n = 2").ids == [["b"]]
    assert index.nearest([1, 0], where=parse("n = 2")).id == "b"
    assert len(calls) == 1
    index.add([[1, 1]], ["c"], [{"n": 2}])
    assert index.search([1, 0], where="n = 2").ids == [["c", "b"]]
    assert len(calls) == 2
    for n in range(30):
        index.search([1, 0], where=f"n = {n}")
    with index.snapshot() as now:
        assert len(now._loaded.choices._kept) <= 8


def test_readers_see_all_of_a_commit_of_tags_or_nothing(tmp_path):
    index = Index.create(tmp_path, 2)
    ids = [f"{n:02d}" for n in range(20)]
    index.add(np.ones((20, 2)), ids, [{"n": 0}] * 20)
    done = threading.Event()

    def read():
        seen = set()
        with Index.open(tmp_path) as mine:
            while not done.is_set():
                for n in range(12):
                    found = mine.search([1, 1], k=20, where=f"n = {n}").ids[0]
                    assert found in ([], ids)
                    seen |= {n} if found else set()
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for n in range(1, 12):
                with index.writer() as writer:
                    for identity in ids:
                        writer.tag(identity, {"n": n})
        finally:
            done.set()
        assert all(len(reader.result()) > 1 for reader in readers)
    assert index.verify() == []


def test_true_and_1_are_two_filters(tmp_path):
    index = Index.create(tmp_path, 2)
    index.add(np.eye(2), ["one", "true"], [{"n": 1}, {"n": True}])
    assert index.search([1, 0], where="n = 1").ids == [["one"]]
    assert index.search([1, 0], where="n = true").ids == [["true"]]


def test_what_the_index_knows_of_files(tmp_path):
    index = Index.create(tmp_path, 2)
    with index.writer() as writer:
        for n, name in enumerate(["a/old.jpg", "a/new.png", "b/new.png"]):
            facts = {"size": 100 * n, "mtime_ns": n * 10**9 + 5, "sha256": bytes([n] * 32)}
            facts |= {"width": 10 * n, "height": 7, "format": "PNG" if n else "JPEG"}
            writer.put(Item(name, **facts, added_at=1_700_000_000 + n), [1.0, n])

    def ids(where):
        return sorted(index.search([1, 0], where=where).ids[0])

    assert ids("width >= 10 and height = 7") == ["a/new.png", "b/new.png"]
    assert ids("format = 'JPEG' or size > 150") == ["a/old.jpg", "b/new.png"]
    assert ids("path like 'A/%'") == ["a/new.png", "a/old.jpg"]
    assert ids("path glob 'a/*.png'") == ["a/new.png"]
    assert ids("name = 'new.png'") == ["a/new.png", "b/new.png"]
    assert ids("modified > 1") == ["a/new.png", "b/new.png"]
    assert ids("added_at < '2023-11-14T22:13:21Z'") == ["a/old.jpg"]
    assert ids(f"sha256 = '{'01' * 32}'") == ["a/new.png"]
    assert ids("metadata is null") == ["a/new.png", "a/old.jpg", "b/new.png"]
    assert ids("width > 1000") == []


def test_a_bad_filter_is_an_error_that_says_where(tmp_path):
    index = Index.create(tmp_path, 2)
    with pytest.raises(UsageError, match="column 6: expected a name or a value, not the end"):
        index.search([1, 0], where="n >= ")


def test_damaged_metadata_is_told(tmp_path):
    index = Index.create(tmp_path, 2)
    index.add(np.eye(2), ["a", "b"], [{"n": 1}, None])
    index.close()
    with sqlite3.connect(index.location / "items.sqlite") as connection:
        connection.execute("UPDATE items SET metadata = ? WHERE id = ?", ('{"n": ', b"a"))
    with pytest.raises(IndexDamagedError, match="verify --repair"):
        index.search([1, 0], where="n = 1")


# --- what the database rules out in advance, against Python's word on every image -----------------

KEYS = ["k", 'q" ü', "width"]
TEXTS = ["fox", "it's \"\\", "a\x00b🦊", "'; DROP TABLE items; --", "5", "k"]
NUMBERS = [0, 1, 2, 5, 1.0, 1.5, 2**53 + 1, 2**63, -(2**70)]
VALUES = st.sampled_from([None, True, False, *TEXTS, *NUMBERS])
TAGS = st.dictionaries(
    st.sampled_from(KEYS),
    st.one_of(
        VALUES,
        st.lists(VALUES, max_size=2),
        st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2),
    ),
    max_size=3,
)
IMAGES = st.fixed_dictionaries(
    {
        "metadata": st.one_of(st.none(), TAGS, TAGS, TAGS),
        "width": st.sampled_from([None, 0, 1, 2, 3, 2**53 + 1]),
        "format": st.sampled_from([None, "PNG", "5", "fox"]),
        "folder": st.sampled_from(["", "sub/", "sub0", "sub/deep/", "%/"]),
    }
)
SIGNS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
OWN = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2).map(
    lambda keys: Field("metadata", tuple(keys))
)
COLUMN = st.sampled_from([Field("width"), Field("added_at"), Field("format"), Field("path")])


def either_way(signs, one, other):
    return st.one_of(st.builds(Compare, signs, one, other), st.builds(Compare, signs, other, one))


CONSTANTS = VALUES.map(Constant)
CONDITIONS = st.recursive(
    st.one_of(
        either_way(SIGNS, COLUMN, st.sampled_from(NUMBERS).map(Constant)),
        either_way(SIGNS, COLUMN, CONSTANTS),
        either_way(st.sampled_from(["=", "!="]), OWN, st.sampled_from(TEXTS).map(Constant)),
        either_way(SIGNS, OWN, st.one_of(CONSTANTS, OWN, COLUMN)),
        st.builds(Match, st.sampled_from(["like", "glob"]), OWN, st.sampled_from(["%o%", "*o*"])),
        st.builds(StartsWith, st.just(Field("path")), st.sampled_from(["sub/", "%/", "sub"])),
        st.builds(Contains, st.one_of(CONSTANTS, OWN), OWN),
        st.builds(IsNull, OWN),
    ),
    lambda parts: st.one_of(
        st.builds(Not, parts),
        st.lists(parts, max_size=3).map(lambda some: And(tuple(some))),
        st.lists(parts, min_size=2, max_size=3).map(lambda some: Or(tuple(some))),
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(IMAGES, min_size=6, max_size=12), st.lists(CONDITIONS, min_size=10, max_size=20))
def test_what_the_database_rules_out_is_not_true(images, conditions):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(SCHEMA)
    rows = []
    for n, image in enumerate(images):
        tag = image["metadata"]
        path = f"{image['folder']}{n}.jpg"
        rows.append([path, tag, image["width"], image["format"], n])
        connection.execute(
            "INSERT INTO items (id, status, width, format, added_at, metadata, row, checksum) "
            "VALUES (?, 'ok', ?, ?, ?, ?, ?, x'')",
            (path.encode(), *rows[-1][2:], encode_metadata(tag), n),
        )
    places = {name: n for n, name in enumerate(["path", "metadata", "width", "format", "added_at"])}
    for condition in conditions:
        test = predicate(condition, places)
        expected = [n for n, row in enumerate(rows) if test(row) is True]
        found = rows_where(None, connection, condition)
        assert sorted(found.tolist()) == expected, condition
    connection.close()


def test_what_is_asked_of_the_database_has_no_text_of_the_filter():
    hostile = "'; DROP TABLE items; --"
    clause = narrow(parse(f"[{hostile}] = '{hostile.replace(chr(39), chr(39) * 2)}' and width > 3"))
    assert clause.text == "((instr(metadata, ?) > 0 AND instr(metadata, ?) > 0) AND (width > ?))"
    assert clause.values == (json.dumps(hostile), json.dumps(hostile), 3)


def test_a_number_is_not_a_text_that_looks_like_it(tmp_path):
    index = Index.create(tmp_path, 1, "dot")
    with index.writer() as writer:
        writer.put(Item("5", format="5"), [1.0])
    assert index.search([1.0], where="format != 5").ids == [["5"]]
    assert index.search([1.0], where="format = 5").ids == [[]]


def test_long_filters_are_not_asked_of_the_database(tmp_path):
    index = Index.create(tmp_path, 1, "dot")
    index.add([[1.0], [1.0]], ["a", "b"], [{"n": "7"}, {"n": "x"}])
    members = ", ".join(f"'{n}'" for n in range(3000))
    assert narrow(parse(f"n in ({members})")) == ALL
    assert index.search([1.0], where=f"n in ({members})").ids == [["a"]]
    assert index.search([1.0], where=f"n in ({members}) and n = '7'").ids == [["a"]]


def test_what_is_no_filter(tmp_path):
    index = Index.create(tmp_path, 1, "dot")
    with pytest.raises(UsageError, match="a filter is a text"):
        index.search([1.0], where={"species": "fox"})
