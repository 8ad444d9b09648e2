"""Elementwise operations over maps: kernels on rows, and the calls that cover a map with them."""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover
from ._divide import Axis
from ._jit import F32, U8, kernel
from ._program import At, Call
from .activation import BELL, FLOOR, GATE, SIGMOID, SILU, applied

if TYPE_CHECKING:
    from ._curves import bell_gate, clip_curve, sigmoid, tanh
    from ._simd import at_least, load, load_u8, store


def _rows_of(*maps):
    return (Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in maps}),)


def _values_of(*maps):
    return (*_rows_of(*maps), Axis("length", "LANES", lambda v, i: dict.fromkeys(maps, i)))


def _along_rows(v):
    return v["rows"] * v["length"]


def _over_pixels(v):
    return v["rows"] * v["pixels"] * v["channels"]


@kernel("f32_activation__v{LANES}", _along_rows, _values_of("out", "x"))
def f32_activation(
    out: F32, x: F32, rows: int, length: int, out_row: int, x_row: int, mode: int, curve: F32
):
    """An activation of ``rows`` rows of ``length`` values; ``out`` may be ``x``."""
    for y in range(rows):
        if mode == FLOOR:
            for i in range(0, length, LANES):
                store(out, y * out_row + i, at_least(load(x, y * x_row + i, LANES), 0.0))
            continue
        if mode == BELL:
            for i in range(0, length, LANES):
                store(out, y * out_row + i, bell_gate(load(x, y * x_row + i, LANES), curve))
            continue
        if mode >= SIGMOID:
            for i in range(0, length, LANES):
                c = load(x, y * x_row + i, LANES)
                g = sigmoid(c)
                store(out, y * out_row + i, c * g if mode == SILU else g)
            continue
        for i in range(0, length, LANES):
            c = load(x, y * x_row + i, LANES)
            g = clip_curve(c, curve)
            store(out, y * out_row + i, c * g if mode == GATE else g)


@kernel("f32_copy__v{LANES}", _along_rows, _values_of("out", "x"))
def f32_copy(out: F32, x: F32, rows: int, length: int, out_row: int, x_row: int):
    """Copy ``rows`` rows of ``length`` values."""
    for y in range(rows):
        for i in range(0, length, LANES):
            store(out, y * out_row + i, load(x, y * x_row + i, LANES))


@kernel("f32_add__v{LANES}", _along_rows, _values_of("out", "a", "b"))
def f32_add(out: F32, a: F32, b: F32, rows: int, length: int, out_row: int, a_row: int, b_row: int):
    """``a + b``; ``out`` may be either."""
    for y in range(rows):
        for i in range(0, length, LANES):
            total = load(a, y * a_row + i, LANES) + load(b, y * b_row + i, LANES)
            store(out, y * out_row + i, total)


@kernel("f32_multiply__v{LANES}", _along_rows, _values_of("out", "a", "b"))
def f32_multiply(
    out: F32, a: F32, b: F32, rows: int, length: int, out_row: int, a_row: int, b_row: int
):
    """``a * b``; ``out`` may be either."""
    for y in range(rows):
        for i in range(0, length, LANES):
            product = load(a, y * a_row + i, LANES) * load(b, y * b_row + i, LANES)
            store(out, y * out_row + i, product)


@kernel("f32_tanh__v{LANES}", _along_rows, _values_of("out", "x"))
def f32_tanh(out: F32, x: F32, rows: int, length: int, out_row: int, x_row: int):
    """``tanh(x)``; ``out`` may be ``x``."""
    for y in range(rows):
        for i in range(0, length, LANES):
            store(out, y * out_row + i, tanh(load(x, y * x_row + i, LANES)))


@kernel("f32_scale__v{LANES}", _over_pixels, _rows_of("out", "x"))
def f32_scale(
    out: F32,
    x: F32,
    scale: F32,
    rows: int,
    pixels: int,
    channels: int,
    out_row: int,
    out_step: int,
    x_row: int,
    x_step: int,
):
    """``x * scale[c]`` over rows of pixels of channels; ``out`` may be ``x``."""
    for y in range(rows):
        for p in range(pixels):
            for c in range(0, channels, LANES):
                v = load(x, y * x_row + p * x_step + c, LANES)
                store(out, y * out_row + p * out_step + c, v * load(scale, c, LANES))


