"""Channels in another order."""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover
from ._divide import Axis
from ._jit import F32, I64, kernel
from ._program import Call

if TYPE_CHECKING:
    from ._pairs import store_pairs
    from ._simd import load


def _work(v):
    return v["rows"] * v["pixels"] * v["channels"]


def _rows_of(*maps):
    return (Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in maps}),)


@kernel("f32_take", _work, _rows_of("out", "x"))
def f32_take(
    out: F32,
    x: F32,
    order: I64,
    rows: int,
    pixels: int,
    channels: int,
    out_row: int,
    out_step: int,
    x_row: int,
    x_step: int,
):
    """Channel ``c`` of ``out`` is channel ``order[c]`` of ``x``."""
    for y in range(rows):
        for p in range(pixels):
            to = y * out_row + p * out_step
            at = y * x_row + p * x_step
            for c in range(channels):
                out[to + c] = x[at + order[c]]


@kernel("f32_interleave__v{LANES}", _work, _rows_of("out", "a", "b"))
def f32_interleave(
    out: F32,
    a: F32,
    b: F32,
    rows: int,
    pixels: int,
    channels: int,
    out_row: int,
    out_step: int,
    a_row: int,
    a_step: int,
    b_row: int,
    b_step: int,
):
    """Channels of ``out`` are those of ``a`` and of ``b`` by turns."""
    for y in range(rows):
        for p in range(pixels):
            to = y * out_row + p * out_step
            at_a = y * a_row + p * a_step
            at_b = y * b_row + p * b_step
            for c in range(0, channels, LANES):
                first = load(a, at_a + c, LANES)
                store_pairs(out, to + 2 * c, first, load(b, at_b + c, LANES))


def shuffled(channels, groups):
    """Order in which ShuffleNet's channel shuffle takes channels (Zhang et al., 2018)."""
    return np.arange(channels).reshape(groups, -1).T.reshape(-1)


def take(out, x, order):
    """Calls for a map of some channels of ``x``, in an order."""
    order = np.ascontiguousarray(order, np.int64)
    sizes = (out.height, out.width, out.channels, out.row, out.pixel, x.row, x.pixel)
    return [Call(f32_take(), (out.at(), x.at(), order, *sizes))]


def interleave(out, a, b):
    """Calls for the channels of two maps by turns."""
    strides = (out.row, out.pixel, a.row, a.pixel, b.row, b.pixel)
    return [
        Call(
            f32_interleave(LANES=lanes),
            (out.at(c=2 * start), a.at(c=start), b.at(c=start), a.height, a.width, count, *strides),
        )
        for start, count, lanes in _cover.vectors(a.channels)
    ]
