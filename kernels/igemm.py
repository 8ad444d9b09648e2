"""Matrix product over convolution windows ("implicit GEMM"): every dense convolution of a network.

A pixel of the output is a row: the sum over *segments* of contiguous input values times packed
weights. A 1x1 convolution has one segment of C values; a k x k convolution without dilation has k
segments of k * C values; dilation and groups make k * k of them. The input map carries its zero
border, so no tap is ever tested.
"""

import contextlib
import contextvars
import functools
import json
from typing import TYPE_CHECKING

import numpy as np

from . import _target, _tiles
from ._cover import overlapping
from ._divide import Axis
from ._jit import F32, I64, kernel, unroll
from ._memory import aligned
from ._program import At, Call
from .activation import activate, expansion

if TYPE_CHECKING:
    from ._control import prefetch
    from ._pairs import store_pairs
    from ._simd import broadcast, fma, load, store


def later_rows(v, r):
    """A run of pixels that starts ``r`` later: as many steps, and a skip for each row's end."""
    wraps, column = divmod(v["column"] + r, v["width"])
    shift = {m: r * v[f"{m}_step"] + wraps * v[f"{m}_skip"] for m in ("x", "out", "residual")}
    return shift | {"column": column - v["column"]}


def _later_panels(v, j):
    n = j * v["NR"]
    out = 2 * n if v["TURNS"] else n
    return {"out": out, "bias": n, "residual": n, "weights": n * v["segments"] * v["length"]}


