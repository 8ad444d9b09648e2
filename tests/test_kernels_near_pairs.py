"""Pairs that reach a limit: those of the whole matrix in float64, on any number of lanes."""

import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_near_pairs import check, check_all, problem
from test_kernels_targets import run_child

from rvcnn.kernels import near_pairs, run

X86 = platform.machine().lower() in ("x86_64", "amd64")


def test_pairs_at_sizes_around_the_tiles():
    assert check_all() > 50


@pytest.mark.parametrize(("lanes", "dot"), [(4, ""), (8, "pmaddwd"), (16, "pmaddwd")])
def test_on_any_number_of_lanes_and_by_16_bit_products(lanes, dot, tmp_path):
    child = "kernels_near_pairs.py"
    out = run_child(child, tmp_path / "out", RVCNN_LANES=str(lanes), RVCNN_DOT=dot)
    _, instruction, used = out.read_text().split()
    assert int(used) == lanes
    assert not dot or instruction == dot


@pytest.mark.skipif(not X86, reason="x86-64 code")
def test_on_an_older_cpu(tmp_path):
    names = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""}
    cache = {"RVCNN_CACHE_DIR": str(tmp_path / "cache")}
    run_child("kernels_near_pairs.py", tmp_path / "out", **names, **cache)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 70), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_pairs_of_any_shape(rows, columns, dim, seed):
    check(*problem(rows, columns, dim, seed), share=0.1)


def test_all_are_counted_where_few_fit():
    rows, columns = np.full((20, 8), 3, np.int8), np.full((50, 8), -2, np.int8)
    ones, out = np.ones(50), np.zeros(1 + 2 * 7, np.int32)
    packed = near_pairs.pack(columns, ones, 0 * ones)
    run(near_pairs.near_pairs(out, rows, ones[:20], np.full(20, -48.0), packed))
    assert out[0] == 1000
    assert len({tuple(pair) for pair in out[1:].reshape(-1, 2).tolist()}) == 7
    run(near_pairs.near_pairs(out, rows, ones[:20], np.full(20, -47.9), packed))
    assert out[0] == 0


def test_a_row_of_nan_hides_no_other():
    rows = np.full((5, 8), 3, np.int8)
    packed = near_pairs.pack(rows, np.ones(5), np.zeros(5))
    out = np.zeros(1 + 2 * 25, np.int32)
    scale = np.array([np.nan, 1, 1, np.nan, 1])
    run(near_pairs.near_pairs(out, rows, scale, np.zeros(5), packed))
    assert out[0] == 15
    assert set(out[1:31:2].tolist()) == {1, 2, 4}
