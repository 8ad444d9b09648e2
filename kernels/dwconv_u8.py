"""Depthwise convolution on bytes: one filter a channel, several of its taps at once.

Along a row of the map, a register holds for each channel the last GROUP pixels as a group of
bytes: one more pixel is pushed into it, one dot product with as many taps is added to a sum. Where
the stride is 2, even and odd columns have windows of their own.
"""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover, _target
from ._divide import Axis
from ._jit import F32, S8, S16, S32, U8, kernel, unroll
from ._memory import aligned
from ._program import Call
from .activation import CLIP, GATE

if TYPE_CHECKING:
    from ._int import dot, empty_window, load_groups_s8, load_s32, push_u8, to_f32
    from ._narrow import (
        add_s16,
        at_least_s16,
        at_most_s16,
        load_s16,
        multiply_s16,
        narrow_u8,
        nth_of,
        pack_s16,
        pack_u8,
        store_bytes,
        to_s32_even,
        zeros_s16,
    )
    from ._simd import load


def _later_channels(v, c):
    moved = dict.fromkeys(("out", "x", "bias", "multiplier"), c)
    return moved | {"weights": c * v["KH"] * v["DOTS"] * v["GROUP"], "shorts": 10 * c}


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
    shorts: S16,
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
    ``*_step`` bytes apart, rows ``*_row``. ``weights`` is packed as :func:`_packed` does,
    ``shorts`` (channels / LANES, 5, 2 LANES); ``channels`` is a multiple of LANES, ``rows`` of TH.
    """
    for y in range(0, rows, TH):
        for t in range(tiles):
            for c in range(0, channels, LANES):
                w_at = c * KH * DOTS * GROUP
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
                PIXELS = TH * TW
                PAIRS = (PIXELS + 1) // 2
                m = load(multiplier, c, LANES)
                for i in unroll(PAIRS):
                    ONE = 2 * i
                    TWO = min(ONE + 1, PIXELS - 1)
                    one = to_s32_even(to_f32(reg_c[ONE // TW, ONE % TW]) * m)
                    two = to_s32_even(to_f32(reg_c[TWO // TW, TWO % TW]) * m)
                    reg_s[i] = pack_s16(one, two)
                s_at = 10 * c
                W = 2 * LANES
                if mode == GATE:
                    a = load_s16(shorts, s_at, W)
                    b = load_s16(shorts, s_at + W, W)
                    for i in unroll(PAIRS):
                        g = at_most_s16(at_least_s16(add_s16(reg_s[i], a), zeros_s16(W)), b)
                        reg_s[i] = multiply_s16(reg_s[i], g)
                elif mode == CLIP:
                    a = load_s16(shorts, s_at + 2 * W, W)
                    b = load_s16(shorts, s_at + 3 * W, W)
                    for i in unroll(PAIRS):
                        reg_s[i] = at_most_s16(at_least_s16(reg_s[i], a), b)
                z = load_s16(shorts, s_at + 4 * W, W)
                for i in unroll(PAIRS):
                    reg_s[i] = add_s16(reg_s[i], z)
                out_at = y * out_row + t * TW * out_step + c
                for i in unroll(0, PAIRS - 1, 2):
                    reg_q[i] = pack_u8(reg_s[i], reg_s[i + 1])
                    for j in unroll(4):
                        PIXEL = 2 * i + j
                        if PIXEL < PIXELS:
                            at = out_at + PIXEL // TW * out_row + PIXEL % TW * out_step
                            store_bytes(out, at, nth_of(reg_q[i], j, 4))
                if PAIRS % 2:
                    last = narrow_u8(reg_s[PAIRS - 1])
                    for j in unroll(2):
                        PIXEL = 2 * PAIRS - 2 + j
                        if PIXEL < PIXELS:
                            at = out_at + PIXEL // TW * out_row + PIXEL % TW * out_step
                            store_bytes(out, at, nth_of(last, j, 2))


TILE = 7
"""Output pixels of a tile: maps of 7, 14, 28, 56 and 112 are whole tiles."""


def _dots(width, stride, group):
    """Dot products that a row of taps comes to."""
    return sum((width - 1 - phase) // stride // group + 1 for phase in range(stride))


def _packed(weights, store, mine, stride, lanes):
    """Weights, bias, multipliers and shorts of some channels, for kernels of ``lanes``.

    Weights (C, KH, KW) become (C / lanes, KH, dots, lanes, GROUP). The taps of a phase fill its
    groups from the end; what is left at the start is zero.
    """
    group = _target.dot().group
    parts = []
    for phase in range(stride):
        taps = weights[mine, :, phase::stride]
        taps = np.pad(taps, ((0, 0), (0, 0), (-taps.shape[2] % group, 0)))
        parts.append(taps.reshape(*taps.shape[:2], -1, group)[:, :, ::-1])
    dots = np.concatenate(parts, 2)
    blocks = dots.reshape(-1, lanes, *dots.shape[1:])
    part = min(4, lanes)
    shorts = store.shorts[:, mine].reshape(5, -1, lanes // part, 1, part)
    pairs = np.broadcast_to(shorts, (*shorts.shape[:3], 2, part))
    return (
        aligned(blocks.transpose(0, 2, 3, 1, 4)),
        aligned(store.sums_from(weights)[mine]),
        aligned(store.multiplier[mine]),
        aligned(pairs.reshape(5, -1, 2 * lanes).transpose(1, 0, 2)),
    )


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
    calls = []
    for start, count, lanes in _cover.vectors(out.channels):
        packed = _packed(weights, store, slice(start, start + count), stride, lanes)
        for row, rows, th in _rows(out.height):
            for column, columns in _cover.overlapping(out.width, width):
                args = (
                    out.at(row, column, start),
                    x.at(row * stride, column * stride, start),
                    *packed,
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
