"""Winograd's transforms in two dimensions: windows to points, and products at points to outputs."""

from typing import TYPE_CHECKING

from ._divide import Axis
from ._jit import F32, kernel, unroll
from .activation import activate

if TYPE_CHECKING:
    from ._simd import load, splat, store
    from ._winograd import from_points_2, from_points_4, to_points_2, to_points_4


def _later_tiles(points):
    """Shift to later tiles, of a kernel whose parameter ``points`` holds the transformed side."""

    def shift(v, t):
        down, column = divmod(v["column"] + t, v["across"])
        return {"row": down, "column": column - v["column"], points: t * v["points_step"]}

    return Axis("tiles", "", shift)


def _later_channels(*parameters):
    return Axis("channels", "LANES", lambda v, c: dict.fromkeys(parameters, c))


def _work(v):
    return v["tiles"] * v["channels"] * 6 * (v["M"] + 2) ** 2


@kernel(
    "f32_winograd_input_{M}x{M}__v{LANES}",
    work=_work,
    axes=(_later_tiles("out"), _later_channels("out", "x")),
)
def f32_winograd_input(
    out: F32,
    x: F32,
    tiles: int,
    channels: int,
    row: int,
    column: int,
    across: int,
    height: int,
    width: int,
    x_step: int,
    x_row: int,
    points_step: int,
    plane: int,
):
    """Take the windows of ``tiles`` tiles to the points.

    Tiles follow in raster order, ``across`` in a row, from the one at (``row``, ``column``); ``x``
    is the first tap of the first of ``height`` x ``width`` output pixels. What windows hold beyond
    the last pixel's counts as zero. Tiles lie ``points_step`` apart in ``out``, points ``plane``.
    """
    for t in range(tiles):
        down = height + 2 - row * M
        right = width + 2 - column * M
        corner = row * M * x_row + column * M * x_step
        for c in range(0, channels, LANES):
            for j in unroll(M + 2):
                for i in unroll(M + 2):
                    reg_d[i] = splat(0.0, LANES)
                    if (i < 3 or i < down) and (j < 3 or j < right):
                        reg_d[i] = load(x, corner + i * x_row + j * x_step + c, LANES)
                if M == 4:
                    reg_t[0, j], reg_t[1, j], reg_t[2, j], reg_t[3, j], reg_t[4, j], reg_t[5, j] = (
                        to_points_4(reg_d[0], reg_d[1], reg_d[2], reg_d[3], reg_d[4], reg_d[5])
                    )
                else:
                    reg_t[0, j], reg_t[1, j], reg_t[2, j], reg_t[3, j] = to_points_2(
                        reg_d[0], reg_d[1], reg_d[2], reg_d[3]
                    )
            for i in unroll(M + 2):
                if M == 4:
                    reg_d[0], reg_d[1], reg_d[2], reg_d[3], reg_d[4], reg_d[5] = to_points_4(
                        reg_t[i, 0], reg_t[i, 1], reg_t[i, 2], reg_t[i, 3], reg_t[i, 4], reg_t[i, 5]
                    )
                else:
                    reg_d[0], reg_d[1], reg_d[2], reg_d[3] = to_points_2(
                        reg_t[i, 0], reg_t[i, 1], reg_t[i, 2], reg_t[i, 3]
                    )
                for j in unroll(M + 2):
                    store(out, t * points_step + (i * (M + 2) + j) * plane + c, reg_d[j])
        column += 1
        if column == across:
            column = 0
            row += 1


@kernel(
    "f32_winograd_output_{M}x{M}{CURVE}__v{LANES}",
    work=_work,
    axes=(_later_tiles("x"), _later_channels("out", "x", "bias", "residual")),
)
def f32_winograd_output(
    out: F32,
    x: F32,
    bias: F32,
    residual: F32,
    tiles: int,
    channels: int,
    row: int,
    column: int,
    across: int,
    height: int,
    width: int,
    out_step: int,
    out_row: int,
    residual_step: int,
    residual_row: int,
    sum_first: int,
    points_step: int,
    plane: int,
    mode: int,
    curve: F32,
):
    """Take ``tiles`` tiles back: ``out = activation(from_points(x) + bias) + residual``.

    If ``sum_first``, ``activation(from_points(x) + bias + residual)``.
    Tiles as in ``f32_winograd_input``; ``out`` and ``residual`` are the map's first pixel, and
    nothing is read or written beyond its last. ``residual`` may be null.
    """
    for t in range(tiles):
        down = height - row * M
        right = width - column * M
        corner = row * M * out_row + column * M * out_step
        residual_corner = row * M * residual_row + column * M * residual_step
        for c in range(0, channels, LANES):
            b = load(bias, c, LANES)
            for j in unroll(M + 2):
                for i in unroll(M + 2):
                    reg_d[i] = load(x, t * points_step + (i * (M + 2) + j) * plane + c, LANES)
                if M == 4:
                    reg_t[0, j], reg_t[1, j], reg_t[2, j], reg_t[3, j] = from_points_4(
                        reg_d[0], reg_d[1], reg_d[2], reg_d[3], reg_d[4], reg_d[5]
                    )
                else:
                    reg_t[0, j], reg_t[1, j] = from_points_2(reg_d[0], reg_d[1], reg_d[2], reg_d[3])
            for i in unroll(M):
                if i == 0 or i < down:
                    if M == 4:
                        reg_y[0], reg_y[1], reg_y[2], reg_y[3] = from_points_4(
                            reg_t[i, 0],
                            reg_t[i, 1],
                            reg_t[i, 2],
                            reg_t[i, 3],
                            reg_t[i, 4],
                            reg_t[i, 5],
                        )
                    else:
                        reg_y[0], reg_y[1] = from_points_2(
                            reg_t[i, 0], reg_t[i, 1], reg_t[i, 2], reg_t[i, 3]
                        )
                    for j in unroll(M):
                        reg_y[j] = reg_y[j] + b
                    residual_at = residual_corner + i * residual_row + c
                    if sum_first:
                        for j in unroll(M):
                            if j == 0 or j < right:
                                at = residual_at + j * residual_step
                                reg_y[j] = reg_y[j] + load(residual, at, LANES)
                    activate(reg_y, mode, curve)
                    for j in unroll(M):
                        if j == 0 or j < right:
                            if residual_step and not sum_first:
                                at = residual_at + j * residual_step
                                reg_y[j] = reg_y[j] + load(residual, at, LANES)
                            store(out, corner + i * out_row + j * out_step + c, reg_y[j])
        column += 1
        if column == across:
            column = 0
            row += 1
