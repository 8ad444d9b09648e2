"""Matrix product over convolution windows on bytes: every dense convolution of an int8 network.

As ``igemm``, with uint8 activations and int8 weights. Sums are exact; what is done with them is
float32, each operation rounded on its own, so every CPU stores the same bytes.
"""

from typing import TYPE_CHECKING

import numpy as np

from . import _target, _tiles
from ._cover import overlapping
from ._divide import Axis
from ._jit import F32, I64, S8, S32, U8, kernel, unroll
from ._memory import aligned
from ._program import At, Call
from .activation import GATE
from .requantise import STORED

if TYPE_CHECKING:
    from ._int import broadcast_group_u8, clip, dot, load_groups_s8, load_s32, store_u8_even, to_f32
    from ._simd import load, store


def _later_rows(v, r):
    """A run of pixels that starts ``r`` later: as many steps, and a skip for each row's end."""
    wraps, column = divmod(v["column"] + r, v["width"])
    shift = {m: r * v[f"{m}_step"] + wraps * v[f"{m}_skip"] for m in ("x", "out", "residual")}
    return shift | {"real": shift["out"], "column": column - v["column"]}


def _later_panels(v, j):
    n = j * v["NR"]
    channels = ("out", "real", "bias", *STORED, "residual")
    return dict.fromkeys(channels, n) | {"weights": n * v["segments"] * v["groups"] * v["GROUP"]}


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
    slope: F32,
    zero: F32,
    low: F32,
    high: F32,
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
):
    """A product over a run of output pixels, stored as ``requantise`` says: to ``real`` if REAL.

    ``rows`` (a multiple of MR) pixels in raster order from ``column`` of a row of ``width``; a
    pixel's data is ``*_step`` elements after its neighbour's, plus ``*_skip`` at the end of a row.
    Segment s of a pixel starts ``offsets[s]`` after it and has ``groups`` groups of GROUP bytes.
    ``weights`` is packed (panels, segments * groups, NR, GROUP); ``bias`` and
    the arrays to ``high`` hold a value an output channel. ``residual``, which is added to what goes
    to ``real``, may be null.
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
            for v in unroll(NR // LANES):
                m = load(multiplier, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_v[r, v] = to_f32(reg_c[r, v]) * m
                if mode == GATE:
                    m = load(slope, n + v * LANES, LANES)
                    for r in unroll(MR):
                        g = clip(reg_v[r, v] * m + 0.5, 0.0, 1.0)
                        reg_v[r, v] = reg_v[r, v] * g
                lowest = load(low, n + v * LANES, LANES)
                highest = load(high, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_v[r, v] = clip(reg_v[r, v], lowest, highest)
                if REAL:
                    if residual_step:
                        for r in unroll(MR):
                            more = load(residual, reg_residual[r] + v * LANES, LANES)
                            reg_v[r, v] = reg_v[r, v] + more
                    for r in unroll(MR):
                        store(real, reg_out[r] + v * LANES, reg_v[r, v])
                else:
                    z = load(zero, n + v * LANES, LANES)
                    for r in unroll(MR):
                        store_u8_even(out, reg_out[r] + v * LANES, reg_v[r, v], z)


TILES = {
    16: {
        7: [(32, 16), (24, 8), (16, 16), (8, 8)],
        1: [(64, 16), (16, 16), (8, 8)],
    },
    8: {4: [(24, 8), (16, 8), (8, 8)], 1: [(32, 8), (8, 8)]},
    4: {6: [(8, 4), (4, 4)], 1: [(16, 4), (4, 4)]},
}
"""For each lane count of the target: rows of a tile to its widths, as (NR, lanes of a vector)."""


def row_tile(pixels):
    """Rows MR of the tiles for a map of so many pixels."""
    return _tiles.row_tile(TILES[_target.lanes()], pixels)


def column_tiles(channels, mr):
    """Pieces (start, count, NR, lanes) that cover the output channels."""
    return _tiles.column_tiles(TILES[_target.lanes()][mr], channels)


def pack(weights, mr):
    """Weights (N, segments, length) int8 for tiles of ``mr`` rows, each segment in whole groups.

    For each column piece (panels, segments * groups, NR, GROUP); what fills a group is zero.
    """
    group = _target.dot().group
    weights = np.pad(weights, ((0, 0), (0, 0), (0, -weights.shape[2] % group)))
    n = len(weights)
    return [
        aligned(
            weights[start : start + count].reshape(count // nr, nr, -1, group).transpose(0, 2, 1, 3)
        )
        for start, count, nr, _ in column_tiles(n, mr)
    ]


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
    pixels, group = out.height * out.width, _target.dot().group
    mr = row_tile(pixels)
    x_step, x_row = stride[1] * x.pixel, stride[0] * x.row
    residual_steps = (residual.pixel, residual.skip) if residual else (0, 0)
    bias = store.sums_from(weights)
    packed = pack(weights, mr)
    calls = []
    for first, rows in overlapping(pixels, mr):
        y, column = divmod(first, out.width)
        for (start, count, nr, lanes), panels in zip(
            column_tiles(out.channels, mr), packed, strict=True
        ):
            place = out.at(y, column, start)
            args = (
                None if store.real else place,
                place if store.real else None,
                At(x.buffer, x.offset + y * x_row + column * x_step),
                panels,
                At(bias, start),
                *(At(getattr(store, name), start) for name in STORED),
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
            )
            real = int(store.real)
            family = u8_igemm(MR=mr, NR=nr, LANES=lanes, GROUP=group, REAL=real)
            calls.append(Call(family, args))
    return calls
