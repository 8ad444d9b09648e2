"""Depthwise convolution on bytes: one filter a channel, several of its taps at once.

Along a row of the map, a register holds for each channel the last GROUP pixels as a group of
bytes: one more pixel is pushed into it, one dot product with as many taps is added to a sum. Where
the stride is 2, even and odd columns have windows of their own.
"""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover, _target
from ._divide import Axis
from ._jit import F32, S8, S32, U8, kernel, unroll
from ._memory import aligned
from ._program import At, Call
from .activation import GATE
from .requantise import STORED

if TYPE_CHECKING:
    from ._int import (
        clip,
        dot,
        empty_window,
        load_groups_s8,
        load_s32,
        push_u8,
        store_u8_even,
        to_f32,
    )
    from ._simd import load


def _later_channels(v, c):
    moved = dict.fromkeys(("out", "x", "bias", *STORED), c)
    return moved | {"weights": c * v["KH"] * v["DOTS"] * v["GROUP"]}


@kernel(
    "u8_dwconv_{KH}x{KW}s{STRIDE}_{TH}x{TW}x{GROUP}__v{LANES}",
    work=lambda v: v["channels"] * v["rows"] * v["tiles"] * v["TW"] * v["KH"] * v["KW"] // 2,
    axes=(
        Axis("channels", "LANES", _later_channels),
        Axis(
            "rows",
            "TH",
            lambda v, y: {"out": y * v["out_row"], "x": y * v["STRIDE"] * v["x_row"]},
        ),
    ),
    exact=True,
)
def u8_dwconv(
    out: U8,
    x: U8,
    weights: S8,
    bias: S32,
    multiplier: F32,
    slope: F32,
    zero: F32,
    low: F32,
    high: F32,
    channels: int,
    rows: int,
    tiles: int,
    x_step: int,
    x_row: int,
    out_step: int,
    out_row: int,
    mode: int,
):
    """A depthwise convolution over ``rows`` x ``tiles * TW`` pixels, stored as ``requantise`` says.

    ``x`` is the first tap of the first pixel in a map that carries its border; pixels lie
    ``*_step`` bytes apart, rows ``*_row``. ``weights`` is packed as :func:`pack` does; ``channels``
    is a multiple of LANES, ``rows`` of TH.
    """
    for c in range(0, channels, LANES):
        w_at = c * KH * DOTS * GROUP
        for y in range(0, rows, TH):
            for t in range(tiles):
                x_at = y * STRIDE * x_row + t * TW * STRIDE * x_step + c
                for i in unroll(TW):
                    for h in unroll(TH):
                        reg_c[h, i] = load_s32(bias, c, LANES)
                for iy in unroll((TH - 1) * STRIDE + KH):
                    for phase in unroll(STRIDE):
                        LAST = (KW - 1 - phase) // STRIDE
                        FIRST_DOT = phase * ((KW - 1) // STRIDE // GROUP + 1)
                        window = empty_window(LANES)
                        for i in unroll(TW + LAST):
                            at = x_at + iy * x_row + (i * STRIDE + phase) * x_step
                            window = push_u8(window, x, at)
                            for d in unroll(LAST // GROUP + 1):
                                COLUMN = i - LAST + d * GROUP
                                for h in unroll(TH):
                                    ROW = iy - h * STRIDE
                                    if 0 <= COLUMN < TW and 0 <= ROW < KH:
                                        tap = (ROW * DOTS + FIRST_DOT + d) * LANES * GROUP
                                        w = load_groups_s8(weights, w_at + tap, LANES)
                                        reg_c[h, COLUMN] = dot(reg_c[h, COLUMN], window, w)
                m = load(multiplier, c, LANES)
                for h in unroll(TH):
                    for i in unroll(TW):
                        reg_v[h, i] = to_f32(reg_c[h, i]) * m
                if mode == GATE:
                    m = load(slope, c, LANES)
                    for h in unroll(TH):
                        for i in unroll(TW):
                            g = clip(reg_v[h, i] * m + 0.5, 0.0, 1.0)
                            reg_v[h, i] = reg_v[h, i] * g
                lowest = load(low, c, LANES)
                highest = load(high, c, LANES)
                z = load(zero, c, LANES)
                for h in unroll(TH):
                    out_at = (y + h) * out_row + t * TW * out_step + c
                    for i in unroll(TW):
                        v = clip(reg_v[h, i], lowest, highest)
                        store_u8_even(out, out_at + i * out_step, v, z)


TILE = 7
"""Output pixels of a tile: maps of 7, 14, 28, 56 and 112 are whole tiles."""


def _dots(width, stride, group):
    """Dot products that a row of taps comes to."""
    return sum((width - 1 - phase) // stride // group + 1 for phase in range(stride))


def pack(weights, stride, lanes):
    """Weights (C, KH, KW) int8 as (C / lanes, KH, dots, lanes, GROUP), ``lanes`` dividing C.

    The taps of a phase fill its groups from the end; what is left at the start is zero.
    """
    group = _target.dot().group
    parts = []
    for phase in range(stride):
        taps = weights[:, :, phase::stride]
        taps = np.pad(taps, ((0, 0), (0, 0), (-taps.shape[2] % group, 0)))
        parts.append(taps.reshape(*taps.shape[:2], -1, group)[:, :, ::-1])
    dots = np.concatenate(parts, 2)
    blocks = dots.reshape(-1, lanes, *dots.shape[1:])
    return aligned(blocks.transpose(0, 2, 3, 1, 4))


def depthwise(out, x, stride, weights, store):
    """Calls for a depthwise convolution of equal strides 1 or 2.

    Parameters
    ----------
    out : Map
        (H, W, C) of uint8.
    x : Map
        Bordered input of uint8, placed at the first tap of the first window.
    stride : int
    weights : ndarray
        (C, KH, KW) int8.
    store : Store
    """
    (kh, kw), group = weights.shape[1:], _target.dot().group
    width = TILE if out.width >= TILE else 1
    bias = store.sums_from(weights)
    calls = []
    for start, count, lanes in _cover.vectors(out.channels):
        packed = pack(weights[start : start + count], stride, lanes)
        for row, rows, th in _rows(out.height):
            for column, columns in _cover.overlapping(out.width, width):
                args = (
                    out.at(row, column, start),
                    x.at(row * stride, column * stride, start),
                    packed,
                    At(bias, start),
                    *(At(getattr(store, name), start) for name in STORED),
                    count,
                    rows,
                    columns // width,
                    x.pixel,
                    x.row,
                    out.pixel,
                    out.row,
                    store.mode,
                )
                family = u8_dwconv(
                    KH=kh,
                    KW=kw,
                    STRIDE=stride,
                    TH=th,
                    TW=width,
                    LANES=lanes,
                    GROUP=group,
                    DOTS=_dots(kw, stride, group),
                )
                calls.append(Call(family, args))
    return calls


def _rows(height):
    """Pieces (start, rows, TH): pairs of rows, and the one that is left."""
    pairs = height // 2 * 2
    pieces = [(0, pairs, 2), (pairs, height - pairs, 1)]
    return [piece for piece in pieces if piece[1]]
