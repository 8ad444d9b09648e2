"""Pooling."""

from typing import TYPE_CHECKING

from . import _cover
from ._divide import Axis
from ._jit import F32, kernel, unroll
from ._program import Call

if TYPE_CHECKING:
    from ._simd import load, maximum, splat, store

_CHANNELS = Axis("channels", "LANES", lambda v, c: {"out": c, "x": c})


@kernel(
    "f32_global_avg_pool__v{LANES}",
    work=lambda v: v["rows"] * v["pixels"] * v["channels"],
    axes=(_CHANNELS,),
)
def f32_global_avg_pool(
    out: F32, x: F32, rows: int, pixels: int, channels: int, x_row: int, x_step: int
):
    """Mean over ``rows`` x ``pixels`` of each channel; each row is summed by itself."""
    for c in range(0, channels, LANES):
        total = splat(0.0, LANES)
        for y in range(rows):
            even = splat(0.0, LANES)
            odd = splat(0.0, LANES)
            for p in range(0, pixels - 1, 2):
                even = even + load(x, y * x_row + p * x_step + c, LANES)
                odd = odd + load(x, y * x_row + (p + 1) * x_step + c, LANES)
            if pixels % 2:
                even = even + load(x, y * x_row + (pixels - 1) * x_step + c, LANES)
            total = total + (even + odd)
        store(out, c, total / splat(rows * pixels, LANES))


@kernel(
    "f32_pool__v{LANES}",
    work=lambda v: v["out_rows"] * v["out_columns"] * v["kernel_y"] * v["kernel_x"] * v["channels"],
    axes=(_CHANNELS,),
)
def f32_pool(
    out: F32,
    x: F32,
    channels: int,
    out_rows: int,
    out_columns: int,
    rows: int,
    columns: int,
    kernel_y: int,
    kernel_x: int,
    stride_y: int,
    stride_x: int,
    top: int,
    left: int,
    dilation_y: int,
    dilation_x: int,
    x_step: int,
    x_row: int,
    out_step: int,
    out_row: int,
    average: int,
    divisor: int,
):
    """Maximum, or mean if ``average``, over windows clipped to the map, which needs no border.

    ``divisor`` is what a mean's sum is divided by; 0 means the number of taps inside the map.
    """
    for y in range(out_rows):
        for x0 in range(out_columns):
            for c in range(0, channels, LANES):
                best = splat(-float("inf"), LANES)
                total = splat(0.0, LANES)
                taps = 0
                for ky in range(kernel_y):
                    iy = y * stride_y - top + ky * dilation_y
                    for kx in range(kernel_x):
                        ix = x0 * stride_x - left + kx * dilation_x
                        if 0 <= iy and iy < rows and 0 <= ix and ix < columns:
                            v = load(x, iy * x_row + ix * x_step + c, LANES)
                            best = maximum(best, v)
                            total = total + v
                            taps += 1
                if average:
                    best = total / splat(divisor if divisor else taps, LANES)
                store(out, y * out_row + x0 * out_step + c, best)


@kernel(
    "f32_max_pool_{KH}x{KW}__v{LANES}",
    work=lambda v: v["rows"] * v["columns"] * v["KH"] * v["KW"] * v["channels"],
    axes=(
        _CHANNELS,
        Axis("rows", "", lambda v, y: {"out": y * v["out_row"], "top": -y * v["stride_y"]}),
    ),
)
def f32_max_pool(
    out: F32,
    x: F32,
    channels: int,
    rows: int,
    columns: int,
    x_rows: int,
    x_columns: int,
    stride_y: int,
    stride_x: int,
    top: int,
    left: int,
    x_step: int,
    x_row: int,
    out_step: int,
    out_row: int,
):
    """Maximum over windows that all hold some of the map, which needs no border.

    Of a window's taps beyond the map, each stands for the nearest one inside, which is in the
    window too.
    """
    for y in range(rows):
        for i in unroll(KH):
            reg_y[i] = min(max(y * stride_y - top + i, 0), x_rows - 1) * x_row
        for x0 in range(columns):
            for j in unroll(KW):
                reg_x[j] = min(max(x0 * stride_x - left + j, 0), x_columns - 1) * x_step
            for c in range(0, channels, LANES):
                best = load(x, reg_y[0] + reg_x[0] + c, LANES)
                for i in unroll(KH):
                    for j in unroll(KW):
                        if i + j > 0:
                            best = maximum(best, load(x, reg_y[i] + reg_x[j] + c, LANES))
                store(out, y * out_row + x0 * out_step + c, best)


LARGEST = 5
"""Side of a window whose taps are written out."""


def global_avg_pool(out, x):
    """Calls for the mean of each channel; ``out`` is a (1, 1, C) map."""
    return [
        Call(
            f32_global_avg_pool(LANES=lanes),
            (out.at(c=start), x.at(c=start), x.height, x.width, count, x.row, x.pixel),
        )
        for start, count, lanes in _cover.vectors(x.channels)
    ]


def pool(out, x, window, average=False, count_include_pad=True):
    """Calls for max or average pooling over a window."""
    if not average and _is_small(window):
        return _max_pool(out, x, window)
    divisor = window.kernel[0] * window.kernel[1] if average and count_include_pad else 0
    (top, _), (left, _) = window.padding
    sizes = (out.height, out.width, x.height, x.width, *window.kernel, *window.stride, top, left)
    strides = (*window.dilation, x.pixel, x.row, out.pixel, out.row)
    return [
        Call(
            f32_pool(LANES=lanes),
            (out.at(c=start), x.at(c=start), count, *sizes, *strides, int(average), divisor),
        )
        for start, count, lanes in _cover.vectors(x.channels)
    ]


def _is_small(window):
    """Whether :func:`f32_max_pool` serves a window."""
    inside = all(max(sides) < k for sides, k in zip(window.padding, window.kernel, strict=True))
    return inside and max(window.kernel) <= LARGEST and window.dilation == (1, 1)


def _max_pool(out, x, window):
    (top, _), (left, _) = window.padding
    sizes = (out.height, out.width, x.height, x.width, *window.stride, top, left)
    strides = (x.pixel, x.row, out.pixel, out.row)
    return [
        Call(
            f32_max_pool(KH=window.kernel[0], KW=window.kernel[1], LANES=lanes),
            (out.at(c=start), x.at(c=start), count, *sizes, *strides),
        )
        for start, count, lanes in _cover.vectors(x.channels)
    ]
