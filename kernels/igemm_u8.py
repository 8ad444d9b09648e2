"""Matrix product over convolution windows on bytes: every dense convolution of an int8 network.

As ``igemm``, with uint8 activations and int8 weights. Sums are exact; what is done with them is
float32, each operation rounded on its own, so every CPU stores the same bytes.
"""

from typing import TYPE_CHECKING

import numpy as np

from . import _target, _tiles
from ._cover import overlapping
from ._divide import Axis
from ._jit import F32, I64, S8, S16, S32, U8, kernel, unroll
from ._memory import aligned
from ._program import At, Call
from .activation import CLIP, GATE
from .igemm import later_rows
from .requantise import lane_order, short_order

if TYPE_CHECKING:
    from ._int import broadcast_group_u8, clip, dot, load_groups_s8, load_s32, to_f32
    from ._narrow import (
        add_s16,
        at_least_s16,
        at_most_s16,
        load_s16,
        multiply_s16,
        narrow_s16,
        narrow_u8,
        pack_s16,
        pack_u8,
        store_bytes,
        to_s32_even,
        zeros_s16,
    )
    from ._simd import load, store


def _later_rows(v, r):
    shift = later_rows(v, r)
    return shift | {"real": shift["out"]}


def _later_panels(v, j):
    n = j * v["NR"]
    channels = ("out", "real", "bias", "multiplier", "residual")
    depth = v["segments"] * v["groups"] * v["GROUP"]
    return dict.fromkeys(channels, n) | {"shorts": 5 * n, "weights": n * depth}


