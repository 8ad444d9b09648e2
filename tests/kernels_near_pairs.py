"""Pairs that reach a limit, checked in float64, in a process set up by its environment.

    python kernels_near_pairs.py OUT

OUT says how many problems were checked, how bytes are multiplied here, and on how many lanes.
"""

import itertools
import sys

import numpy as np

from rvcnn import kernels
from rvcnn.kernels import _target, near_pairs

ROWS = (1, 3, 4, 13, 14, 15, 29)
COLUMNS = (1, 8, 23, 24, 25, 31, 32, 33, 70)
DIMS = (1, 5, 64, 130)


def problem(rows, columns, dim, seed):
    """Return bytes of rows and columns, the scales of both, and the columns' slacks."""
    rng = np.random.default_rng(seed)
    x, w = (rng.integers(-128, 128, (n, dim), dtype=np.int8) for n in (rows, columns))
    x_scale, w_scale = (rng.uniform(0.01, 1, n).astype(np.float32) for n in (rows, columns))
    return x, w, x_scale, w_scale, rng.uniform(-9, 9, columns).astype(np.float32)


def check(x, w, x_scale, w_scale, slack, share):
    """Check that the `share` of pairs that reach each row's limit are found, each once.

    Products are whole numbers below 2**24; three float32 roundings of values no larger than
    `size`, and one of the limit, decide of what lies nearer to the limit than four half steps.
    """
    products = x.astype(np.int64) @ w.astype(np.int64).T
    assert np.abs(products).max() < 2**24
    scaled = products * w_scale.astype(np.float64) * x_scale.astype(np.float64)[:, None]
    value = scaled + slack
    limit = np.quantile(value, 1 - share, axis=1).astype(np.float32)
    size = np.abs(scaled) + np.abs(slack) + np.abs(limit)[:, None]
    error = 4 * 2.0**-24 * size
    out = np.zeros(1 + 2 * value.size, np.int32)
    packed = near_pairs.pack(w, w_scale, slack)
    kernels.run(near_pairs.near_pairs(out, x, x_scale, limit, packed))
    pairs = out[1 : 1 + 2 * out[0]].reshape(-1, 2)
    found = np.zeros(value.shape, int)
    np.add.at(found, tuple(pairs.T), 1)
    assert found.max(initial=0) <= 1
    assert (found[value - error >= limit[:, None]] == 1).all()
    assert (found[value + error < limit[:, None]] == 0).all()
    assert (error < 1e-5 * (1 + size)).all()


def check_all():
    """Check every problem; how many there were."""
    sizes = itertools.product(ROWS, COLUMNS, DIMS)
    for seed, size in enumerate(sizes):
        check(*problem(*size, seed), share=(0.02, 0.5)[seed % 2])
    return len(ROWS) * len(COLUMNS) * len(DIMS)


if __name__ == "__main__":
    with open(sys.argv[1], "w") as file:
        print(check_all(), _target.dot().instruction, kernels.lanes(), file=file)