@kernel(
    "f32_igemm_{MR}x{NR}{CURVE}{TURNS}{WRAPS}__v{LANES}",
    work=lambda v: v["rows"] * v["panels"] * v["NR"] * v["segments"] * v["length"],
    axes=(Axis("rows", "MR", later_rows), Axis("panels", "", _later_panels)),
)
def f32_igemm(
    out: F32,
    x: F32,
    weights: F32,
    bias: F32,
    residual: F32,
    offsets: I64,
    segments: int,
    length: int,
    rows: int,
    panels: int,
    column: int,
    width: int,
    x_step: int,
    x_skip: int,
    out_step: int,
    out_skip: int,
    residual_step: int,
    residual_skip: int,
    sum_first: int,
    mode: int,
    curve: F32,
    ahead: F32,
    ahead_step: int,
):
    """``out = activation(x (*) weights + bias) + residual`` over a run of output pixels.

    If ``sum_first``, ``activation(x (*) weights + bias + residual)``.

    ``rows`` (a multiple of MR) pixels in raster order from ``column`` of a row of ``width``; a
    pixel's data is ``*_step`` elements after its neighbour's, plus ``*_skip`` at the end of a row.
    Segment s of a pixel starts ``offsets[s]`` after it and has ``length`` values. ``weights`` is
    packed (panels, segments * length, NR), ``bias`` (panels * NR). ``residual`` may be null.

    Each step of a sum asks for the cache line of ``ahead``, and the next step for one that lies
    ``ahead_step`` / 65536 values later.

    With TURNS nothing is added: a pixel of ``out`` is the values of ``residual`` and the results by
    turns.

    Without WRAPS, ``width`` less ``column`` is a multiple of MR: no tile goes on in the next row.
    """
    ahead_at = 0
    for j in range(panels):
        w_panel = j * segments * length * NR
        n = j * NR
        col = column
        x_at = 0
        out_at = n
        residual_at = n
        if TURNS:
            out_at = 2 * n
        for _ in range(0, rows, MR):
            if WRAPS:
                for r in unroll(MR):
                    reg_x[r] = x_at
                    reg_out[r] = out_at
                    reg_residual[r] = residual_at
                    x_at += x_step
                    out_at += out_step
                    residual_at += residual_step
                    col += 1
                    if col == width:
                        col = 0
                        x_at += x_skip
                        out_at += out_skip
                        residual_at += residual_skip
            else:
                for r in unroll(MR):
                    reg_x[r] = x_at + r * x_step
                    reg_out[r] = out_at + r * out_step
                    reg_residual[r] = residual_at + r * residual_step
                x_at += MR * x_step
                out_at += MR * out_step
                residual_at += MR * residual_step
                col += MR
                if col == width:
                    col = 0
                    x_at += x_skip
                    out_at += out_skip
                    residual_at += residual_skip
            for v in unroll(NR // LANES):
                reg_b[v] = load(bias, n + v * LANES, LANES)
                for r in unroll(MR):
                    reg_c[r, v] = reg_b[v]
            w_at = w_panel
            for s in range(segments):
                begin = offsets[s]
                for p in range(begin, begin + length):
                    for v in unroll(NR // LANES):
                        reg_b[v] = load(weights, w_at + v * LANES, LANES)
                    w_at += NR
                    prefetch(ahead, ahead_at >> 16)
                    ahead_at += ahead_step
                    for r in unroll(MR):
                        a = broadcast(x, reg_x[r] + p, LANES)
                        for v in unroll(NR // LANES):
                            reg_c[r, v] = fma(a, reg_b[v], reg_c[r, v])
            if sum_first:
                for r in unroll(MR):
                    for v in unroll(NR // LANES):
                        reg_c[r, v] = reg_c[r, v] + load(
                            residual, reg_residual[r] + v * LANES, LANES
                        )
            activate(reg_c, mode, curve)
            if TURNS:
                for r in unroll(MR):
                    for v in unroll(NR // LANES):
                        a = load(residual, reg_residual[r] + v * LANES, LANES)
                        store_pairs(out, reg_out[r] + 2 * v * LANES, a, reg_c[r, v])
            else:
                if residual_step and not sum_first:
                    for r in unroll(MR):
                        for v in unroll(NR // LANES):
                            reg_c[r, v] = reg_c[r, v] + load(
                                residual, reg_residual[r] + v * LANES, LANES
                            )
                for r in unroll(MR):
                    for v in unroll(NR // LANES):
                        store(out, reg_out[r] + v * LANES, reg_c[r, v])


TILES = {
    16: {7: [(48, 16), (32, 16), (24, 8), (16, 16), (8, 8)], 1: [(64, 16), (16, 16), (8, 8)]},
    8: {4: [(24, 8), (16, 8), (8, 8)], 1: [(32, 8), (8, 8)]},
    4: {6: [(8, 4), (4, 4)], 1: [(16, 4), (4, 4)]},
}
"""For each lane count of the target: rows of a tile to its widths, as (NR, lanes of a vector)."""


def tiles():
    """Rows of a tile to its widths: as tuned for this machine, else as shipped.

    Whatever the tiles, each value is the same sum in the same order.
    """
    return _tried.get() or _tuned(_target.lanes()) or TILES[_target.lanes()]


_tried = contextvars.ContextVar("tiles on trial", default=None)


@contextlib.contextmanager
def trying(table):
    """Use tiles for a while, here alone: nothing of them is kept."""
    token = _tried.set(table)
    try:
        yield
    finally:
        _tried.reset(token)


@functools.cache
def _tuned(lanes):
    table = _target.kept(_tuned_path(lanes))
    if table is None:
        return None
    return {int(rows): [tuple(w) for w in widths] for rows, widths in json.loads(table).items()}


def _tuned_path(lanes):
    return _target.cache_dir() / f"tiles-{lanes}.json"


def keep_tiles(table):
    """Remember tiles for this machine, in this process and later ones; None forgets them."""
    path = _tuned_path(_target.lanes())
    if table is None:
        path.unlink(missing_ok=True)
    else:
        _target.keep(path, json.dumps(table).encode())
    _tuned.cache_clear()


def row_tile(pixels):
    """Rows MR of the tiles for a map of so many pixels."""
    return _tiles.row_tile(tiles(), pixels)


def column_tiles(channels, mr):
    """Pieces (start, count, NR, lanes) that cover the output channels."""
    return _tiles.column_tiles(tiles()[mr], channels)


def pack(weights, mr):
    """Weights (N, K) for tiles of ``mr`` rows: (panels, K, NR) of each column piece, end to end."""
    n, k = weights.shape
    pieces = [
        weights[start : start + count].reshape(count // nr, nr, k).transpose(0, 2, 1)
        for start, count, nr, _ in column_tiles(n, mr)
    ]
    return aligned(np.concatenate([piece.reshape(-1) for piece in pieces]), np.float32)


def products(
    out,
    x,
    stride,
    packed,
    bias,
    offsets,
    length,
    activation,
    residual=None,
    sum_first=False,
    by_turns=False,
):
    """Calls for one product over the windows of a map.

    Parameters
    ----------
    out : Map
        (H, W, N), or (H, W, 2 * N) if ``by_turns``.
    x : Map
        Bordered input, placed at the first tap of the first window.
    stride : tuple of int
        Rows and columns between windows.
    packed : ndarray
        :func:`pack` of (N, segments * length), for the tile rows that suit ``out``.
    bias : ndarray
        (N,) float32.
    offsets : ndarray
        (segments,) int64: elements from a window's first tap to each segment.
    length : int
        Values in a segment.
    activation : tuple
        :func:`applied`.
    residual : Map, optional
        (H, W, N), added after the activation; not ``out`` itself, parts of which may be computed
        twice.
    sum_first : bool
        Whether it is added before the activation.
    by_turns : bool
        Whether it is not added: its channels become the even ones of ``out``, the results the odd
        ones.
    """
    pixels = out.height * out.width
    mr = row_tile(pixels)
    x_step, x_row = stride[1] * x.pixel, stride[0] * x.row
    x_skip, out_skip = x_row - out.width * x_step, out.skip
    residual_skip = residual.skip if residual else 0
    skips = x_skip or out_skip or residual_skip
    width = out.width if skips else pixels
    wraps = "_wraps" if skips and width % mr else ""
    turns, each = ("_turns", 2) if by_turns else ("", 1)
    calls, curve = [], expansion(activation)
    for first, rows in overlapping(pixels, mr):
        y, column = divmod(first, out.width)
        at = 0
        for start, count, nr, lanes in column_tiles(out.channels // each, mr):
            weights = At(packed, at)
            at += count * len(offsets) * length
            args = (
                out.at(y, column, each * start),
                At(x.buffer, x.offset + y * x_row + column * x_step),
                weights,
                At(bias, start),
                residual.at(y, column, start) if residual else None,
                offsets,
                len(offsets),
                length,
                rows,
                count // nr,
                first % width,
                width,
                x_step,
                x_skip,
                out.pixel,
                out_skip,
                residual.pixel if residual else 0,
                residual_skip,
                int(sum_first),
                *activation,
                weights,
                0,
            )
            variant = {"CURVE": curve, "TURNS": turns, "WRAPS": wraps}
            calls.append(Call(f32_igemm(MR=mr, NR=nr, LANES=lanes, **variant), args))
    return calls
