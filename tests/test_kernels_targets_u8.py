"""The same bits on bytes for other CPUs: lane counts, and whatever multiplies the bytes."""

import json
import re

import pytest
from kernels_assembly import ENVIRONMENT
from kernels_elsewhere_u8 import check_all, digest
from kernels_list_u8 import PROBLEMS
from test_kernels_targets import X86, run_child

from rvcnn.kernels import FAMILIES, _target


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


DOTS = {
    "znver4": r"vpdpbusd\s.*%zmm",
    "alderlake": r"vpdpbusd\s.*%ymm",
    "neoverse-v1": r"usdot\s+v\d+\.4s",
    "neoverse-n1": r"sdot\s+v\d+\.4s",
}
"""The dot products of bytes that CPUs have."""
FUSED = re.compile(r"\bv?fn?m(?:add|sub|la|ls)\w*\s")
"""A multiplication and an addition rounded once."""


def test_the_pattern_of_fused_operations_finds_them():
    text = "vfmadd231ps %ymm1, %ymm2, %ymm3\nfmla v0.4s, v1.4s\n vfnmadd213ss x\n fmadd s0, s1\n"
    assert len(FUSED.findall(text)) == 4
    assert not FUSED.search("vmulps %ymm1\nfmul v0.4s\nvpmaddwd %ymm0\nsmlal v0.4s\nmla v1.4s")


@pytest.mark.parametrize("cpu", DOTS)
def test_the_cpus_own_dot_products_and_nothing_fused(cpu, tmp_path):
    cache = {"RVCNN_CACHE_DIR": str(tmp_path / "cache")}
    out = run_child("kernels_assembly_u8.py", tmp_path / "out.json", cpu, **ENVIRONMENT, **cache)
    assembly = json.loads(out.read_text())
    assert all(FAMILIES[name].exact for name in ("u8_igemm", "u8_dwconv", "u8_quantize"))
    assert not [name for name, code in assembly.items() if FUSED.search(code)]
    products = {name for name in assembly if name.startswith(("u8_igemm", "u8_dwconv"))}
    widest = max(int(name.rpartition("__v")[2]) for name in products)
    products = {name for name in products if name.endswith(f"__v{widest}")}
    assert len(products) >= 5
    for name in products:
        assert re.search(DOTS[cpu], assembly[name]), f"{name}: no {DOTS[cpu]}"
