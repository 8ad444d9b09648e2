"""Antialiased bilinear resampling of a window of an image, as Pillow's ``resize(box=...)``."""

import functools
from typing import TYPE_CHECKING

import numpy as np

from . import _target
from ._jit import F32, I64, U8, address_of, kernel, unroll
from ._program import At, Call, run

if TYPE_CHECKING:
    from ._simd import (
        at_least,
        at_most,
        broadcast,
        fma,
        load,
        load_u8,
        part,
        splat,
        store,
        store_u8,
    )

SLACK = 64
"""Elements that a kernel may touch past the end of a row of scratch or output."""

ROWS = 4
"""Output rows that are computed at a time: each weight along a row serves them all."""


@kernel("u8_resize_{NV}x{LANES}_{ROWS}__v{LANES}")
def u8_resize(
    out: U8,
    x: U8,
    rows: F32,
    result: F32,
    height: int,
    width: int,
    pitch: int,
    span: int,
    y_first: I64,
    y_weights: F32,
    y_taps: int,
    x_first: I64,
    x_weights: F32,
    x_taps: int,
    result_row: int,
):
    """Weighted sums of rows, then of pixels of 4 bytes; 3 channels a pixel go out.

    Output row y sums ``y_taps`` rows of ``x`` from row ``y_first[y]`` on, ``span`` bytes of each;
    output pixel i then sums ``x_taps`` pixels from byte ``x_first[i]`` of that on. ``pitch`` is
    the bytes from row to row. ROWS output rows are computed at a time, their pixels next to each
    other in the scratch ``rows``; ``result`` is scratch too.
    """
    wide = span - span % (NV * LANES)
    values = 3 * width
    for first in range(0, height, ROWS):
        for i in range(0, wide, NV * LANES):
            for r in range(ROWS):
                y = min(first + r, height - 1)
                for v in unroll(NV):
                    reg_s[v] = splat(0.0, LANES)
                for t in range(y_taps):
                    w = broadcast(y_weights, y * y_taps + t, LANES)
                    for v in unroll(NV):
                        a = load_u8(x, (y_first[y] + t) * pitch + i + v * LANES, LANES)
                        reg_s[v] = fma(a, w, reg_s[v])
                for v in unroll(NV):
                    for q in unroll(LANES // 4):
                        at = ROWS * (i + v * LANES + 4 * q) + 4 * r
                        store(rows, at, part(reg_s[v], 4 * q, 4))
        for i in range(wide, span, 4):
            for r in range(ROWS):
                y = min(first + r, height - 1)
                s4 = splat(0.0, 4)
                for t in range(y_taps):
                    w4 = broadcast(y_weights, y * y_taps + t, 4)
                    s4 = fma(load_u8(x, (y_first[y] + t) * pitch + i, 4), w4, s4)
                store(rows, ROWS * i + 4 * r, s4)
        for i in range(width):
            p = splat(0.0, 4 * ROWS)
            for t in range(x_taps):
                w = broadcast(x_weights, i * x_taps + t, 4 * ROWS)
                p = fma(load(rows, ROWS * (x_first[i] + 4 * t), 4 * ROWS), w, p)
            for r in unroll(ROWS):
                store(result, r * result_row + 3 * i, part(p, 4 * r, 4))
        for r in range(ROWS):
            y = min(first + r, height - 1)
            for i in range(0, values, LANES):
                c = load(result, r * result_row + i, LANES)
                store_u8(out, y * values + i, at_most(at_least(c, 0.0), 255.0))


@functools.lru_cache(maxsize=512)
def coefficients(size, start, stop, count):
    """First sample and weights of each output value along one axis.

    Pillow's ``precompute_coeffs`` with the triangle filter: value i is centred at
    ``start + (i + 1/2) * scale``, reaches ``max(scale, 1)`` to both sides, and its weights sum
    to 1.

    Parameters
    ----------
    size : int
        Samples there are.
    start, stop : float
        The window, in samples.
    count : int
        Values to make of it.

    Returns
    -------
    first : ndarray
        (count,) int64.
    weights : ndarray
        (count, taps) float32; zero where a value has fewer taps.
    """
    scale = (stop - start) / count
    reach = max(scale, 1.0)
    centre = start + (np.arange(count) + 0.5) * scale
    first = np.maximum(np.floor(centre - reach + 0.5), 0).astype(np.int64)
    last = np.minimum(np.floor(centre + reach + 0.5), size).astype(np.int64)
    taps = min(int((last - first).max()), size)
    first = np.minimum(first, size - taps)
    samples = first[:, None] + np.arange(taps)
    weights = np.maximum(1 - np.abs(samples + 0.5 - centre[:, None]) / reach, 0)
    weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    first.flags.writeable = weights.flags.writeable = False
    return first, weights


def resize_kernel():
    """The kernel of :func:`resize`."""
    return u8_resize(NV=4, LANES=_target.lanes(), ROWS=ROWS)


def resize(pixels, box, size):
    """Resample a window of an image with antialiased bilinear weights.

    Agrees with ``PIL.Image.resize(size, BILINEAR, box)`` to one grey level.

    Parameters
    ----------
    pixels : ndarray
        (H, W, 4) uint8, C-contiguous; the fourth channel is ignored.
    box : tuple of float
        (left, top, right, bottom) in pixels.
    size : tuple of int
        (width, height) of the result.

    Returns
    -------
    ndarray
        (height, width, 3) uint8, C-contiguous.
    """
    height, width = pixels.shape[:2]
    left, top, right, bottom = box
    x_first, x_weights = coefficients(width, left, right, size[0])
    y_first, y_weights = coefficients(height, top, bottom, size[1])
    begin = int(x_first[0])
    span = 4 * (int(x_first[-1]) + x_weights.shape[1] - begin)
    values = 3 * size[0]
    rows = _aligned(ROWS * span)
    result = np.empty(ROWS * (values + SLACK), np.float32)
    out = np.empty(values * size[1] + SLACK, np.uint8)
    offsets = (x_first - begin) * 4
    vertical = y_first, y_weights, y_weights.shape[1]
    horizontal = offsets, x_weights, x_weights.shape[1], values + SLACK
    lines = rows, result, size[1], size[0], 4 * width, span
    run([Call(resize_kernel(), (out, At(pixels, 4 * begin), *lines, *vertical, *horizontal))])
    return out[: values * size[1]].reshape(size[1], size[0], 3)


def _aligned(count):
    """So many float32, undefined, from the start of a cache line on."""
    room = np.empty(count + 16, np.float32)
    first = -address_of(room) // 4 % 16
    return room[first : first + count]
