"""All pairs above a threshold: those of the whole matrix in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvcnn.dedup import pairs as module
from rvcnn.dedup.pairs import pairs_between, pairs_within
from rvcnn.dedup.vectors import Vectors
from rvcnn.errors import RvcnnError, UsageError
from rvcnn.index.formats import Rows, encode

DTYPES = ("float32", "int8")


def clustered(count: int, dim: int, seed: int) -> np.ndarray:
    """Return (count, dim) float32 unit vectors, about four of each cluster, a few of them equal."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((count // 4 + 1, dim))
    rows = centres[rng.integers(0, len(centres), count)]
    rows = rows + rng.uniform(0, 0.5, (count, 1)) * rng.standard_normal((count, dim))
    rows[rng.integers(0, count, count // 10)] = rows[0]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def held(rows: np.ndarray, dtype: str) -> np.ndarray:
    """Return unit vectors in float64 as an index of that type compares them."""
    as_stored = Rows(dtype, (rows,)) if dtype == "float32" else encode(rows, dtype)
    return as_stored.vectors("cosine").astype(np.float64)


def want(a: np.ndarray, b: np.ndarray, threshold: float, triangle: bool):
    """Return the pairs of the whole matrix in float64, and their cosines to six decimals."""
    cosines = np.round(a @ b.T, 6)
    near = cosines >= threshold
    found = np.argwhere(np.triu(near, 1) if triangle else near)
    return found, cosines[tuple(found.T)]


def check(got, expected, scores):
    np.testing.assert_array_equal(np.stack(got[:2], axis=1), expected)
    np.testing.assert_array_equal(got.scores, (scores + 0.0).astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 2, 31, 33, 1024, 1025, 2100])
@pytest.mark.parametrize("threshold", [0.5, 0.9, 1.0])
def test_within_is_the_upper_triangle(dtype, count, threshold):
    rows = clustered(count, 96, count)
    exact = held(rows, dtype)
    got = pairs_within(Vectors.of(rows, dtype), threshold, workers=2)
    check(got, *want(exact, exact, threshold, True))
    assert count < 100 or len(got.first)


@pytest.mark.parametrize("dtype", DTYPES)
def test_between_is_the_whole_matrix(dtype):
    rows = clustered(1500, 64, 1)
    a, b = rows[:1100], rows[1100:]
    got = pairs_between(Vectors.of(a, dtype), Vectors.of(b, dtype), 0.8)
    check(got, *want(held(a, dtype), held(b, dtype), 0.8, False))
    assert len(got.first) > 100


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 600), st.floats(-1, 1), st.integers(0, 2**32 - 1), st.data()
)
def test_any_shape_and_threshold(count, dim, threshold, seed, data):
    rows = clustered(count, dim, seed)
    dtype = data.draw(st.sampled_from(DTYPES))
    exact = held(rows, dtype)
    check(pairs_within(Vectors.of(rows, dtype), threshold), *want(exact, exact, threshold, True))


def test_a_tie_counts_to_six_decimals():
    """A cosine of 0.6 less a ten-millionth is 0.6, less a millionth it is not."""
    angles = np.arccos([1.0, 0.6 - 1e-7, 0.6 - 1e-6])
    rows = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1).astype(np.float32)
    got = pairs_within(Vectors.of(rows), 0.6)
    assert (0, 1) in list(zip(*got[:2], strict=True))
    assert (0, 2) not in list(zip(*got[:2], strict=True))
    assert got.scores[0] == np.float32(0.6)


def test_threads_and_sources_change_nothing():
    rows = clustered(3000, 48, 5)
    one = pairs_within(Vectors.of(rows), 0.7, workers=1)
    many = pairs_within(Vectors.of(rows), 0.7, workers=8)
    sources = [Rows("float32", (rows[:1000],)), Rows("float32", (rows[1000:],))]
    owner = np.repeat([0, 1], [1000, 2000])
    split = Vectors(sources, owner, np.concatenate([np.arange(1000), np.arange(2000)]))
    order = np.random.default_rng(0).permutation(3000)
    mixed = pairs_within(split.part(order), 0.7)
    for other in (many, pairs_within(split, 0.7)):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    back = {tuple(sorted(pair)) for pair in np.stack([order[mixed.first], order[mixed.second]], 1)}
    assert back == set(zip(*(p.tolist() for p in one[:2]), strict=True))


def test_progress_ends_at_the_total():
    told = []
    pairs_within(
        Vectors.of(clustered(2500, 8, 1)), 0.9, progress=lambda *counts: told.append(counts)
    )
    assert told[-1] == (6, 6)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_nothing_has_no_pairs():
    nothing = Vectors.of(np.empty((0, 8), np.float32))
    assert not len(pairs_within(nothing, 0.5).first)
    assert not len(pairs_between(nothing, Vectors.of(clustered(3, 8, 1)), 0.5).first)


def test_too_many_pairs_and_no_cosine_are_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST_PAIRS", 100)
    rows = np.repeat(clustered(1, 8, 1), 50, axis=0)
    with pytest.raises(RvcnnError, match="more than 100 pairs .* raise the threshold"):
        pairs_within(Vectors.of(rows), 0.9)
    for threshold in (1.5, float("nan")):
        with pytest.raises(UsageError, match="from -1 to 1"):
            pairs_within(Vectors.of(rows), threshold)
