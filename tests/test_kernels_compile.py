"""How a template becomes machine code."""

import re

import llvmlite.binding as llvm
import pytest

import rvcnn
from rvcnn.kernels import _compile, _target

FAMILIES = ("f32_igemm", "f32_dwconv", "f32_global_avg_pool", "u8_igemm", "u8_dwconv")


def instructions(kernel):
    """Return a kernel's assembly; what Numba counts and hashes in its names is left out."""
    module = llvm.parse_assembly(kernel.llvm_ir())
    text = _target.machine(module.triple).emit_assembly(module)
    return re.sub(r"v[0-9]+B[0-9]+|[0-9a-f]{12,}", "", text)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_passes_left_out_change_no_instruction(family, monkeypatch):
    precision = "int8" if family.startswith("u8") else "fp32"
    kernels = rvcnn.Embedder(precision=precision).backend.kernels()
    kernel = next(k for k in kernels if k.family.name == family)
    some = instructions(kernel)
    monkeypatch.setattr(_compile, "IDLE", ())
    assert instructions(kernel) == some
    assert len(some) > 1000
