"""Run every problem on bytes in a process set up by its environment, and check every bit.

    python kernels_elsewhere_u8.py OUT

OUT says how many were checked, a digest of what came out, how bytes are multiplied here, and on how
many lanes.
"""

import hashlib
import sys

import numpy as np
from kernels_list_u8 import PROBLEMS

from rvcnn.kernels import _target, lanes


def digest(outputs):
    """Digest of arrays."""
    hashed = hashlib.sha256()
    for array in outputs:
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def check_all():
    """What every problem gives here, which is its reference."""
    outputs = [problem.got() for problem in PROBLEMS]
    for problem, got in zip(PROBLEMS, outputs, strict=True):
        np.testing.assert_array_equal(got, problem.want(), err_msg=problem.name, strict=True)
    return outputs


if __name__ == "__main__":
    outputs = check_all()
    with open(sys.argv[1], "w") as file:
        print(len(outputs), digest(outputs), _target.dot().instruction, lanes(), file=file)
