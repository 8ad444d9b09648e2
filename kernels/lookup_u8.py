"""Functions of a byte: a table of 256 results, taken value by value."""

from typing import TYPE_CHECKING

from . import _target
from ._cover import overlapping
from ._divide import Axis
from ._jit import F32, U8, kernel, unroll
from ._program import At, Call

if TYPE_CHECKING:
    from ._narrow import load_bytes, look_up_u8, store_bytes

_AXES = (
    Axis("rows", "", lambda v, y: {m: y * v[f"{m}_row"] for m in ("out", "x")}),
    Axis("length", "LANES", lambda v, i: {"out": i, "x": i}),
)


@kernel("u8_lookup__v{LANES}", lambda v: v["rows"] * v["length"] // v["LANES"], _AXES)
def u8_lookup(out: U8, x: U8, table: U8, rows: int, length: int, out_row: int, x_row: int):
    """``out = table[x]`` along ``rows`` rows of ``length`` bytes, a multiple of LANES: 64 or 1."""
    if LANES == 64:
        for k in unroll(4):
            reg_t[k] = load_bytes(table, k * 64, LANES)
        for y in range(rows):
            for i in range(0, length, LANES):
                b = load_bytes(x, y * x_row + i, LANES)
                found = look_up_u8(b, reg_t[0], reg_t[1], reg_t[2], reg_t[3])
                store_bytes(out, y * out_row + i, found)
    else:
        for y in range(rows):
            for i in range(length):
                out[y * out_row + i] = table[x[y * x_row + i]]


@kernel("f32_lookup", lambda v: v["rows"] * v["length"], _AXES[:1])
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
    rows, length = x.height, x.width * x.channels
    steps = out.row, x.row
    starts = [0]
    if any(m.pixel != m.channels for m in (out, x)):
        rows, length, starts = x.width, x.channels, range(x.height)
        steps = out.pixel, x.pixel
    elif not out.skip and not x.skip:
        rows, length, steps = 1, rows * length, (0, 0)
    real = table.dtype == "float32"
    wide = not real and length >= 64 and _target.looks_up()
    family = f32_lookup() if real else u8_lookup(LANES=64 if wide else 1)
    pieces = overlapping(length, 64) if wide else [(0, length)]
    return [
        Call(family, (out.at(y, c=at), x.at(y, c=at), At(table, 0), rows, count, *steps))
        for y in starts
        for at, count in pieces
    ]
