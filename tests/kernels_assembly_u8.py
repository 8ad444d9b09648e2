"""Emit the assembly of kernels on bytes for CPUs with dot products of their own.

    python kernels_assembly_u8.py OUT.json CASE

The child compiles as if the CPU of the case multiplied its bytes, and stops before code for the
host, which may have no such instruction, is generated from the IR. OUT maps kernels to assembly.
"""

import json
import os
import sys

from kernels_assembly import emit

from rvcnn.kernels import _target

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
CASES = {
    "znver4": (X86, 16, _target.Dot("vpdpbusd", 4, (16, 8, 4))),
    "alderlake": (X86, 8, _target.Dot("vpdpbusd", 4, (8, 4))),
    "neoverse-v1": (ARM, 4, _target.Dot("usdot", 4, (4,))),
    "neoverse-n1": (ARM, 4, _target.Dot("sdot", 4, (4,), offset=128)),
}
"""By CPU: its triple, lanes and how it multiplies bytes."""


class Recorded(Exception):
    """Compiling has come as far as it shall."""


def kernels_of_problems():
    """Return the kernels that the problems of the short list call, not compiled yet."""
    from kernels_list_u8 import FEW

    from rvcnn.kernels import functional_u8

    kernels = {}
    functional_u8.run = lambda calls: kernels.update((c.kernel.name, c.kernel) for c in calls)
    for problem in FEW:
        problem.got()
    return kernels


def linked_ir(kernel):
    """The IR of a kernel before any code is generated from it."""
    from numba.core.codegen import CPUCodeLibrary

    generate = CPUCodeLibrary._finalize_final_module

    def record(self):
        if self.name != kernel.name:
            return generate(self)
        raise Recorded(str(self._final_module))

    CPUCodeLibrary._finalize_final_module = record
    try:
        kernel.llvm_ir()
    except Recorded as recorded:
        return recorded.args[0]
    finally:
        CPUCodeLibrary._finalize_final_module = generate
    raise AssertionError(f"{kernel.name} was not compiled")


def main(path, cpu):
    triple, lanes, dot = CASES[cpu]
    os.environ["RVCNN_LANES"] = str(lanes)
    _target.lanes.cache_clear()
    _target.dot = lambda: dot
    from llvmlite import binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    kernels = kernels_of_problems()
    code = {name: emit(linked_ir(kernel), triple, cpu) for name, kernel in kernels.items()}
    with open(path, "w") as file:
        json.dump(code, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
