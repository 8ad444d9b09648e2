"""Pixels in another order."""

from typing import TYPE_CHECKING

import numpy as np

from . import _cover
from ._jit import F32, I64, kernel
from ._program import Call

if TYPE_CHECKING:
    from ._simd import load, store


@kernel("f32_move_pixels__v{LANES}", lambda v: v["pixels"] * v["channels"])
def f32_move_pixels(out: F32, x: F32, to: I64, at: I64, pixels: int, channels: int):
    """Copy ``channels`` values of ``pixels`` pixels from ``x[at[p]]`` on to ``out[to[p]]`` on."""
    for p in range(pixels):
        for c in range(0, channels, LANES):
            store(out, to[p] + c, load(x, at[p] + c, LANES))


def _places(m, pixels):
    y, x = np.divmod(np.asarray(pixels, np.int64), m.width)
    return y * m.row + x * m.pixel


def move(out, x, to, at):
    """Calls that copy pixels ``at`` of a map to pixels ``to`` of another, in raster order."""
    places = _places(out, to), _places(x, at)
    return [
        Call(
            f32_move_pixels(LANES=lanes),
            (out.at(c=start), x.at(c=start), *places, len(at), count),
        )
        for start, count, lanes in _cover.exact(x.channels)
    ]