@kernel("f32_scale_shift__v{LANES}", _over_pixels, _rows_of("out", "x"))
def f32_scale_shift(
    out: F32,
    x: F32,
    scale: F32,
    shift: F32,
    rows: int,
    pixels: int,
    channels: int,
    out_row: int,
    out_step: int,
    x_row: int,
    x_step: int,
):
    """``x * scale[c] + shift[c]`` over rows of pixels of channels; ``out`` may be ``x``."""
    for y in range(rows):
        for p in range(pixels):
            for c in range(0, channels, LANES):
                v = load(x, y * x_row + p * x_step + c, LANES) * load(scale, c, LANES)
                store(out, y * out_row + p * out_step + c, v + load(shift, c, LANES))


@kernel("u8_scale_shift__v{LANES}", _along_rows, _rows_of("out", "x"))
def u8_scale_shift(
    out: F32, x: U8, scale: F32, shift: F32, rows: int, length: int, out_row: int, x_row: int
):
    """``x * scale[i] + shift[i]`` along rows of uint8 ``x``, to float32."""
    for y in range(rows):
        for i in range(0, length, LANES):
            v = load_u8(x, y * x_row + i, LANES) * load(scale, i, LANES)
            store(out, y * out_row + i, v + load(shift, i, LANES))


@kernel("f32_zero_border")
def f32_zero_border(out: F32, before: int, rows: int, length: int, gap: int, after: int):
    """Zero ``before`` values, ``gap`` after each of ``rows`` rows of ``length``, then ``after``."""
    for i in range(before):
        out[i] = 0.0
    at = before
    for _ in range(rows):
        at += length
        for i in range(at, at + gap):
            out[i] = 0.0
        at += gap
    for i in range(at, at + after):
        out[i] = 0.0


def _runs(maps):
    """Maps of one shape as runs of contiguous values: (map row, runs, length, steps between runs).

    One long run where nothing has gaps, a run a row where pixels are dense, else one a pixel.
    """
    _, _, height, width, channels, _, _ = maps[0]
    if any(m.pixel != channels for m in maps):
        return [(y, width, channels, [m.pixel for m in maps]) for y in range(height)]
    if any(m.skip for m in maps):
        return [(0, height, width * channels, [m.row for m in maps])]
    return [(0, 1, height * width * channels, [m.row for m in maps])]


def _cover_rows(family, out, inputs, *parameters):
    maps = (out, *inputs)
    return [
        Call(
            family(LANES=lanes),
            (*(m.at(y, c=start) for m in maps), runs, count, *steps, *parameters),
        )
        for y, runs, length, steps in _runs(maps)
        for start, count, lanes in _cover.exact(length)
    ]


def activate(out, x, activation, slope=0.01):
    """Calls for an activation by name; ``slope`` is leaky_relu's."""
    return clip_line(out, x, *applied(activation, slope))


def clip_line(out, x, mode, curve):
    """Calls for a clipped line: how it is applied, and its (scale, shift, low, high)."""
    return _cover_rows(f32_activation, out, [x], mode, curve)


def copy(out, x):
    """Calls that copy a map."""
    return _cover_rows(f32_copy, out, [x])


def add(out, a, b):
    """Calls for the sum of two maps."""
    return _cover_rows(f32_add, out, [a, b])


def multiply(out, a, b):
    """Calls for the product of two maps, element by element."""
    return _cover_rows(f32_multiply, out, [a, b])


def tanh_of(out, x):
    """Calls for the hyperbolic tangent of a map."""
    return _cover_rows(f32_tanh, out, [x])


def scale_shift(out, x, scale, shift=None):
    """Calls for ``x * scale + shift``, both vectors over channels (arrays or places)."""
    calls = []
    for start, count, lanes in _cover.exact(x.channels):
        vectors = [_from(v, start) for v in (scale, shift) if v is not None]
        family = f32_scale if shift is None else f32_scale_shift
        sizes = (x.height, x.width, count, out.row, out.pixel, x.row, x.pixel)
        args = (out.at(c=start), x.at(c=start), *vectors, *sizes)
        calls.append(Call(family(LANES=lanes), args))
    return calls


def _from(place, start):
    place = place if isinstance(place, At) else At(place)
    return At(place.buffer, place.offset + start)


def normalise_u8(out, x, scale, shift):
    """Calls for ``x * scale + shift`` of a uint8 map, ``scale`` and ``shift`` over channels."""
    along = [np.tile(np.asarray(v, np.float32), x.width) for v in (scale, shift)]
    return [
        Call(
            u8_scale_shift(LANES=lanes),
            (
                At(out.buffer, out.offset + start),
                At(x.buffer, x.offset + start),
                *(At(v, start) for v in along),
                x.height,
                count,
                out.row,
                x.row,
            ),
        )
        for start, count, lanes in _cover.exact(x.width * x.channels)
    ]
