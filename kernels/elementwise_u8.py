"""What an int8 network does besides convolutions, on bytes: each operation rounded on its own."""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover
from ._divide import Axis
from ._jit import F32, S16, U8, kernel, unroll
from ._program import At, Call

if TYPE_CHECKING:
    from ._int import clip, load_u8_s32, store_u8_even, to_f32, zeros_s32
    from ._narrow import (
        add_s16,
        load_s16,
        load_u8_s16,
        multiply_s16,
        narrow_s16,
        narrow_u8,
        store_bytes,
        to_s32_even,
    )
    from ._simd import load, load_u8, splat, store

_ROWS = Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in ("out", "x")})


@kernel(
    "u8_quantize_{NV}x{LANES}__v{LANES}",
    lambda v: v["rows"] * v["length"],
    (_ROWS,),
    exact=True,
)
def u8_quantize(
    out: U8,
    x: F32,
    inverse: F32,
    rest: F32,
    zero: F32,
    rows: int,
    length: int,
    out_row: int,
    x_row: int,
):
    """``clip(x * inverse[i] + rest[i] + zero[i], 0, 255)`` along rows, to even; NaN becomes 0.

    ``length`` is a multiple of NV * LANES, ``zero`` whole.
    """
    for i in range(0, length, NV * LANES):
        for v in unroll(NV):
            reg_m[v] = load(inverse, i + v * LANES, LANES)
            reg_rest[v] = load(rest, i + v * LANES, LANES)
            reg_z[v] = load(zero, i + v * LANES, LANES)
            reg_low[v] = 0.0 - reg_z[v]
            reg_high[v] = 255.0 - reg_z[v]
        for y in range(rows):
            for v in unroll(NV):
                at = i + v * LANES
                steps = load(x, y * x_row + at, LANES) * reg_m[v] + reg_rest[v]
                c = clip(steps, reg_low[v], reg_high[v])
                store_u8_even(out, y * out_row + at, c, reg_z[v])


@kernel(
    "u8_dequantize_{NV}x{LANES}__v{LANES}", lambda v: v["rows"] * v["length"], (_ROWS,), exact=True
)
def u8_dequantize(
    out: F32, x: U8, scale: F32, zero: F32, rows: int, length: int, out_row: int, x_row: int
):
    """``(x - zero[i]) * scale[i]`` along rows; ``length`` is a multiple of NV * LANES."""
    for i in range(0, length, NV * LANES):
        for v in unroll(NV):
            reg_z[v] = load(zero, i + v * LANES, LANES)
            reg_m[v] = load(scale, i + v * LANES, LANES)
        for y in range(rows):
            for v in unroll(NV):
                at = i + v * LANES
                c = load_u8(x, y * x_row + at, LANES) - reg_z[v]
                store(out, y * out_row + at, c * reg_m[v])


@kernel(
    "u8_global_avg_pool__v{LANES}",
    lambda v: v["rows"] * v["pixels"] * v["channels"],
    (Axis("channels", "LANES", lambda v, c: dict.fromkeys(("out", "x", "scale", "zero"), c)),),
    exact=True,
)
def u8_global_avg_pool(
    out: F32,
    x: U8,
    scale: F32,
    zero: F32,
    rows: int,
    pixels: int,
    channels: int,
    x_row: int,
    x_step: int,
):
    """Real mean of each channel: of exact sums of up to 2**23 pixels."""
    for c in range(0, channels, LANES):
        even = zeros_s32(LANES)
        odd = zeros_s32(LANES)
        for y in range(rows):
            for p in range(0, pixels - 1, 2):
                even = even + load_u8_s32(x, y * x_row + p * x_step + c, LANES)
                odd = odd + load_u8_s32(x, y * x_row + (p + 1) * x_step + c, LANES)
            if pixels % 2:
                even = even + load_u8_s32(x, y * x_row + (pixels - 1) * x_step + c, LANES)
        mean = to_f32(even + odd) / splat(rows * pixels, LANES)
        store(out, c, (mean - load(zero, c, LANES)) * load(scale, c, LANES))


@kernel(
    "u8_scale__v{LANES}",
    lambda v: v["rows"] * v["pixels"] * v["channels"],
    (_ROWS,),
    exact=True,
)
def u8_scale(
    out: U8,
    x: U8,
    factor: F32,
    ratio: F32,
    x_zero: S16,
    out_zero: S16,
    rows: int,
    pixels: int,
    channels: int,
    out_row: int,
    out_step: int,
    x_row: int,
    x_step: int,
):
    """``(x - x_zero[c]) * (factor[c] * ratio[c]) + out_zero[c]`` over pixels, as bytes.

    In 16 bits: factors in steps of 2**-13, below 4, four times the differences, of whose products
    the upper half is kept, rounded. ``x_zero`` holds -4 times the zero points.
    """
    for c in range(0, channels, LANES):
        f = load(factor, c, LANES) * load(ratio, c, LANES) * 8192.0
        m = narrow_s16(to_s32_even(clip(f, -32768.0, 32767.0)))
        before = load_s16(x_zero, c, LANES)
        z = load_s16(out_zero, c, LANES)
        for y in range(rows):
            for p in range(pixels):
                d = add_s16(load_u8_s16(x, y * x_row + p * x_step + c, LANES, 4), before)
                v = add_s16(multiply_s16(d, m), z)
                store_bytes(out, y * out_row + p * out_step + c, narrow_u8(v))


