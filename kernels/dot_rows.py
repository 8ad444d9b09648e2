"""Dot products with chosen rows: what a search found, scored as the products of all rows are."""

from typing import TYPE_CHECKING

from . import _target
from ._jit import F32, I64, S8, kernel, unroll
from ._program import Call
from .vector import fold

if TYPE_CHECKING:
    from ._control import prefetch
    from ._int import load_s8_s32, to_f32
    from ._simd import fma, load, splat, sum_lanes


@kernel("f32_dot_rows{PLANES}__v{LANES}")
def f32_dot_rows(
    out: F32,
    queries: F32,
    vectors: F32,
    high: S8,
    low: S8,
    steps: F32,
    lengths: F32,
    divided: int,
    chosen: I64,
    count: int,
    each: int,
    dim: int,
):
    """``out[q, i] = queries[q] . vectors[chosen[q, i]]``, summed as ``f32_dot_products`` does.

    With PLANES a vector is ``steps * (256 * high + low)``, over its length if ``divided``.
    """
    whole = dim - dim % 32
    for q in range(count):
        for i in range(q * each, q * each + each):
            if i + 4 < count * each:
                for line in range(0, dim, 64 if PLANES else 16):
                    if PLANES:
                        prefetch(high, chosen[i + 4] * dim + line)
                        prefetch(low, chosen[i + 4] * dim + line)
                    else:
                        prefetch(vectors, chosen[i + 4] * dim + line)
            at = chosen[i] * dim
            rest = splat(0.0, 1)
            for v in unroll(32 // LANES):
                reg_s[v] = splat(0.0, LANES)
            for d in range(0, whole, 32):
                for v in unroll(32 // LANES):
                    a = load(queries, q * dim + d + v * LANES, LANES)
                    if PLANES:
                        b = to_f32(load_s8_s32(high, at + d + v * LANES, LANES)) * 256.0
                        b = b + to_f32(load_s8_s32(low, at + d + v * LANES, LANES))
                        b = b * steps[chosen[i]]
                        if divided:
                            b = b / lengths[chosen[i]]
                    else:
                        b = load(vectors, at + d + v * LANES, LANES)
                    reg_s[v] = fma(a, b, reg_s[v])
            for d in range(whole, dim):
                if PLANES:
                    b = to_f32(load_s8_s32(high, at + d, 1)) * 256.0
                    b = (b + to_f32(load_s8_s32(low, at + d, 1))) * steps[chosen[i]]
                    if divided:
                        b = b / lengths[chosen[i]]
                else:
                    b = load(vectors, at + d, 1)
                rest = fma(load(queries, q * dim + d, 1), b, rest)
            fold(reg_s)
            out[i] = sum_lanes(reg_s[0]) + sum_lanes(rest)


def kernels():
    """The kernels of :func:`dot_rows` and of :func:`dot_rows_s16`."""
    return [f32_dot_rows(PLANES=planes, LANES=_target.lanes()) for planes in ("", "_s16")]


def dot_rows(out, queries, vectors, chosen):
    """Calls for ``out[q, i] = queries[q] . vectors[chosen[q, i]]``.

    Parameters
    ----------
    out : ndarray
        (Q, K) float32: bit by bit what ``vector.dot_products`` gives.
    queries, vectors : ndarray
        (Q, D) and (N, D) float32.
    chosen : ndarray
        (Q, K) int64: rows of `vectors`.
    """
    args = (out, queries, vectors, None, None, None, None, 0)
    return [Call(kernels()[0], (*args, chosen, *chosen.shape, queries.shape[1]))]


def dot_rows_s16(out, queries, high, low, steps, lengths, chosen):
    """As :func:`dot_rows`, of vectors ``steps * (256 * high + low) / lengths`` in float32.

    Parameters
    ----------
    high, low : ndarray
        (N, D) int8.
    steps, lengths : ndarray
        (N,) float32; without `lengths` nothing is divided.
    """
    args = (out, queries, None, high, low, steps, lengths, int(lengths is not None))
    return [Call(kernels()[1], (*args, chosen, *chosen.shape, queries.shape[1]))]
