"""The same bits on bytes for other CPUs: lane counts, and whatever multiplies the bytes."""

import pytest
from kernels_elsewhere_u8 import check_all, digest
from kernels_list_u8 import PROBLEMS
from test_kernels_targets import X86, run_child

from rvcnn.kernels import _target


@pytest.fixture(scope="module")
def here():
    return digest(check_all())


def assert_same_bits(tmp_path, here, **environment):
    """Every problem gives its reference there, and what it gives here."""
    out = run_child("kernels_elsewhere_u8.py", tmp_path / "out", **environment)
    count, got, instruction, lanes = out.read_text().split()
    assert int(count) == len(PROBLEMS) and got == here
    return instruction, int(lanes)


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("dot", ["", "pmaddwd"])
def test_any_lane_count_and_16_bit_products(here, lanes, dot, tmp_path):
    used = assert_same_bits(tmp_path, here, RVCNN_LANES=str(lanes), RVCNN_DOT=dot)
    assert used == (dot or _target.dot().instruction, lanes)


@pytest.mark.skipif(not X86, reason="x86-64 code")
@pytest.mark.parametrize(("cpu", "lanes"), [("nehalem", 4), ("haswell", 8)])
def test_older_cpus(here, cpu, lanes, tmp_path):
    cache = {"RVCNN_CACHE_DIR": str(tmp_path / "cache")}
    names = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    assert assert_same_bits(tmp_path, here, **names, **cache) == ("pmaddwd", lanes)
