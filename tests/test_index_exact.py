import numpy as np
import pytest

from rvcnn.index import exact
from rvcnn.index.formats import FORMATS, encode

METRICS = ["cosine", "dot", "euclidean"]


@pytest.fixture(params=FORMATS)
def held(request):
    """Return a function that makes rows of vectors, in each format."""
    return lambda vectors: encode(np.ascontiguousarray(vectors), request.param)


def make(count, dim, metric, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def true_scores(vectors, queries, metric):
    """Return (Q, N) scores by the definition, in float64."""
    v, q = vectors.astype(np.float64), queries.astype(np.float64)
    if metric == "euclidean":
        return -np.sqrt(((q[:, None] - v[None]) ** 2).sum(axis=-1))
    return (q[:, None] * v[None]).sum(axis=-1)


def check(held, queries, k, metric, rank=None):
    """Check `top_k` against a full sort of the true scores of what the rows hold."""
    rows, scores = exact.top_k(held, queries, k, metric, rank)
    vectors = held.vectors(metric)
    truth = true_scores(vectors, queries, metric)
    if rank is not None:
        truth[:, rank < 0] = -np.inf
    kept = min(k, len(vectors) if rank is None else int((rank >= 0).sum()))
    assert rows.shape == scores.shape == (len(queries), kept)
    assert rows.dtype == np.int64 and scores.dtype == np.float32
    if not kept:
        return
    best = -np.sort(-truth, axis=1)[:, :kept]
    bound = 1e-6 * vectors.shape[1] if metric != "euclidean" else 1e-6 * np.abs(best).max()
    np.testing.assert_allclose(scores, best, rtol=0, atol=bound)
    np.testing.assert_allclose(np.take_along_axis(truth, rows, 1), best, rtol=0, atol=bound)
    assert all(len(set(row)) == kept for row in rows.tolist())


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("count", "dim", "asked", "k"),
    [(1, 1, 1, 1), (10, 3, 2, 10), (10, 3, 2, 30), (200, 8, 7, 5), (333, 65, 1, 9), (0, 4, 2, 3)],
)
def test_agrees_with_a_full_sort(held, metric, count, dim, asked, k):
    check(held(make(count, dim, metric)), make(asked, dim, metric, seed=1), k, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_show(held, metric, block, monkeypatch):
    vectors, queries = make(200, 8, metric), make(9, 8, metric, seed=1)
    whole = exact.top_k(held(vectors), queries, 12, metric)
    monkeypatch.setattr(exact, "_MOST_ROWS", block)
    monkeypatch.setattr(exact, "_MOST_QUERIES", 4)
    for a, b in zip(whole, exact.top_k(held(vectors), queries, 12, metric), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("metric", METRICS)
def test_any_number_of_queries_gives_the_same_bits(held, metric):
    vectors, queries = make(500, 24, metric), make(64, 24, metric, seed=1)
    rows, scores = exact.top_k(held(vectors), queries, 6, metric)
    for start, stop in [(0, 1), (5, 6), (0, 3), (10, 27), (63, 64)]:
        some_rows, some_scores = exact.top_k(held(vectors), queries[start:stop].copy(), 6, metric)
        np.testing.assert_array_equal(some_rows, rows[start:stop])
        assert some_scores.tobytes() == scores[start:stop].tobytes()


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_of_rows_does_not_show(held, metric):
    vectors, queries = make(300, 16, metric), make(5, 16, metric, seed=1)
    vectors[100:200] = vectors[:100]  # ties
    order = np.random.default_rng(3).permutation(300)
    rows, scores = exact.top_k(held(vectors), queries, 20, metric, np.arange(300))
    shuffled, same = exact.top_k(held(vectors[order]), queries, 20, metric, order)
    np.testing.assert_array_equal(order[shuffled], rows)
    np.testing.assert_array_equal(same, scores)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_by_rank(held, metric):
    vectors = np.repeat(make(1, 8, metric), 50, axis=0)
    rank = np.random.default_rng(0).permutation(50)
    rows, scores = exact.top_k(held(vectors), vectors[:1], 7, metric, rank)
    np.testing.assert_array_equal(rank[rows[0]], np.arange(7))
    assert len(set(scores[0].tolist())) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_rows_of_negative_rank_are_not_found(held, metric):
    vectors, queries = make(200, 8, metric), make(5, 8, metric, seed=1)
    rank = np.arange(200)
    rank[::3] = -1
    check(held(vectors), queries, 10, metric, rank)
    check(held(vectors), queries, 500, metric, rank)
    check(held(vectors), queries, 4, metric, np.full(200, -1))
    rows, _ = exact.top_k(held(vectors), queries, 200, metric, rank)
    assert not (set(rows.ravel().tolist()) & set(range(0, 200, 3)))


def test_euclidean_scores_survive_cancellation(held):
    # Far from the origin and close to each other: q.x - |x|^2 / 2 alone has no digit left.
    vectors = np.float32(1000) + make(400, 32, "dot") * np.float32(1e-3)
    queries = vectors[:5] + np.float32(1e-3)
    truth = true_scores(held(vectors).decode(), queries, "euclidean")
    rows, scores = exact.top_k(held(vectors), queries, 8, "euclidean")
    np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1, kind="stable")[:, :8])
    np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, :8], rtol=1e-6)


