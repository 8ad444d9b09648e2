"""Dot products of int8 vectors: exact, whatever multiplies the bytes and on however many lanes."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_dots_s8 import check_all
from kernels_memory import run_guarded
from test_kernels_targets import run_child

from rvcnn import kernels
from rvcnn.kernels import functional, reference

X86 = platform.machine().lower() in ("x86_64", "amd64")


def test_exact_at_every_size_and_at_the_extremes():
    assert check_all() > 100


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("dot", ["", "pmaddwd"])
def test_exact_on_any_number_of_lanes_and_by_16_bit_products(lanes, dot, tmp_path):
    out = run_child("kernels_dots_s8.py", tmp_path / "out", RVCNN_LANES=str(lanes), RVCNN_DOT=dot)
    _, instruction, used = out.read_text().split()
    assert int(used) == lanes
    assert not dot or instruction == dot


@pytest.mark.skipif(not X86, reason="x86-64 code")
@pytest.mark.parametrize("cpu", ["nehalem", "haswell"])
def test_exact_on_older_cpus(cpu, tmp_path):
    cache = {"RVCNN_CACHE_DIR": str(tmp_path / "cache")}
    names = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    out = run_child("kernels_dots_s8.py", tmp_path / "out", **names, **cache)
    assert out.read_text().split()[1] == "pmaddwd"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(1, 40), st.integers(1, 700), st.integers(0, 2**32 - 1))
def test_exact_on_any_shape(asked, count, dim, seed):
    rng = np.random.default_rng(seed)
    queries, vectors = (rng.integers(-128, 128, (n, dim), dtype=np.int8) for n in (asked, count))
    np.testing.assert_array_equal(
        kernels.dot_products_s8(queries, vectors), reference.dot_products_s8(queries, vectors)
    )


def test_ten_thousand_at_a_time():
    rng = np.random.default_rng(1)
    queries, vectors = (rng.integers(-128, 128, (n, 512), dtype=np.int8) for n in (2, 10_000))
    out = np.empty((2, 10_000), np.int32)
    assert kernels.dot_products_s8(queries, vectors, out) is out
    np.testing.assert_array_equal(out, reference.dot_products_s8(queries, vectors))


@pytest.mark.parametrize("dim", [1, 5, 63, 64, 200])
@pytest.mark.parametrize("count", [1, 3, 4, 6])
@pytest.mark.parametrize("asked", [1, 2, 16])
def test_guard_bands_and_inputs_stay_as_they_are(dim, count, asked, monkeypatch):
    rng = np.random.default_rng(2)
    queries, vectors = (rng.integers(-128, 128, (n, dim), dtype=np.int8) for n in (asked, count))
    monkeypatch.setattr(functional, "run", run_guarded)
    got = kernels.dot_products_s8(queries, vectors)
    np.testing.assert_array_equal(got, reference.dot_products_s8(queries, vectors))


def test_no_vectors_and_no_queries():
    some, none = np.ones((3, 8), np.int8), np.ones((0, 8), np.int8)
    assert kernels.dot_products_s8(some, none).shape == (3, 0)
    assert kernels.dot_products_s8(none, some).shape == (0, 3)


@pytest.mark.parametrize(
    ("queries", "vectors", "out"),
    [
        (np.ones((2, 8)), np.ones((2, 8), np.int8), None),
        (np.ones((2, 8), np.uint8), np.ones((2, 8), np.int8), None),
        (np.ones((2, 8), np.int8), np.ones((2, 9), np.int8), None),
        (np.ones(8, np.int8), np.ones((2, 8), np.int8), None),
        (np.ones((1, 65537), np.int8), np.ones((1, 65537), np.int8), None),
        (np.ones((2, 8), np.int8), np.ones((2, 8), np.int8), np.empty((2, 2), np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(queries, vectors, out):
    with pytest.raises(ValueError):
        kernels.dot_products_s8(queries, vectors, out)
