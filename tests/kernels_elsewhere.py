"""Run every problem in a process set up by its environment, and write down what came out.

    python kernels_elsewhere.py OUT.npz

OUT holds each problem's output under its name, the lane count, the kernels that ran, and which of
their object files name ``fmaf``.
"""

import sys

import numpy as np
from kernels_list import PROBLEMS
from kernels_resizes import CASES, picture

from rvcnn.kernels import FAMILIES, lanes, resize


def calls_fmaf(kernel):
    return b"fmaf" in kernel.path.read_bytes()


def all_outputs():
    """Return what every problem and every resize gives here, by name."""
    outputs = {p.name: p.got() for p in PROBLEMS}
    for image, box, size in CASES:
        outputs[f"resize {image} {box} {size}"] = resize.resize(picture(*image), box, size)
    return outputs


def main(path):
    outputs = all_outputs()
    kernels = [k for family in FAMILIES.values() for k in family.kernels.values()]
    names = [[k.name for k in kernels], [k.name for k in kernels if calls_fmaf(k)]]
    compiled, libm = (np.array(n, dtype="U99") for n in names)
    np.savez(path, lanes=lanes(), compiled=compiled, calls_fmaf=libm, **outputs)


if __name__ == "__main__":
    main(sys.argv[1])
