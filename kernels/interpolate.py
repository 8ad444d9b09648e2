"""Maps between their pixels: bilinear interpolation at rows and columns of any place."""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover
from ._divide import Axis
from ._jit import F32, I64, kernel
from ._program import At, Call

if TYPE_CHECKING:
    from ._simd import broadcast, fma, load, store


def _later_rows(v, y):
    return {"out": y * v["out_row"], "rows": 2 * y, "row_weights": y}


@kernel(
    "f32_bilinear__v{LANES}",
    work=lambda v: 3 * v["height"] * v["width"] * v["channels"],
    axes=(Axis("height", "", _later_rows),),
)
def f32_bilinear(
    out: F32,
    x: F32,
    rows: I64,
    row_weights: F32,
    columns: I64,
    column_weights: F32,
    height: int,
    width: int,
    channels: int,
    out_row: int,
    out_step: int,
):
    """Between two rows and two columns of ``x``, whose offsets lie in pairs.

    ``channels`` is a multiple of LANES. A weight is the share of its pair's second.
    """
    for y in range(height):
        top = rows[2 * y]
        bottom = rows[2 * y + 1]
        down = broadcast(row_weights, y, LANES)
        for i in range(width):
            left = columns[2 * i]
            right = columns[2 * i + 1]
            along = broadcast(column_weights, i, LANES)
            at = y * out_row + i * out_step
            for c in range(0, channels, LANES):
                a = load(x, top + left + c, LANES)
                a = fma(load(x, top + right + c, LANES) - a, along, a)
                b = load(x, bottom + left + c, LANES)
                b = fma(load(x, bottom + right + c, LANES) - b, along, b)
                store(out, at + c, fma(b - a, down, a))


def bilinear(out, x, rows, columns):
    """Calls for the values of a map between its pixels.

    Parameters
    ----------
    out : Map
        (H', W', C).
    x : Map
        (H, W, C).
    rows, columns : ndarray
        (H',) and (W',): places among those of ``x``; beyond its edges it goes on as there.
    """
    row_offsets, row_weights = _neighbours(rows, x.height, x.row)
    column_offsets, column_weights = _neighbours(columns, x.width, x.pixel)
    return [
        Call(
            f32_bilinear(LANES=lanes),
            (
                out.at(c=start),
                x.at(c=start),
                *(At(row_offsets), At(row_weights), At(column_offsets), At(column_weights)),
                *(out.height, out.width, count, out.row, out.pixel),
            ),
        )
        for start, count, lanes in _cover.vectors(out.channels)
    ]


def _neighbours(places, count, step):
    """Offsets (n, 2) of the pixels around each place, and the second one's weight."""
    places = np.clip(np.asarray(places, np.float64), 0, count - 1)
    first = np.floor(places).astype(np.int64)
    both = np.stack([first, np.minimum(first + 1, count - 1)], 1)
    return both * step, (places - first).astype(np.float32)
