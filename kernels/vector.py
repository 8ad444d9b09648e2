"""Operations on vectors: L2 normalisation and dot products.

Sums run over 32 partial sums whatever the lane count, so results do not depend on it.
"""

from typing import TYPE_CHECKING

from . import _cover, _target
from ._jit import F32, kernel, unroll
from ._program import At, Call

if TYPE_CHECKING:
    from ._simd import fma, load, splat, square_root, store, sum_lanes


@kernel("f32_l2_normalize__v{LANES}")
def f32_l2_normalize(out: F32, x: F32, n: int, smallest: float):
    """``x / max(|x|, smallest)`` of ``n`` values; ``out`` may be ``x``."""
    for v in unroll(32 // LANES):
        reg_s[v] = splat(0.0, LANES)
    whole = n - n % 32
    for i in range(0, whole, 32):
        for v in unroll(32 // LANES):
            a = load(x, i + v * LANES, LANES)
            reg_s[v] = fma(a, a, reg_s[v])
    rest = splat(0.0, 1)
    for i in range(whole, n):
        a = load(x, i, 1)
        rest = fma(a, a, rest)
    for k in unroll(1, 6):
        for v in unroll((32 // LANES) >> k):
            reg_s[v] = reg_s[v] + reg_s[v + ((32 // LANES) >> k)]
    norm = sum_lanes(square_root(splat(sum_lanes(reg_s[0]) + sum_lanes(rest), 1)))
    norm = smallest if norm < smallest else norm
    for i in range(0, whole, LANES):
        store(out, i, load(x, i, LANES) / norm)
    for i in range(whole, n):
        store(out, i, load(x, i, 1) / norm)


@kernel("f32_dot_products_{ROWS}__v{LANES}")
def f32_dot_products(
    out: F32, queries: F32, vectors: F32, count: int, rows: int, dim: int, out_row: int
):
    """``out[q * out_row + i] = queries[q] . vectors[i]``; ``rows`` is a multiple of ROWS."""
    whole = dim - dim % 32
    for i in range(0, rows, ROWS):
        for q in range(count):
            for r in unroll(ROWS):
                reg_rest[r] = splat(0.0, 1)
                for v in unroll(32 // LANES):
                    reg_s[r, v] = splat(0.0, LANES)
            for d in range(0, whole, 32):
                for v in unroll(32 // LANES):
                    a = load(queries, q * dim + d + v * LANES, LANES)
                    for r in unroll(ROWS):
                        b = load(vectors, (i + r) * dim + d + v * LANES, LANES)
                        reg_s[r, v] = fma(a, b, reg_s[r, v])
            for d in range(whole, dim):
                a1 = load(queries, q * dim + d, 1)
                for r in unroll(ROWS):
                    reg_rest[r] = fma(a1, load(vectors, (i + r) * dim + d, 1), reg_rest[r])
            for r in unroll(ROWS):
                for k in unroll(1, 6):
                    for v in unroll((32 // LANES) >> k):
                        reg_s[r, v] = reg_s[r, v] + reg_s[r, v + ((32 // LANES) >> k)]
                out[q * out_row + i + r] = sum_lanes(reg_s[r, 0]) + sum_lanes(reg_rest[r])


ROWS = {16: 4, 8: 2, 4: 1}
"""Vectors that share a query's registers, for each lane count of the target."""


def l2_normalize(out, x, n, smallest=1e-12):
    """Calls for ``x / max(|x|, smallest)``; ``out`` and ``x`` are arrays or places."""
    return [Call(f32_l2_normalize(LANES=_target.lanes()), (out, x, n, smallest))]


def dot_kernels():
    """The kernels of :func:`dot_products`: for many vectors, and for a few."""
    lanes = _target.lanes()
    return [f32_dot_products(ROWS=rows, LANES=lanes) for rows in sorted({ROWS[lanes], 1})[::-1]]


def dot_products(out, queries, vectors):
    """Calls for ``out = queries @ vectors.T``.

    Parameters
    ----------
    out : ndarray
        (Q, N) float32.
    queries : ndarray
        (Q, D) float32.
    vectors : ndarray
        (N, D) float32.
    """
    if not len(vectors):
        return []
    dim = queries.shape[1]
    kernel = next(k for k in dot_kernels() if k.constants["ROWS"] <= len(vectors))
    return [
        Call(
            kernel,
            (
                At(out, first),
                queries,
                At(vectors, first * dim),
                len(queries),
                count,
                dim,
                len(vectors),
            ),
        )
        for first, count in _cover.overlapping(len(vectors), kernel.constants["ROWS"])
    ]
