"""Vectors held as int8: what they give back, that a scan of their upper bytes misses nothing."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_fake import random_vectors

from rvcnn.errors import UsageError
from rvcnn.index import Index, exact
from rvcnn.index.bounds import SCANS
from rvcnn.index.formats import FORMATS, Rows, encode

METRICS = ["cosine", "dot", "euclidean"]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count, dim, clusters, spread, seed=0):
    """Return unit vectors round random centres, and queries that are near some of them."""
    rng = np.random.default_rng(seed)
    centres = unit(rng.standard_normal((clusters, dim)))
    noise = rng.standard_normal((count, dim)) * spread / np.sqrt(dim)
    vectors = unit(centres[rng.integers(0, clusters, count)] + noise)
    noise = rng.standard_normal((50, dim)) * 0.3 / np.sqrt(dim)
    return vectors, unit(vectors[rng.choice(count, 50, replace=False)] + noise)


def of_any_size(count, dim, seed):
    """Return vectors whose sizes, and whose values' sizes, differ by many orders of magnitude."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-12, 12, (count, 1))
    peaks = rng.standard_normal((count, dim)) ** rng.choice([1, 3, 9], (count, 1))
    return (peaks * sizes).astype(np.float32)


SHAPES = st.integers(1, 40), st.integers(1, 130), st.integers(0, 2**32 - 1)


@settings(max_examples=80, deadline=None)
@given(*SHAPES)
def test_a_vector_comes_back_to_half_a_step(count, dim, seed):
    vectors = of_any_size(count, dim, seed)
    high, low, scale = encode(vectors, "int8").planes
    assert (high.dtype, low.dtype, scale.dtype) == (np.int8, np.int8, np.float32)
    largest = np.abs(vectors).max(axis=1).astype(np.float64)
    step, rest, length = scale.astype(np.float64).T
    assert (step <= largest / (127 * 256) * (1 + 2**-8) + 2**-126).all()
    exactly = step[:, None] * (256 * high.astype(np.int64) + low)
    assert (np.abs(exactly - vectors) <= 0.51 * step[:, None]).all()
    np.testing.assert_array_equal(encode(vectors, "int8").decode(), exactly)
    left_out = np.linalg.norm(exactly - step[:, None] * 256 * high, axis=1)
    assert (rest >= left_out).all() and (rest <= left_out * (1 + 1e-6) + 1e-44).all()
    np.testing.assert_allclose(length, np.linalg.norm(exactly, axis=1), rtol=1e-7)


@settings(max_examples=80, deadline=None)
@given(*SHAPES)
def test_to_hold_again_what_came_back_changes_nothing(count, dim, seed):
    held = encode(of_any_size(count, dim, seed), "int8")
    for mine, again in zip(held.planes, encode(held.decode(), "int8").planes, strict=True):
        assert mine.tobytes() == again.tobytes()


@pytest.mark.parametrize("value", [0.0, 1e-45, -1e-38, 1.0, -127.0, 1e18])
def test_vectors_of_one_value_and_zero(value):
    vectors = np.full((2, 3), value, np.float32)
    held = encode(vectors, "int8")
    np.testing.assert_allclose(held.decode(), vectors, rtol=2e-5, atol=2.0**-127)
    assert np.isfinite(held.planes[2]).all()


@pytest.mark.parametrize("dim", [1, 2, 8, 512])
def test_unit_vectors_stay_of_unit_length(dim):
    vectors = unit(random_vectors(200, dim))
    back = encode(vectors, "int8").vectors("cosine")
    np.testing.assert_allclose(np.linalg.norm(back.astype(np.float64), axis=1), 1, atol=2e-7)
    cosines = (back.astype(np.float64) * vectors).sum(axis=1)
    assert (cosines > 1 - 1e-6).all()


@settings(max_examples=80, deadline=None)
@given(*SHAPES, st.sampled_from(METRICS), st.sampled_from(list(FORMATS)))
def test_no_score_is_outside_its_bounds(count, dim, seed, metric, dtype):
    vectors, queries = of_any_size(count, dim, seed), of_any_size(3, dim, seed + 1)
    if metric == "cosine":
        vectors, queries = (unit(v.astype(np.float64)) for v in (vectors, queries))
    rows = encode(vectors, dtype)
    scan = SCANS[dtype](rows, queries, metric)
    bounds = scan.bounds(slice(0, count), scan.scratch(count))
    held = rows.vectors(metric).astype(np.float64)
    truth = queries.astype(np.float64) @ held.T
    if metric == "euclidean":
        truth -= (held**2).sum(axis=1) / 2
    everything = np.arange(count)
    for i in range(3):
        error = bounds.error_of(i, everything)
        assert (error <= bounds.most[i] * (1 + 1e-9)).all()
        # float32 dot products are the scores themselves: only rounding is between them and these
        rounding = (
            1e-6 * np.linalg.norm(queries[i].astype(np.float64)) * np.linalg.norm(held, axis=1)
        )
        slack = (rounding if dtype == "float32" else 0) + 2.0**-145  # of the smallest float32
        assert (np.abs(bounds.value[i] - truth[i]) <= error + slack).all()


