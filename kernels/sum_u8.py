"""Sums of two maps of bytes, as bytes."""

from typing import TYPE_CHECKING

from . import _cover
from ._divide import Axis
from ._jit import U8, kernel
from ._program import Call

if TYPE_CHECKING:
    from ._int import clip, store_u8_even
    from ._simd import load_u8, splat

_ROWS = Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in ("out", "a", "b")})


@kernel("u8_sum__v{LANES}", lambda v: v["rows"] * v["length"], (_ROWS,), exact=True)
def u8_sum(
    out: U8,
    a: U8,
    b: U8,
    rows: int,
    length: int,
    out_row: int,
    a_row: int,
    b_row: int,
    a_scale: float,
    a_zero: float,
    b_scale: float,
    b_zero: float,
    inverse: float,
    low: float,
    high: float,
    zero: float,
):
    """``clip(((a - a_zero) * a_scale + (b - b_zero) * b_scale) * inverse, low, high) + zero``.

    Rounded to even, along rows of ``length`` (a multiple of LANES); ``low`` and ``high`` keep the
    result a byte.
    """
    z = splat(zero, LANES)
    for y in range(rows):
        for i in range(0, length, LANES):
            one = (load_u8(a, y * a_row + i, LANES) - a_zero) * a_scale
            two = (load_u8(b, y * b_row + i, LANES) - b_zero) * b_scale
            steps = clip((one + two) * inverse, low, high)
            store_u8_even(out, y * out_row + i, steps, z)


def add(out, a, b, a_params, b_params, out_params, bounds):
    """Calls for the sum of two maps of bytes.

    Parameters
    ----------
    out, a, b : Map
        (H, W, C) of uint8, ``out`` none of the others.
    a_params, b_params, out_params : tuple
        Scale and zero point, a whole number, of each.
    bounds : tuple of float
        The least and the greatest real value of the result.
    """
    (scale, zero), (low, high) = out_params, bounds
    numbers = (
        *map(float, (*a_params, *b_params)),
        1.0 / float(scale),
        float(max(low / scale, -zero)),
        float(min(high / scale, 255 - zero)),
        float(zero),
    )
    maps = (out, a, b)
    rows, length, steps = a.height, a.width * a.channels, tuple(m.row for m in maps)
    places = [(0, *steps)]
    if any(m.pixel != m.channels for m in maps):
        rows, length, steps = a.width, a.channels, tuple(m.pixel for m in maps)
        places = [(y, *steps) for y in range(a.height)]
    return [
        Call(
            u8_sum(LANES=lanes),
            (*(m.at(y, c=start) for m in maps), rows, count, *steps, *numbers),
        )
        for y, *_ in places
        for start, count, lanes in _cover.vectors(length)
    ]
