"""The same kernels for other CPUs: lane counts, vector instructions, no FMA."""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernels_assembly import ENVIRONMENT
from kernels_checks import assert_within
from kernels_elsewhere import all_outputs
from kernels_list import PROBLEMS

import rvcnn
from rvcnn.kernels import FAMILIES

HERE = Path(__file__).parent
X86 = platform.machine().lower() in ("x86_64", "amd64")


def run_child(script, out, *args, **environment):
    """Run a script of this folder outside the checkout; return the path of what it wrote."""
    done = subprocess.run(
        [sys.executable, HERE / script, out, *args],
        cwd=out.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def outputs():
    return all_outputs()


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_any_lane_count_gives_the_same_bytes(outputs, lanes, tmp_path):
    path = run_child("kernels_elsewhere.py", tmp_path / "out.npz", RVCNN_LANES=str(lanes))
    with np.load(path) as got:
        assert got["lanes"] == lanes
        different = [n for n, want in outputs.items() if got[n].tobytes() != want.tobytes()]
    assert not different


@pytest.mark.skipif(not X86, reason="Nehalem code runs on x86-64 alone")
def test_without_fma_results_are_right_and_no_libm_is_called(tmp_path):
    path = run_child(
        "kernels_elsewhere.py",
        tmp_path / "out.npz",
        NUMBA_CPU_NAME="nehalem",
        NUMBA_CPU_FEATURES="",
        RVCNN_CACHE_DIR=str(tmp_path / "cache"),
    )
    with np.load(path) as got:
        assert got["lanes"] == 4
        for problem in PROBLEMS:
            # two roundings a step where FMA has one
            assert_within(got[problem.name], problem.want(), 2 * problem.bound(), problem.name)
        assert len(got["compiled"]) > 20
        assert not got["calls_fmaf"].size, f"{got['calls_fmaf']} call fmaf"


FMA = (r"fmla\s+v\d+\.4s", r"vfmadd\d+ps\s.*%{}mm")
WIDENED = (r"smull2?\s+v\d+\.4s", r"vpmaddwd\s.*%{}mm")
INSTRUCTIONS = {
    "f32_igemm": FMA,
    "f32_bilinear": FMA,
    "f32_lstm": FMA,
    "f32_gru": FMA,
    "f32_dwconv": FMA,
    "f32_dwconv_any": FMA,
    "f32_activation": FMA,
    "f32_attention": FMA,
    "f32_layer_norm": FMA,
    "f32_l2_normalize": FMA,
    "f32_dot_products": FMA,
    "f32_dot_rows": FMA,
    "f32_scale_shift": FMA,
    "u8_scale_shift": FMA,
    "u8_resize": FMA,
    "f32_winograd_product": FMA,
    "f32_winograd_input": (r"f(add|sub)\s+v\d+\.4s", r"v(add|sub)ps\s.*%{}mm"),
    "f32_winograd_output": (r"f(add|sub)\s+v\d+\.4s", r"v(add|sub)ps\s.*%{}mm"),
    "f32_scale": (r"fmul\s+v\d+\.4s", r"vmulps\s.*%{}mm"),
    "f32_multiply": (r"fmul\s+v\d+\.4s", r"vmulps\s.*%{}mm"),
    "f32_tanh": FMA,
    "f32_add": (r"fadd\s+v\d+\.4s", r"vaddps\s.*%{}mm"),
    "f32_global_avg_pool": (r"fadd\s+v\d+\.4s", r"vaddps\s.*%{}mm"),
    "f32_pool": (r"fmax\s+v\d+\.4s", r"vmaxps\s.*%{}mm"),
    "f32_max_pool": (r"fmax\s+v\d+\.4s", r"vmaxps\s.*%{}mm"),
    "s8_dot_products": (r"smull\s+v\d+\.4s", r"vpmaddwd\s.*%{}mm"),
    "s8_near_pairs": WIDENED,
    "s8_graph_search": (r"smull\s+v\d+\.4s", r"vpmaddwd\s.*%{}mm"),
    "s8_prune": (r"smull\s+v\d+\.4s", r"vpmaddwd\s.*%{}mm"),
    "u8_igemm": WIDENED,
    "u8_dwconv": WIDENED,
    "u8_quantize": (r"fmul\s+v\d+\.4s", r"vmulps\s.*%{}mm"),
    "u8_dequantize": (r"fmul\s+v\d+\.4s", r"vmulps\s.*%{}mm"),
    "u8_scale": (r"\ss?(mul|mla)l?2?\s+v\d+\.4s", r"vpmulld\s.*%{}mm"),
    "u8_global_avg_pool": (r"uaddw2?\s+v\d+\.4s", r"vpaddd\s.*%{}mm"),
    "f32_round_steps": (r"fdiv\s+v\d+\.4s", r"vdivps\s.*%{}mm"),
    "u8_sum": (r"fmul\s+v\d+\.4s", r"vmulps\s.*%{}mm"),
    "u8_max_pool": (r"umax\s+v\d+\.\d+[bh]", r"vpmaxub\s"),
    "f32_interleave": (r"(st2\s+\{ ?|zip1\s+)v\d+\.4s", r"v(unpck[lh]|permil)ps\s.*%[xy]mm"),
    "f32_move_pixels": (r"st[rp]\s+q\d+", r"vmovups\s+%{}mm"),
    "f32_copy": (r"st[rp]\s+q\d+", r"vmovups\s+%{}mm"),
}
"""What each SIMD kernel is made of, on AArch64 and on x86-64 with AVX2 ({}: x or y)."""
NO_SIMD = {
    *("walk", "walk_together", "f32_zero_border", "f32_take", "f32_lookup"),
    *("u8_copy", "u8_fill_border", "u8_lookup"),
}


@pytest.fixture(scope="module")
def assembly(tmp_path_factory):
    folder = tmp_path_factory.mktemp("assembly")
    cache = {"RVCNN_CACHE_DIR": str(folder / "cache")}
    path = run_child("kernels_assembly.py", folder / "out.json", **ENVIRONMENT, **cache)
    return json.loads(path.read_text())


def of_family(assembly, family):
    """Assembly of a family's kernels, by their lane count."""
    stem = re.escape(FAMILIES[family].pattern).replace(r"\{", "{").replace(r"\}", "}")
    pattern = re.compile(re.sub(r"{\w+}", r"\\w*", stem))
    found = [name for name in assembly if pattern.fullmatch(name)]
    return [(n, int(re.search(r"__v(\d+)", n)[1]), assembly[n]) for n in found]


def test_every_kernel_is_looked_at():
    ours = {n for n, f in FAMILIES.items() if f.template.__module__.startswith("rvcnn.")}
    assert set(INSTRUCTIONS) | NO_SIMD == ours


@pytest.mark.parametrize("family", INSTRUCTIONS)
def test_vector_instructions_on_aarch64_and_avx2(assembly, family):
    neon, avx = INSTRUCTIONS[family]
    kernels = of_family(assembly, family)
    assert {4, 8, 16} <= {lanes for _, lanes, _ in kernels}
    for name, lanes, code in kernels:
        if lanes >= 4:
            assert re.search(neon, code["aarch64"]), f"{name}: no {neon}"
            register = "x" if lanes == 4 else "y"
            assert re.search(avx.format(register), code["haswell"]), f"{name}: no {avx}"


def test_exact_kernels_fuse_nothing(assembly):
    """A multiplication and an addition rounded once: not where every CPU must give the same."""
    fused = re.compile(r"\b(vfn?m(add|sub)|fn?m(la|ls|add|sub))\w*\s")
    exact = [code for f in FAMILIES if FAMILIES[f].exact for code in of_family(assembly, f)]
    assert len(exact) > 20
    assert not [name for name, _, code in exact if any(fused.search(c) for c in code.values())]


def test_no_target_calls_libm_for_multiply_add(assembly):
    assert not [n for n, code in assembly.items() if any("fmaf" in text for text in code.values())]


def test_the_embedded_models_kernels_are_all_tried(outputs, assembly):
    """At every size, a plan uses kernels of the list above and no others."""
    model = rvcnn.create_model()
    for size in ((32, 32), (224, 224), (33, 95), (256, 192)):
        untried = {k.name for k in model.plan(size).kernels()} - set(assembly)
        assert not untried, f"{size}"


def test_no_kernel_calls_python(assembly):
    """One that was not inlined into its C function asks whether it raised: Numba must be there."""
    foreign = re.compile(r"PyErr_|numba_gil_")
    assert not [n for n, code in assembly.items() if any(map(foreign.search, code.values()))]
