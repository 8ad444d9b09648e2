"""Winograd's fast 3x3 convolution of stride 1 (Lavin and Gray, 2015).

M x M outputs, a tile, come from (M + 2) ** 2 products a channel instead of 9 * M ** 2: windows are
taken to points in two dimensions, each point has a matrix product of its own over the channels, and
its results are taken back. Blocks of tiles go through all three, so that what lies between stays in
a core's second-level cache.
"""

from typing import TYPE_CHECKING

from . import _cover, _target, igemm
from ._divide import Axis
from ._jit import F32, kernel, unroll
from ._program import BARRIER, At, Call
from ._tiles import column_tiles, row_tile
from .activation import expansion
from .winograd_transforms import f32_winograd_input, f32_winograd_output

if TYPE_CHECKING:
    from ._simd import broadcast, fma, load, splat, store


def _later_points(v, f):
    return {"out": f * v["out_plane"], "x": f * v["x_plane"], "weights": f * v["weights_plane"]}


@kernel(
    "f32_winograd_product_{MR}x{NR}__v{LANES}",
    work=lambda v: v["points"] * v["tiles"] * v["panels"] * v["NR"] * v["channels"],
    axes=(
        Axis("points", "", _later_points),
        Axis("tiles", "MR", lambda v, t: {"out": t * v["out_step"], "x": t * v["channels"]}),
        Axis(
            "panels",
            "",
            lambda v, j: {"out": j * v["NR"], "weights": j * v["NR"] * v["channels"]},
        ),
    ),
)
def f32_winograd_product(
    out: F32,
    x: F32,
    weights: F32,
    points: int,
    tiles: int,
    panels: int,
    channels: int,
    out_step: int,
    out_plane: int,
    x_plane: int,
    weights_plane: int,
):
    """At each point: ``out (tiles, panels * NR) = x (tiles, channels) @ weights``.

    ``tiles`` is a multiple of MR; ``weights`` is packed (points, panels, channels, NR). The three
    have each point's values ``*_plane`` apart.
    """
    for f in range(points):
        for j in range(panels):
            for t in range(0, tiles, MR):
                x_at = f * x_plane + t * channels
                w_at = f * weights_plane + j * channels * NR
                for r in unroll(MR):
                    for v in unroll(NR // LANES):
                        reg_c[r, v] = splat(0.0, LANES)
                for p in range(x_at, x_at + channels):
                    for v in unroll(NR // LANES):
                        reg_b[v] = load(weights, w_at + v * LANES, LANES)
                    w_at += NR
                    for r in unroll(MR):
                        a = broadcast(x, p + r * channels, LANES)
                        for v in unroll(NR // LANES):
                            reg_c[r, v] = fma(a, reg_b[v], reg_c[r, v])
                out_at = f * out_plane + t * out_step + j * NR
                for r in unroll(MR):
                    for v in unroll(NR // LANES):
                        store(out, out_at + r * out_step + v * LANES, reg_c[r, v])


TILES = {
    16: {
        7: [(48, 16), (32, 16), (16, 16), (8, 8)],
        8: [(48, 16), (32, 16), (16, 16), (8, 8)],
        4: [(64, 16), (32, 16), (16, 16), (8, 8)],
        1: [(64, 16), (16, 16), (8, 8)],
    },
    8: igemm.TILES[8],
    4: igemm.TILES[4],
}
"""Tiles of the products, as ``igemm.TILES``."""

LEAST_CHANNELS, LEAST_PRODUCTS = 8, 3_600_000
"""Inputs' or outputs' channels, and products of the direct convolution, from which tiles of side 4
are faster, with all data in the caches or none (``benchmarks/winograd.py``)."""

BLOCK = 200_000
"""Values at the points, of windows and of outputs, that a block of tiles has room for, or little
more: 800 kB, a second-level cache."""


def pays(height, width, channels, outputs):
    """Whether tiles of side 4 are faster than a direct convolution to (height, width, outputs)."""
    tiles = -(-height // 4) * -(-width // 4)
    return (
        min(channels, outputs) >= LEAST_CHANNELS
        and 9 * height * width * channels * outputs >= LEAST_PRODUCTS
        and 2 * height * width >= 16 * tiles
    )


class _Blocks:
    """Tiles of a map of outputs in blocks, and the scratch memory that one block needs."""

    def __init__(self, height, width, channels, outputs, m):
        self.across = -(-width // m)
        self.tiles = -(-height // m) * self.across
        self.points = (m + 2) ** 2
        table = TILES[_target.lanes()]
        self.mr = row_tile(table, self.tiles)
        self.widths = table[self.mr]
        blocks = -(-self.tiles * self.points * (channels + outputs) // BLOCK)
        block = -(-self.tiles // (blocks * self.mr)) * self.mr
        self.block = min(block, self.tiles)
        self.window_plane = _plane(self.block * channels)
        self.output_plane = _plane(self.block * outputs)

    def __iter__(self):
        """First tile and number of tiles of each block; the last may hold some twice."""
        for first in range(0, self.tiles, self.block):
            count = max(min(self.block, self.tiles - first), self.mr)
            yield min(first, self.tiles - count), count

    @property
    def windows(self):
        """Values at the points of a block's windows."""
        return self.points * self.window_plane


def _plane(values):
    """An odd number of cache lines: a tile's points then lie in different sets of a cache."""
    return (-(-values // 16) | 1) * 16


def scratch_size(height, width, channels, outputs, tile=4):
    """Scratch values that a convolution to (height, width, outputs) needs."""
    blocks = _Blocks(height, width, channels, outputs, tile)
    return blocks.points * (blocks.window_plane + blocks.output_plane)


def convolution(out, x, filters, bias, activation, residual, scratch, sum_first=False):
    """Calls for a 3x3 convolution of stride 1.

    Parameters
    ----------
    out : Map
        (H, W, N).
    x : Map
        Bordered input, placed at the first tap of the first window: (H + 2, W + 2) pixels are read.
    filters : WinogradFilterCache
    bias : ndarray
        (N,) float32.
    activation : tuple
        :func:`.activation.applied`.
    residual : Map, optional
        (H, W, N), added after the activation; not ``out`` itself, parts of which may be computed
        twice.
    scratch : At
        Room for :func:`scratch_size` values.
    sum_first : bool
        Whether the residual is added before the activation.
    """
    m = filters.tile
    blocks = _Blocks(out.height, out.width, x.channels, out.channels, m)
    windows, products = scratch, scratch._replace(offset=scratch.offset + blocks.windows)
    calls, results = [], []
    for first, count in blocks:
        place = (*divmod(first, blocks.across), blocks.across, out.height, out.width)
        calls += results
        calls += _inputs(windows, x, m, count, place, blocks.window_plane)
        calls += [BARRIER, *_products(products, windows, filters, count, blocks), BARRIER]
        more = (m, count, place, blocks.output_plane, activation, sum_first)
        results = _outputs(out, products, bias, residual, *more)
    return calls + results


def _inputs(points, x, m, tiles, place, plane):
    steps = (x.pixel, x.row, x.channels, plane)
    return [
        Call(
            f32_winograd_input(M=m, LANES=lanes),
            (_later(points, start), x.at(0, 0, start), tiles, count, *place, *steps),
        )
        for start, count, lanes in _cover.vectors(x.channels)
    ]


def _products(products, windows, filters, count, blocks):
    channels, outputs = filters.channels, filters.outputs
    return [
        Call(
            f32_winograd_product(MR=blocks.mr, NR=nr, LANES=lanes),
            (
                _later(products, first * outputs + start),
                _later(windows, first * channels),
                weights,
                blocks.points,
                tiles,
                columns // nr,
                channels,
                outputs,
                blocks.output_plane,
                blocks.window_plane,
                channels * columns,
            ),
        )
        for first, tiles in _cover.overlapping(count, blocks.mr)
        for (start, columns, nr, lanes), weights in zip(
            column_tiles(blocks.widths, outputs), filters.packed(blocks.widths), strict=True
        )
    ]


def _outputs(out, products, bias, residual, m, tiles, place, plane, activation, sum_first):
    steps = (residual.pixel, residual.row) if residual else (0, 0)
    return [
        Call(
            f32_winograd_output(M=m, CURVE=expansion(activation), LANES=lanes),
            (
                out.at(0, 0, start),
                _later(products, start),
                At(bias, start),
                residual.at(0, 0, start) if residual else None,
                tiles,
                count,
                *place,
                out.pixel,
                out.row,
                *steps,
                int(sum_first),
                out.channels,
                plane,
                *activation,
            ),
        )
        for start, count, lanes in _cover.vectors(out.channels)
    ]


def _later(place, values):
    return place._replace(offset=place.offset + values)
