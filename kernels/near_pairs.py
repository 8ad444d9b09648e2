"""Pairs of int8 vectors whose scaled dot product reaches a limit: the few, not the matrix."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import _target
from ._jit import F32, S8, S32, U8, kernel, unroll
from ._memory import aligned
from ._program import At, Call

if TYPE_CHECKING:
    from ._int import broadcast_group_u8, dot, load_groups_s8, load_s32, to_f32
    from ._simd import any_at_least, at_least, lane_of, load, splat

_NONE = -3.0e38


@kernel(
    "s8_near_pairs_{MR}x{NR}x{GROUP}__v{LANES}",
    work=lambda v: v["rows"] * v["panels"] * v["NR"] * v["groups"],
)
def s8_near_pairs(
    out: S32,
    x: U8,
    x_scale: F32,
    limit: F32,
    weights: S8,
    start: S32,
    scale: F32,
    slack: F32,
    rows: int,
    panels: int,
    groups: int,
    capacity: int,
):
    """Pairs (i, j) with ``x[i] . w[j] * scale[j] * x_scale[i] + slack[j] >= limit[i]``.

    ``out[0]`` becomes how many there are; i and j of the first ``capacity`` follow. ``x`` is (rows,
    groups * GROUP), ``rows`` a multiple of MR; ``weights`` is packed (panels, groups, NR, GROUP).
    ``start[j]`` makes up for what ``dot`` adds to each byte of ``x``.
    """
    found = 0
    for p in range(panels):
        n = p * NR
        for i in range(0, rows, MR):
            for v in unroll(NR // LANES):
                reg_b[v] = load_s32(start, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_c[r, v] = reg_b[v]
            w_at = p * groups * NR * GROUP
            x_at = i * groups * GROUP
            for k in range(groups):
                for v in unroll(NR // LANES):
                    reg_w[v] = load_groups_s8(weights, w_at + v * LANES * GROUP, LANES)
                w_at += NR * GROUP
                for r in unroll(MR):
                    a = broadcast_group_u8(x, x_at + (r * groups + k) * GROUP, LANES)
                    for v in unroll(NR // LANES):
                        reg_c[r, v] = dot(reg_c[r, v], a, reg_w[v])
            for v in unroll(NR // LANES):
                best = splat(_NONE, LANES)
                m = load(scale, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_v[r, v] = to_f32(reg_c[r, v]) * m * x_scale[i + r] - limit[i + r]
                    best = at_least(best, reg_v[r, v])
                more = load(slack, n + v * LANES, LANES)
                if any_at_least(best + more, 0.0):
                    for r in unroll(MR):
                        near = reg_v[r, v] + more
                        if any_at_least(near, 0.0):
                            for lane in range(LANES):
                                if lane_of(near, lane) >= 0.0:
                                    if found < capacity:
                                        out[2 * found + 1] = i + r
                                        out[2 * found + 2] = n + v * LANES + lane
                                    found += 1
    out[0] = found


TILES = {16: (14, 32), 8: (4, 24), 4: (6, 8)}
"""Rows and columns of a tile, for each lane count of the target."""


class Columns(NamedTuple):
    """Vectors packed for the kernel, with what scales their products.

    Attributes
    ----------
    count : int
        How many they are.
    panels : ndarray
        (panels, groups, NR, GROUP) int8.
    start : ndarray
        (panels * NR,) int32.
    scale, slack : ndarray
        (panels * NR,) float32; of the columns that fill the last panel, the slack lets none pass.
    """

    count: int
    panels: np.ndarray
    start: np.ndarray
    scale: np.ndarray
    slack: np.ndarray


def kernel_for():
    """The kernel of this machine."""
    mr, nr = TILES[_target.lanes()]
    sizes = {"GROUP": _target.dot().group, "LANES": _target.lanes()}
    return s8_near_pairs(MR=mr, NR=nr, **sizes)


def pack(vectors, scale, slack):
    """Pack (N, D) int8 vectors with their (N,) scales and slacks: :class:`Columns`."""
    _, nr = TILES[_target.lanes()]
    group = _target.dot().group
    count, dim = vectors.shape
    filled = np.zeros((-(-count // nr) * nr, -(-dim // group) * group), np.int8)
    filled[:count, :dim] = vectors
    panels = filled.reshape(-1, nr, filled.shape[1] // group, group).transpose(0, 2, 1, 3)
    added = 128 - _target.dot().offset
    start = (-added * filled.sum(axis=1, dtype=np.int64)).astype(np.int32)
    return Columns(
        count,
        aligned(panels),
        start,
        _filled(scale, len(filled), 0),
        _filled(slack, len(filled), _NONE),
    )


def near_pairs(out, vectors, scale, limit, columns):
    """Calls for the pairs of rows and columns that reach the rows' limits.

    Parameters
    ----------
    out : ndarray
        (1 + 2 * capacity,) int32: how many pairs there are, then row and column of as many as it
        holds.
    vectors : ndarray
        (N, D) int8, D at most ``vector.LONGEST_S8``.
    scale, limit : ndarray
        (N,) float32.
    columns : Columns
        What :func:`pack` made of vectors of the same length.
    """
    mr, _ = TILES[_target.lanes()]
    panels, groups, nr, group = columns.panels.shape
    rows = -(-len(vectors) // mr) * mr
    x = np.zeros((rows, groups * group), np.uint8)
    np.bitwise_xor(vectors.view(np.uint8), 0x80, out=x[: len(vectors), : vectors.shape[1]])
    args = (
        At(out),
        x,
        _filled(scale, rows, 0),
        _filled(limit, rows, -_NONE),
        columns.panels,
        columns.start,
        columns.scale,
        columns.slack,
        rows,
        panels,
        groups,
        (len(out) - 1) // 2,
    )
    return [Call(kernel_for(), args)]


def _filled(values, length, rest):
    out = np.full(length, rest, np.float32)
    out[: len(values)] = values
    return out
