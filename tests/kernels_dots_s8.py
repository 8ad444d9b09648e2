"""Dot products of int8 vectors, each checked against int64, in a process set up by its environment.

    python kernels_dots_s8.py OUT

OUT says how many were checked, how bytes are multiplied here, and on how many lanes.
"""

import sys

import numpy as np

from rvcnn import kernels
from rvcnn.kernels import _target, reference

DIMS = (1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 100, 127, 128, 257, 512, 576, 2047, 2048)
COUNTS = (1, 2, 3, 9)
EXTREMES = (-128, -127, 0, 127)


def problems():
    """Yield queries and vectors: random ones of every size, and the largest sums there can be."""
    rng = np.random.default_rng(0)
    for dim in DIMS:
        for count in COUNTS:
            for asked in (1, 2, 3, 16, 18):
                yield [rng.integers(-128, 128, (n, dim), dtype=np.int8) for n in (asked, count)]
        worst = np.repeat(np.int8(EXTREMES), dim).reshape(-1, dim)
        yield worst, worst
    longest = np.repeat(np.int8(EXTREMES), 1 << 16).reshape(-1, 1 << 16)
    yield longest, longest


def check_all():
    """Check every problem; how many there were."""
    checked = 0
    for queries, vectors in problems():
        got = kernels.dot_products_s8(queries, vectors)
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, reference.dot_products_s8(queries, vectors))
        checked += 1
    return checked


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        print(check_all(), _target.dot().instruction, kernels.lanes(), file=file)
