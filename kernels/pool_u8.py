"""Maximum over windows of bytes."""

from typing import TYPE_CHECKING

from . import _target
from ._cover import overlapping
from ._divide import Axis
from ._jit import U8, kernel
from ._program import Call

if TYPE_CHECKING:
    from ._narrow import larger_u8, load_bytes, store_bytes


@kernel(
    "u8_max_pool__v{LANES}",
    work=lambda v: v["rows"] * v["columns"] * v["kernel_y"] * v["kernel_x"] * v["channels"] // 4,
    axes=(
        Axis("channels", "LANES", lambda v, c: {"out": c, "x": c}),
        Axis("rows", "", lambda v, y: {"out": y * v["out_row"], "top": -y * v["stride_y"]}),
    ),
    exact=True,
)
def u8_max_pool(
    out: U8,
    x: U8,
    channels: int,
    rows: int,
    columns: int,
    x_rows: int,
    x_columns: int,
    kernel_y: int,
    kernel_x: int,
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

    LANES are bytes; ``channels`` is a multiple of them.
    """
    for y in range(rows):
        y_first = max(y * stride_y - top, 0)
        y_last = min(y * stride_y - top + kernel_y, x_rows)
        for x0 in range(columns):
            x_first = max(x0 * stride_x - left, 0)
            x_last = min(x0 * stride_x - left + kernel_x, x_columns)
            for c in range(0, channels, LANES):
                best = load_bytes(x, y_first * x_row + x_first * x_step + c, LANES)
                for iy in range(y_first, y_last):
                    for ix in range(x_first, x_last):
                        best = larger_u8(best, load_bytes(x, iy * x_row + ix * x_step + c, LANES))
                store_bytes(out, y * out_row + x0 * out_step + c, best)


def max_pool(out, x, window):
    """Calls for the maximum over windows of a map of bytes, each of which holds some of it."""
    (top, _), (left, _) = window.padding
    sizes = (out.height, out.width, x.height, x.width, *window.kernel, *window.stride, top, left)
    strides = (x.pixel, x.row, out.pixel, out.row)
    widths = (4 * _target.lanes(), 16, 8, 4, 1)
    lanes = next(w for w in widths if w <= x.channels)
    return [
        Call(u8_max_pool(LANES=lanes), (out.at(c=start), x.at(c=start), count, *sizes, *strides))
        for start, count in overlapping(x.channels, lanes)
    ]
