"""Emit every kernel's assembly for CPUs other than this one, in a child process.

    python kernels_assembly.py OUT.json

Numba optimises for the host before it hands its IR out, and LLVM's code generator rewrites that IR
once more while it compiles. So the child compiles unoptimised for a CPU without features, takes
each kernel's linked IR just before code generation, and runs LLVM's own pipeline on it for each
target, with that target's triple and data layout. OUT maps kernels to targets to assembly.
"""

import json
import os
import re
import sys

TARGETS = {
    "aarch64": ("aarch64-unknown-linux-gnu", "generic"),
    "haswell": ("x86_64-unknown-linux-gnu", "haswell"),
}


ENVIRONMENT = {"NUMBA_OPT": "0", "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}
"""The child's; it needs a compile cache of its own too, where these settings leave no trace."""


def record_ir():
    """Return a dict that will hold the IR of whatever Numba compiles from now on, by library."""
    from numba.core.codegen import CPUCodeLibrary

    recorded, generate = {}, CPUCodeLibrary._finalize_final_module

    def record_and_generate(self):
        recorded[self.name] = str(self._final_module)
        return generate(self)

    CPUCodeLibrary._finalize_final_module = record_and_generate
    return recorded


def emit(ir, triple, cpu):
    """Optimise IR for a target as `opt -O3` would and return its assembly."""
    from llvmlite import binding as llvm

    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features="", opt=3)
    module = llvm.parse_assembly(re.sub(r"target (datalayout|triple) = .*", "", ir))
    module.triple = triple
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    module.verify()
    return machine.emit_assembly(module)


def compile_all():
    """Compile the kernels of every problem for each lane count; return them by name."""
    from kernels_list import PROBLEMS, other_kernels
    from kernels_list_u8 import FEW

    from rvcnn.kernels import FAMILIES, _target

    for lanes in (16, 8, 4):
        os.environ["RVCNN_LANES"] = str(lanes)
        _target.lanes.cache_clear()
        for problem in PROBLEMS + FEW:
            problem.got()
        other_kernels()
    return {name: k for family in FAMILIES.values() for name, k in family.kernels.items()}


def main(path):
    recorded = record_ir()
    from llvmlite import binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    result = {}
    for name, kernel in compile_all().items():
        ir = recorded[kernel.name]
        result[name] = {cpu: emit(ir, *target) for cpu, target in TARGETS.items()}
    with open(path, "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main(sys.argv[1])