@kernel("u8_copy", lambda v: v["rows"] * v["length"] // 16, (_ROWS,))
def u8_copy(out: U8, x: U8, rows: int, length: int, out_row: int, x_row: int):
    """Copy ``rows`` rows of ``length`` bytes."""
    for y in range(rows):
        for i in range(length):
            out[y * out_row + i] = x[y * x_row + i]


@kernel("u8_fill_border")
def u8_fill_border(
    out: U8, pixel: U8, channels: int, before: int, rows: int, width: int, gap: int, after: int
):
    """Write ``pixel`` before, ``gap`` times after each of ``rows`` rows of ``width``, and after."""
    at = 0
    for y in range(-1, rows + 1):
        count = before if y < 0 else gap if y < rows else after
        for i in range(at, at + count * channels, channels):
            for c in range(channels):
                out[i + c] = pixel[c]
        at += (count + (width if y < rows - 1 else 0)) * channels


VECTORS = 4
"""Vectors that are read one after the other: whole cache lines before the next row's."""


def _along(m, value):
    """A number a channel, or one for all, for each value of a row of a map."""
    return np.tile(np.broadcast_to(np.float32(value), m.channels), m.width)


def _pieces(n):
    """Pieces (start, count, NV, LANES) that cover ``n`` values: first some vectors at a time."""
    for start, count, lanes in _cover.exact(n):
        wide = count - count % (VECTORS * lanes)
        yield from ((start, wide, VECTORS, lanes), (start + wide, count - wide, 1, lanes))


LINE = 64
"""Values of a map with one scale that are read next to each other."""


def _lines(m):
    """A map without gaps as lines of LINE values, and what is left as a shorter one."""
    size = m.height * m.width * m.channels
    whole = size // LINE
    lines = m._replace(height=whole, width=1, channels=LINE, row=LINE, pixel=LINE)
    rest = size % LINE
    last = lines._replace(offset=m.offset + whole * LINE, height=1, channels=rest, row=rest)
    return [part for part in (lines, last) if part.height * part.channels]


def _cover_values(family, out, x, *vectors):
    """Calls over all values of two maps; ``vectors`` are numbers or (C,)."""
    if any(m.pixel != m.channels for m in (out, x)):
        pairs = [(_pixels(out, y), _pixels(x, y)) for y in range(x.height)]
        return [call for pair in pairs for call in _rows(family, *pair, *vectors)]
    if out.skip or x.skip or max(np.size(v) for v in vectors) > 1:
        return _rows(family, out, x, *vectors)
    pairs = zip(_lines(out), _lines(x), strict=True)
    return [call for pair in pairs for call in _rows(family, *pair, *vectors)]


def _pixels(m, y):
    """A row of a map whose pixels lie apart, as rows of one pixel."""
    return m._replace(offset=m.at(y).offset, height=m.width, width=1, row=m.pixel)


def _rows(family, out, x, *vectors):
    along = [_along(x, v) for v in vectors]
    return [
        Call(
            family(NV=nv, LANES=lanes),
            (
                out.at(c=start),
                x.at(c=start),
                *(At(v, start) for v in along),
                x.height,
                count,
                out.row,
                x.row,
            ),
        )
        for start, count, nv, lanes in _pieces(x.width * x.channels)
        if count
    ]


def quantize(out, x, scale, zero):
    """Calls that quantise a map; ``scale`` and ``zero`` are numbers or (C,).

    ``x / scale`` is computed as ``x * (1 / scale)``, the reciprocal rounded to float32. The zero
    point need not be whole.
    """
    inverse, whole = 1 / np.asarray(scale, np.float64), np.rint(zero)
    return _cover_values(u8_quantize, out, x, inverse, zero - whole, whole)


def dequantize(out, x, scale, zero):
    """Calls for the real values of a map of bytes."""
    return _cover_values(u8_dequantize, out, x, scale, zero)


def global_avg_pool(out, x, scale, zero):
    """Calls for the real mean of each channel of bytes; ``out`` is a (1, 1, C) map of float32."""
    vectors = [_channels(x, v) for v in (scale, zero)]
    return [
        Call(
            u8_global_avg_pool(LANES=lanes),
            (
                out.at(c=start),
                x.at(c=start),
                *(At(v, start) for v in vectors),
                x.height,
                x.width,
                count,
                x.row,
                x.pixel,
            ),
        )
        for start, count, lanes in _cover.vectors(x.channels)
    ]


def scale(out, x, factor, x_params, out_params):
    """Calls for a map of bytes times real factors, one a channel.

    Parameters
    ----------
    out, x : Map
        (H, W, C) of uint8, not the same.
    factor : At
        Of C float32 values.
    x_params, out_params : tuple
        Scale and zero point, a whole number, or (C,) of them.
    """
    (x_scale, x_zero), (out_scale, out_zero) = x_params, out_params
    ratio = np.float64(x_scale) / out_scale
    vectors = [
        _channels(x, ratio),
        _channels(x, -4 * np.asarray(x_zero), np.int16),
        _channels(x, out_zero, np.int16),
    ]
    return [
        Call(
            u8_scale(LANES=lanes),
            (
                out.at(c=start),
                x.at(c=start),
                At(factor.buffer, factor.offset + start),
                *(At(v, start) for v in vectors),
                x.height,
                x.width,
                count,
                out.row,
                out.pixel,
                x.row,
                x.pixel,
            ),
        )
        for start, count, lanes in _cover.vectors(x.channels)
    ]


def _channels(m, value, dtype=np.float32):
    return np.ascontiguousarray(np.broadcast_to(value, m.channels), dtype)


def copy(out, x):
    """Calls that copy a map of bytes with dense rows."""
    return [Call(u8_copy(), (out.at(), x.at(), x.height, x.width * x.channels, out.row, x.row))]
