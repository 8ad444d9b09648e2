"""Pooling."""

from typing import TYPE_CHECKING

from . import _cover
from ._divide import Axis
from ._jit import F32, kernel
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
