"""Depthwise convolution: one filter a channel."""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover
from ._divide import Axis
from ._jit import F32, I64, kernel, unroll
from ._program import At, Call
from .activation import activate, expansion

if TYPE_CHECKING:
    from ._simd import fma, load, store


@kernel(
    "f32_dwconv_{KH}x{KW}s{STRIDE}_{TW}x{LANES}{CURVE}__v{LANES}",
    work=lambda v: v["channels"] * v["rows"] * v["tiles"] * v["TW"] * v["KH"] * v["KW"],
    axes=(
        Axis(
            "channels",
            "LANES",
            lambda v, c: dict.fromkeys(("out", "x", "weights", "bias"), c),
        ),
        Axis(
            "rows",
            "",
            lambda v, y: {"out": y * v["out_row"], "x": y * v["STRIDE"] * v["x_row"]},
        ),
    ),
)
def f32_dwconv(
    out: F32,
    x: F32,
    weights: F32,
    bias: F32,
    w_row: int,
    channels: int,
    rows: int,
    tiles: int,
    x_step: int,
    x_row: int,
    out_step: int,
    out_row: int,
    mode: int,
    curve: F32,
):
    """``out = activation(x (*) weights + bias)`` over ``rows`` x ``tiles * TW`` output pixels.

    ``x`` is the first tap of the first pixel in a map that carries its zero border; pixels lie
    ``*_step`` elements apart, rows ``*_row``. ``weights`` has ``w_row`` elements a tap;
    ``channels`` is a multiple of LANES.
    """
    for y in range(rows):
        for t in range(tiles):
            for c in range(0, channels, LANES):
                x_at = y * STRIDE * x_row + t * TW * STRIDE * x_step + c
                for i in unroll(TW):
                    reg_c[i] = load(bias, c, LANES)
                for ky in unroll(KH):
                    for kx in unroll(KW):
                        reg_w[kx] = load(weights, (ky * KW + kx) * w_row + c, LANES)
                    for i in unroll((TW - 1) * STRIDE + KW):
                        a = load(x, x_at + ky * x_row + i * x_step, LANES)
                        for kx in unroll(KW):
                            if (i - kx) % STRIDE == 0 and 0 <= i - kx <= (TW - 1) * STRIDE:
                                reg_c[(i - kx) // STRIDE] = fma(
                                    a, reg_w[kx], reg_c[(i - kx) // STRIDE]
                                )
                out_at = y * out_row + t * TW * out_step + c
                activate(reg_c, mode, curve)
                for i in unroll(TW):
                    store(out, out_at + i * out_step, reg_c[i])


@kernel(
    "f32_dwconv_any_{TW}x{LANES}{CURVE}__v{LANES}",
    work=lambda v: v["channels"] * v["rows"] * v["tiles"] * v["TW"] * v["taps"],
    axes=(
        Axis(
            "channels",
            "LANES",
            lambda v, c: dict.fromkeys(("out", "x", "weights", "bias"), c),
        ),
        Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in ("out", "x")}),
        Axis("tiles", "", lambda v, t: {m: t * v["TW"] * v[f"{m}_step"] for m in ("out", "x")}),
    ),
)
def f32_dwconv_any(
    out: F32,
    x: F32,
    weights: F32,
    bias: F32,
    offsets: I64,
    taps: int,
    w_row: int,
    channels: int,
    rows: int,
    tiles: int,
    x_step: int,
    x_row: int,
    out_step: int,
    out_row: int,
    mode: int,
    curve: F32,
):
    """``out = activation(x (*) weights + bias)`` over ``rows`` x ``tiles * TW`` output pixels.

    As :func:`f32_dwconv`, but for any window: its taps lie ``offsets`` after the first one, and
    ``x_step`` and ``x_row`` lead from window to window.
    """
    for y in range(rows):
        for t in range(tiles):
            for c in range(0, channels, LANES):
                x_at = y * x_row + t * TW * x_step + c
                for i in unroll(TW):
                    reg_c[i] = load(bias, c, LANES)
                for k in range(taps):
                    w = load(weights, k * w_row + c, LANES)
                    at = x_at + offsets[k]
                    for i in unroll(TW):
                        reg_c[i] = fma(load(x, at + i * x_step, LANES), w, reg_c[i])
                out_at = y * out_row + t * TW * out_step + c
                activate(reg_c, mode, curve)
                for i in unroll(TW):
                    store(out, out_at + i * out_step, reg_c[i])


TILE = 7
"""Output pixels of a tile: maps of 7, 14, 28, 56 and 112 are whole tiles."""


LARGE = 1 << 18
"""Values of a map that no second-level cache holds."""

BLOCK = 2
"""Vectors of channels that a call sums: few, so that a map's rows stay in the first-level cache."""


def _blocks(x):
    """Pieces (start, count, lanes) of a map's channels; all at once where the map is large.

    Memory is then read from end to end.
    """
    pieces = _cover.vectors(x.channels)
    if x.height * x.row > LARGE:
        return pieces
    return [
        (start + first, min(BLOCK * lanes, count - first), lanes)
        for start, count, lanes in pieces
        for first in range(0, count, BLOCK * lanes)
    ]


WRITTEN_OUT = ((3, 3), (5, 5), (7, 7))
"""Windows that have kernels of their own, at equal strides of 1 or 2."""


def is_written_out(window):
    """Whether a window has a kernel of its own."""
    equal = window.stride in ((1, 1), (2, 2)) and window.dilation == (1, 1)
    return equal and window.kernel in WRITTEN_OUT


def depthwise(out, x, window, weights, bias, activation, depth=None):
    """Calls for a depthwise convolution.

    Parameters
    ----------
    out : Map
        (H, W, C).
    x : Map
        Bordered input, placed at the first tap of the first window.
    window : Window
    weights : ndarray
        (KH * KW, C) float32.
    bias : ndarray
        (C,) float32.
    activation : tuple
        :func:`.activation.applied`.
    depth : ndarray, optional
        Where a window of several planes has them, from ``x`` on; ``weights`` have all their taps.
    """
    tile = TILE if out.width >= TILE else 1
    (kh, kw), stride = window.kernel, window.stride
    size = {"TW": tile, "CURVE": expansion(activation)}
    if depth is None and is_written_out(window):
        family, taps, steps = f32_dwconv, (), (x.pixel, x.row)
        size |= {"KH": kh, "KW": kw, "STRIDE": stride[0]}
    else:
        rows, columns = (np.arange(k) * d for k, d in zip((kh, kw), window.dilation, strict=True))
        offsets = (rows[:, None] * x.row + columns * x.pixel).reshape(-1)
        if depth is not None:
            offsets = (depth[:, None] + offsets).reshape(-1)
        family, taps = f32_dwconv_any, (offsets, len(offsets))
        steps = (x.pixel * stride[1], x.row * stride[0])
    calls = []
    for column, columns in _cover.overlapping(out.width, tile):
        for start, count, lanes in _blocks(x):
            args = (
                out.at(0, column, start),
                x.at(0, column * stride[1], start),
                At(weights, start),
                At(bias, start),
                *taps,
                out.channels,
                count,
                out.height,
                columns // tile,
                *steps,
                out.pixel,
                out.row,
                *activation,
            )
            calls.append(Call(family(**size, LANES=lanes), args))
    return calls
