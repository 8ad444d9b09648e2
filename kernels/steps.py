"""Real values rounded to steps of a scale: what integers wider than a byte can hold of them."""

from typing import TYPE_CHECKING

from . import _cover
from ._divide import Axis
from ._jit import F32, kernel
from ._program import Call

if TYPE_CHECKING:
    from ._int import clip, to_f32
    from ._narrow import to_s32_even
    from ._simd import load, splat, store

_ROWS = Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in ("out", "x")})


@kernel("f32_round_steps__v{LANES}", lambda v: v["rows"] * v["length"], (_ROWS,), exact=True)
def f32_round_steps(
    out: F32,
    x: F32,
    rows: int,
    length: int,
    out_row: int,
    x_row: int,
    scale: float,
    low: float,
    high: float,
):
    """``clip(x / scale, low, high)``, rounded to even, ``* scale``; NaN becomes ``low``.

    ``length`` is a multiple of LANES; the bounds are whole numbers that int32 holds.
    """
    step = splat(scale, LANES)
    for y in range(rows):
        for i in range(0, length, LANES):
            steps = clip(load(x, y * x_row + i, LANES) / step, low, high)
            store(out, y * out_row + i, to_f32(to_s32_even(steps)) * step)


def round_steps(out, x, scale, low, high):
    """Calls that round a map of float32 to steps; ``out`` is another map."""
    numbers = (float(scale), float(low), float(high))
    rows, length, steps, starts = x.height, x.width * x.channels, (out.row, x.row), [0]
    if any(m.pixel != m.channels for m in (out, x)):
        rows, length, steps, starts = x.width, x.channels, (out.pixel, x.pixel), range(x.height)
    return [
        Call(
            f32_round_steps(LANES=lanes),
            (out.at(y, c=start), x.at(y, c=start), rows, count, *steps, *numbers),
        )
        for y in starts
        for start, count, lanes in _cover.vectors(length)
    ]
