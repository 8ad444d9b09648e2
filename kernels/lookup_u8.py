"""Functions of a byte: a table of 256 results, taken value by value."""

from ._divide import Axis
from ._jit import F32, U8, kernel
from ._program import At, Call

_ROWS = Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in ("out", "x")})


@kernel("u8_lookup", lambda v: v["rows"] * v["length"], (_ROWS,))
def u8_lookup(out: U8, x: U8, table: U8, rows: int, length: int, out_row: int, x_row: int):
    """``out = table[x]`` along ``rows`` rows of ``length`` bytes."""
    for y in range(rows):
        for i in range(length):
            out[y * out_row + i] = table[x[y * x_row + i]]


@kernel("f32_lookup", lambda v: v["rows"] * v["length"], (_ROWS,))
def f32_lookup(out: F32, x: U8, table: F32, rows: int, length: int, out_row: int, x_row: int):
    """``out = table[x]`` along ``rows`` rows of ``length`` bytes."""
    for y in range(rows):
        for i in range(length):
            out[y * out_row + i] = table[x[y * x_row + i]]


def lookup(out, x, table):
    """Calls for a function of each byte of a map.

    Parameters
    ----------
    out : Map
        (H, W, C) of uint8 or float32, as ``table`` is.
    x : Map
        (H, W, C) of uint8.
    table : ndarray
        (256,) uint8 or float32.
    """
    family = (f32_lookup if table.dtype == "float32" else u8_lookup)()
    rows, length = x.height, x.width * x.channels
    steps = out.row, x.row
    if any(m.pixel != m.channels for m in (out, x)):
        pairs = [(out.at(y), x.at(y)) for y in range(x.height)]
        rows, length, steps = x.width, x.channels, (out.pixel, x.pixel)
    else:
        pairs = [(out.at(), x.at())]
    return [Call(family, (*pair, At(table, 0), rows, length, *steps)) for pair in pairs]