@pytest.mark.parametrize("spread", [0.3, 1.0, 50.0])
def test_recall_of_the_float32_scan(spread):
    vectors, queries = clustered(20_000, 256, 40, spread)
    rows = {dtype: encode(vectors, dtype) for dtype in FORMATS}
    found = {d: exact.top_k(held, queries, 10, "cosine") for d, held in rows.items()}
    pairs = zip(found["float32"][0], found["int8"][0], strict=True)
    assert np.mean([len({*a} & {*b}) / 10 for a, b in pairs]) >= 0.99
    np.testing.assert_allclose(found["int8"][1], found["float32"][1], atol=2e-5)


def test_the_upper_bytes_alone_would_not_do():
    vectors, queries = clustered(20_000, 256, 40, 0.3)
    truth, _ = exact.top_k(encode(vectors, "float32"), queries, 10, "cosine")
    high, low, scale = encode(vectors, "int8").planes
    coarse, _ = exact.top_k(Rows("int8", (high, 0 * low, scale)), queries, 10, "dot")
    assert np.mean([len({*a} & {*b}) / 10 for a, b in zip(truth, coarse, strict=True)]) < 0.99


def test_few_lower_bytes_are_read(monkeypatch):
    vectors, queries = clustered(20_000, 256, 40, 1.0)
    rows, refined = encode(vectors, "int8"), []
    real = exact.scores_of
    monkeypatch.setattr(exact, "scores_of", lambda *a: refined.append(len(a[2])) or real(*a))
    exact.top_k(rows, queries, 10, "cosine")
    assert 10 <= np.median(refined) < 200


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("metric", METRICS)
def test_threads_do_not_show(dtype, metric, monkeypatch):
    monkeypatch.setattr(exact, "_MOST_ROWS", 100)
    vectors, queries = clustered(3000, 40, 30, 0.5)
    vectors[1000:2000] = vectors[:1000]
    rows = encode(vectors, dtype)
    alone = exact.top_k(rows, queries, 15, metric, workers=1)
    for _ in range(5):
        for a, b in zip(alone, exact.top_k(rows, queries, 15, metric, workers=2), strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("dtype", FORMATS)
def test_many_queries_need_bounded_memory(dtype):
    vectors = unit(random_vectors(30_000, 64))
    rows = encode(vectors, dtype)
    exact.top_k(rows, vectors[:300], 10, "cosine")
    tracemalloc.start()
    exact.top_k(rows, vectors[:600], 10, "cosine", workers=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    all_scores = 600 * 30_000 * 4
    assert peak < min(64 << 20, all_scores)


def test_an_index_says_how_it_holds_vectors(tmp_path):
    index = Index.create(tmp_path, 64, "dot", dtype="int8")
    index.add(random_vectors(100, 64), [f"{i:03}" for i in range(100)])
    again = Index.open(tmp_path)
    assert again.dtype == "int8" and again.metric == "dot"
    content = json.loads((index.location / "manifest.json").read_text())
    assert (content["format_version"], content["dtype"]) == (2, "int8")
    sizes = {p.name: p.stat().st_size for p in index.location.glob("vectors*")}
    assert sizes == {"vectors.i8": 6400, "vectors.low": 6400, "vectors.scale": 1200}
    vectors = encode(random_vectors(100, 64), "int8").decode()
    np.testing.assert_array_equal(again.vectors(), vectors)
    assert again.nearest(vectors[7] * 1000).id == again.search(vectors[7], 1).ids[0][0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_damaged_scales_do_no_harm_to_the_others(tmp_path, value):
    index = Index.create(tmp_path, 64, dtype="int8")
    vectors = unit(random_vectors(100, 64))
    index.add(vectors, [f"{i:03}" for i in range(100)])
    index.close()
    file = index.location / "vectors.scale"
    scales = np.fromfile(file, np.float32)
    scales[3 * 50 : 3 * 60] = value
    scales.tofile(file)
    assert len(index.verify()) == 10
    found = index.search(vectors[7], 5).ids[0]
    assert "007" in found


@pytest.mark.parametrize(
    ("dim", "dtype", "says"), [(4, "int4", "float32, int8"), (65537, "int8", "at most 65536")]
)
def test_what_cannot_be_held_is_refused(tmp_path, dim, dtype, says):
    with pytest.raises(UsageError, match=says):
        Index.create(tmp_path / "x", dim, dtype=dtype)
    assert not (tmp_path / "x").exists()


def test_a_manifest_without_its_type_is_damaged(tmp_path):
    from rvcnn.errors import IndexDamagedError
    from rvcnn.index import manifest

    index = Index.create(tmp_path, 4, dtype="int8")
    text = (index.location / "manifest.json").read_text().replace('"dtype": "int8"', '"dtype": 7')
    with index.snapshot() as now, pytest.raises(IndexDamagedError):
        manifest.parse(text, now.home)
    with index.snapshot() as now, pytest.raises(IndexDamagedError):
        manifest.parse(text.replace('"dtype": 7,', ""), now.home)