@kernel(
    "u8_igemm_{MR}x{NR}x{GROUP}_{REAL}__v{LANES}",
    work=lambda v: v["rows"] * v["panels"] * v["NR"] * v["segments"] * v["groups"],
    axes=(Axis("rows", "MR", _later_rows), Axis("panels", "", _later_panels)),
    exact=True,
)
def u8_igemm(
    out: U8,
    real: F32,
    x: U8,
    weights: S8,
    bias: S32,
    multiplier: F32,
    shorts: S16,
    residual: F32,
    offsets: I64,
    segments: int,
    groups: int,
    rows: int,
    panels: int,
    column: int,
    width: int,
    x_step: int,
    x_skip: int,
    out_step: int,
    out_skip: int,
    residual_step: int,
    residual_skip: int,
    mode: int,
    low: float,
    high: float,
):
    """A product over a run of output pixels, stored as ``requantise`` says: to ``real`` if REAL.

    ``rows`` (a multiple of MR) pixels in raster order from ``column`` of a row of ``width``; a
    pixel's data is ``*_step`` elements after its neighbour's, plus ``*_skip`` at the end of a row.
    Segment s of a pixel starts ``offsets[s]`` after it and has ``groups`` groups of GROUP bytes.
    ``weights`` is packed (panels, segments * groups, NR, GROUP), ``shorts`` (panels, 5, NR);
    ``bias`` and ``multiplier`` hold a value an output channel. ``residual``, which is added to what
    goes to ``real``, may be null.
    """
    for j in range(panels):
        w_panel = j * segments * groups * NR * GROUP
        n = j * NR
        col = column
        x_at = 0
        out_at = n
        residual_at = n
        for _ in range(0, rows, MR):
            for r in unroll(MR):
                reg_x[r] = x_at
                reg_out[r] = out_at
                reg_residual[r] = residual_at
                x_at += x_step
                out_at += out_step
                residual_at += residual_step
                col += 1
                if col == width:
                    col = 0
                    x_at += x_skip
                    out_at += out_skip
                    residual_at += residual_skip
            for v in unroll(NR // LANES):
                reg_b[v] = load_s32(bias, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_c[r, v] = reg_b[v]
            w_at = w_panel
            for s in range(segments):
                begin = offsets[s]
                for p in range(begin, begin + groups * GROUP, GROUP):
                    for v in unroll(NR // LANES):
                        reg_w[v] = load_groups_s8(weights, w_at + v * LANES * GROUP, LANES)
                    w_at += NR * GROUP
                    for r in unroll(MR):
                        a = broadcast_group_u8(x, reg_x[r] + p, LANES)
                        for v in unroll(NR // LANES):
                            reg_c[r, v] = dot(reg_c[r, v], a, reg_w[v])
            NV = NR // LANES
            for v in unroll(NV):
                m = load(multiplier, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_v[r, v] = to_f32(reg_c[r, v]) * m
            if REAL:
                for r in unroll(MR):
                    for v in unroll(NV):
                        if mode == GATE:
                            g = clip(reg_v[r, v] * 0.16666667 + 0.5, 0.0, 1.0)
                            reg_v[r, v] = reg_v[r, v] * g
                        elif mode == CLIP:
                            reg_v[r, v] = clip(reg_v[r, v], low, high)
                        if residual_step:
                            more = load(residual, reg_residual[r] + v * LANES, LANES)
                            reg_v[r, v] = reg_v[r, v] + more
                        store(real, reg_out[r] + v * LANES, reg_v[r, v])
            else:
                s_at = 5 * n
                HALVES = (NV + 1) // 2
                SHORTS = NR // HALVES
                for r in unroll(MR):
                    for k in unroll(HALVES):
                        a = to_s32_even(reg_v[r, 2 * k])
                        if NV == 1:
                            reg_s[r, k] = narrow_s16(a)
                        else:
                            reg_s[r, k] = pack_s16(a, to_s32_even(reg_v[r, 2 * k + 1]))
                for k in unroll(HALVES):
                    if mode == GATE:
                        b = load_s16(shorts, s_at + k * SHORTS, SHORTS)
                        c = load_s16(shorts, s_at + NR + k * SHORTS, SHORTS)
                        for r in unroll(MR):
                            g = at_least_s16(add_s16(reg_s[r, k], b), zeros_s16(SHORTS))
                            reg_s[r, k] = multiply_s16(reg_s[r, k], at_most_s16(g, c))
                    elif mode == CLIP:
                        b = load_s16(shorts, s_at + 2 * NR + k * SHORTS, SHORTS)
                        c = load_s16(shorts, s_at + 3 * NR + k * SHORTS, SHORTS)
                        for r in unroll(MR):
                            reg_s[r, k] = at_most_s16(at_least_s16(reg_s[r, k], b), c)
                    b = load_s16(shorts, s_at + 4 * NR + k * SHORTS, SHORTS)
                    for r in unroll(MR):
                        reg_s[r, k] = add_s16(reg_s[r, k], b)
                for r in unroll(MR):
                    if HALVES == 1:
                        store_bytes(out, reg_out[r], narrow_u8(reg_s[r, 0]))
                    else:
                        store_bytes(out, reg_out[r], pack_u8(reg_s[r, 0], reg_s[r, 1]))


REAL_TILES = {
    16: {7: [(32, 16), (24, 8), (16, 16), (8, 8)], 1: [(64, 16), (16, 16), (8, 8)]},
    8: {4: [(24, 8), (16, 8), (8, 8)], 1: [(32, 8), (8, 8)]},
    4: {6: [(8, 4), (4, 4)], 1: [(16, 4), (4, 4)]},
}
"""For each lane count of the target: rows of a tile to its widths, as (NR, lanes of a vector)."""

BYTE_TILES = {
    16: {5: [(64, 16), (32, 8), (16, 8), (8, 8)], 1: [(64, 16), (32, 8), (8, 8)]},
    8: {2: [(32, 8), (16, 8), (8, 8)], 1: [(32, 8), (8, 8)]},
    4: {2: [(16, 4), (8, 4), (4, 4)], 1: [(16, 4), (4, 4)]},
}
"""The same for results that are bytes: 4 vectors are narrowed into one, or 2, or 1."""


WORTH = 0.6
"""Share of a tile of bytes above which it costs less than the narrower ones in its place."""


def _tiles_for(real):
    return (REAL_TILES if real else BYTE_TILES)[_target.lanes()]


def products(out, x, stride, weights, store, offsets, residual=None):
    """Calls for one product over the windows of a map of bytes.

    Parameters
    ----------
    out : Map
        (H, W, N) of uint8, or float32 where ``store.real``.
    x : Map
        Bordered input, placed at the first tap of the first window. Up to GROUP - 1 bytes after a
        segment are read.
    stride : tuple of int
        Rows and columns between windows.
    weights : ndarray
        (N, segments, length) int8.
    store : Store
        What becomes of the sums.
    offsets : ndarray
        (segments,) int64: elements from a window's first tap to each segment.
    residual : Map, optional
        (H, W, N) float32, added to what is stored as float32; not ``out`` itself.
    """
    table, pixels, group = _tiles_for(store.real), out.height * out.width, _target.dot().group
    mr = _tiles.row_tile(table, pixels)
    worth = 1.0 if store.real else WORTH
    x_step, x_row = stride[1] * x.pixel, stride[0] * x.row
    residual_steps = (residual.pixel, residual.skip) if residual else (0, 0)
    pieces = [
        (start, count, nr, lanes, _packed(weights, store, slice(start, start + count), nr, lanes))
        for start, count, nr, lanes in _tiles.column_tiles(table[mr], out.channels, worth)
    ]
    calls = []
    for first, rows in overlapping(pixels, mr):
        y, column = divmod(first, out.width)
        for start, count, nr, lanes, (panels, *channels) in pieces:
            place = out.at(y, column, start)
            args = (
                None if store.real else place,
                place if store.real else None,
                At(x.buffer, x.offset + y * x_row + column * x_step),
                panels,
                *channels,
                residual.at(y, column, start) if residual else None,
                offsets,
                len(offsets),
                panels.shape[1] // len(offsets),
                rows,
                count // nr,
                column,
                out.width,
                x_step,
                x_row - out.width * x_step,
                out.pixel,
                out.skip,
                *residual_steps,
                store.mode,
                store.low,
                store.high,
            )
            real = int(store.real)
            family = u8_igemm(MR=mr, NR=nr, LANES=lanes, GROUP=group, REAL=real)
            calls.append(Call(family, args))
    return calls


def _packed(weights, store, mine, nr, lanes):
    """Weights, bias, multipliers and shorts of some output channels, for tiles of width ``nr``.

    Weights become (panels, segments * groups, NR, GROUP), each segment in whole groups: what fills
    them is zero.
    """
    group, vectors = _target.dot().group, nr // lanes
    bias = store.sums_from(weights)[mine].reshape(-1, nr)
    weights = np.pad(weights[mine], ((0, 0), (0, 0), (0, -weights.shape[2] % group)))
    panels = weights.reshape(-1, nr, weights.shape[1] * weights.shape[2] // group, group)
    order = range(nr) if store.real else lane_order(vectors, lanes)
    shorts = store.shorts[:, mine].reshape(5, -1, nr).transpose(1, 0, 2)
    return (
        aligned(panels[:, order].transpose(0, 2, 1, 3)),
        aligned(bias[:, order]),
        aligned(store.multiplier[mine].reshape(-1, nr)[:, order]),
        aligned(shorts[:, :, short_order(vectors, lanes) if not store.real else order]),
    )