def test_euclidean_order_survives_rounding(held):
    # All rows lie on a sphere round the query that meets the origin: there q.x - |x|^2 / 2 is 0 but
    # for rounding, and the distances differ in their last digits only.
    rng = np.random.default_rng(0)
    query = (rng.standard_normal((1, 32)) * 100).astype(np.float32)
    away = rng.standard_normal((400, 32))
    away *= np.linalg.norm(query) / np.linalg.norm(away, axis=1, keepdims=True)
    vectors = (query + away).astype(np.float32)
    truth = true_scores(held(vectors).decode(), query, "euclidean")
    rows, _ = exact.top_k(held(vectors), query, 8, "euclidean")
    np.testing.assert_array_equal(rows, np.argsort(-truth, axis=1, kind="stable")[:, :8])


def test_euclidean_score_of_the_same_vector_is_zero(held):
    vectors = held(make(20, 8, "euclidean")).decode()
    _, scores = exact.top_k(held(vectors), vectors[3:4], 2, "euclidean")
    assert scores[0, 0] == 0 and not np.signbit(scores[0, 0])
    assert scores[0, 1] < 0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_above_finds_all_that_reach_the_threshold(held, metric, share, monkeypatch):
    monkeypatch.setattr(exact, "_MOST_ROWS", 64)
    vectors, query = make(500, 16, metric), make(1, 16, metric, seed=1)
    rank = np.arange(500)
    rank[7] = -1
    rows, scores = exact.top_k(held(vectors), query, 500, metric, rank)
    count = int(share * 499)
    threshold = float(scores[0, count - 1]) if count else float(scores[0, 0]) + 1e-3
    found, reached = exact.above(held(vectors), query[0], threshold, metric, rank)
    np.testing.assert_array_equal(found, rows[0, :count])
    np.testing.assert_array_equal(reached, scores[0, :count])


def test_above_with_a_distance_of_exactly_zero(held):
    vectors = held(make(50, 8, "euclidean")).decode()
    vectors[30] = vectors[4]
    rows, scores = exact.above(held(vectors), vectors[4], 0.0, "euclidean")
    assert rows.tolist() == [4, 30] and scores.tolist() == [0, 0]
    assert len(exact.above(held(vectors), vectors[4], 0.5, "euclidean")[0]) == 0


def test_the_longest_vectors_still_compare(held):
    vectors = np.eye(4, dtype=np.float32) * np.float32(9e17)
    for metric in ("dot", "euclidean"):
        rows, scores = exact.top_k(held(vectors), vectors[2:3], 4, metric)
        assert rows[0, 0] == 2
        assert np.isfinite(scores).all()
