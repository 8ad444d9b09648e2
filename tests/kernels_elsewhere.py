"""Run every problem in a process set up by its environment, and write down what came out.

    python kernels_elsewhere.py OUT.npz

OUT holds each problem's output under its name, the lane count and, of kernels that were compiled
rather than loaded, which ones call ``fmaf``.
"""

import sys

import numpy as np
from kernels_list import PROBLEMS

from rvcnn.kernels import FAMILIES, lanes


def calls_fmaf(kernel):
    return "fmaf" in kernel.compiled()._library.get_asm_str()


def main(path):
    outputs = {p.name: p.got() for p in PROBLEMS}
    kernels = [k for family in FAMILIES.values() for k in family.kernels.values()]
    fresh = [k for k in kernels if not k.compiled().cache_hits]
    names = [[k.name for k in fresh], [k.name for k in fresh if calls_fmaf(k)]]
    compiled, libm = (np.array(n, dtype="U99") for n in names)
    np.savez(path, lanes=lanes(), compiled=compiled, calls_fmaf=libm, **outputs)


if __name__ == "__main__":
    main(sys.argv[1])
