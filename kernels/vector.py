"""Operations on vectors: L2 normalisation and dot products.

Sums of float32 run over 32 partial sums whatever the lane count, so results do not depend on it;
those of int8 are exact.
"""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover, _target
from ._jit import F32, S8, S32, kernel, unroll
from ._program import At, Call

if TYPE_CHECKING:
    from ._int import as_unsigned, dot, load_groups_s8, sum_lanes_s32, zeros_s32
    from ._simd import fma, load, splat, square_root, store, sum_lanes


def fold(reg):
    """Add a kernel's registers, the later half to the earlier, until the first is their sum."""
    for k in unroll(1, 6):
        for v in unroll(len(reg) >> k):
            reg[v] = reg[v] + reg[v + (len(reg) >> k)]


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
    fold(reg_s)
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
                fold(reg_s[r])
                out[q * out_row + i + r] = sum_lanes(reg_s[r, 0]) + sum_lanes(reg_rest[r])


@kernel("s8_dot_products_{ROWS}x{QUERIES}x{GROUP}__v{LANES}", exact=True)
def s8_dot_products(
    out: S32, queries: S8, start: S32, vectors: S8, count: int, rows: int, dim: int, out_row: int
):
    """``out[q * out_row + i] = queries[q] . vectors[i]``.

    ``rows`` is a multiple of ROWS, ``count`` of QUERIES. ``start[q]`` makes up for what ``dot``
    adds to each byte of a vector in whole registers.
    """
    whole = dim - dim % (GROUP * LANES)
    for i in range(0, rows, ROWS):
        for q in range(0, count, QUERIES):
            for r in unroll(ROWS):
                for k in unroll(QUERIES):
                    reg_s[r, k] = zeros_s32(LANES)
            for d in range(0, whole, GROUP * LANES):
                for k in unroll(QUERIES):
                    reg_a[k] = load_groups_s8(queries, (q + k) * dim + d, LANES)
                for r in unroll(ROWS):
                    b = as_unsigned(load_groups_s8(vectors, (i + r) * dim + d, LANES))
                    for k in unroll(QUERIES):
                        reg_s[r, k] = dot(reg_s[r, k], b, reg_a[k])
            for r in unroll(ROWS):
                for k in unroll(QUERIES):
                    total = start[q + k] + sum_lanes_s32(reg_s[r, k])
                    for d in range(whole, dim):
                        total += queries[(q + k) * dim + d] * vectors[(i + r) * dim + d]
                    out[(q + k) * out_row + i + r] = total


ROWS = {16: 4, 8: 2, 4: 1}
"""Vectors that share a query's registers, for each lane count of the target."""

MANY_QUERIES = 8
"""Queries from which vectors share registers: a few go with one vector after the other, as memory
is read fastest."""

TILES_S8 = ((16, 2, 4), (2, 1, 2), (0, 1, 1))
"""Of int8: how many queries it takes, then vectors and queries that share registers."""

LONGEST_S8 = 1 << 16
"""Most values of int8 vectors whose dot products stay within 32 bits at every step."""


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
    most = len(vectors) if len(queries) >= MANY_QUERIES else 1
    kernel = next(k for k in dot_kernels() if k.constants["ROWS"] <= most)
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


def dot_products_s8(out, queries, vectors):
    """Calls for ``out = queries @ vectors.T``, exactly.

    Parameters
    ----------
    out : ndarray
        (Q, N) int32.
    queries : ndarray
        (Q, D) int8, D at most ``LONGEST_S8``.
    vectors : ndarray
        (N, D) int8.
    """
    if not len(vectors):
        return []
    kernel = next(k for k in dot_kernels_s8() if _suits(k.constants, len(queries), len(vectors)))
    dim = queries.shape[1]
    in_registers = dim - dim % (kernel.constants["GROUP"] * kernel.constants["LANES"])
    added = 128 - _target.dot().offset
    start = (-added * queries[:, :in_registers].sum(axis=1, dtype=np.int64)).astype(np.int32)
    return [
        Call(
            kernel,
            (
                At(out, first),
                queries,
                start,
                At(vectors, first * dim),
                len(queries),
                count,
                dim,
                len(vectors),
            ),
        )
        for first, count in _cover.overlapping(len(vectors), kernel.constants["ROWS"])
    ]


def dot_kernels_s8():
    """The kernels of :func:`dot_products_s8`: for many queries, for an even number, for any."""
    sizes = {"GROUP": _target.dot().group, "LANES": _target.lanes()}
    return [s8_dot_products(ROWS=rows, QUERIES=of, **sizes) for _, rows, of in TILES_S8]


def _suits(tile, queries, vectors):
    rows, of = tile["ROWS"], tile["QUERIES"]
    least = next(least for least, *tiled in TILES_S8 if tiled == [rows, of])
    return queries >= least and queries % of == 0 and vectors >= rows
