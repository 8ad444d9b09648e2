"""Problems of Winograd's convolution, and what its arithmetic allows it to be off."""

import numpy as np
from kernels_checks import rounding_bound
from kernels_problems import Problem, conv2d

from rvcnn import kernels
from rvcnn.kernels import WinogradFilterCache
from rvcnn.kernels.winograd_filters import MATRICES


def windows(x, padding, m):
    """Windows (rows, columns, M + 2, M + 2, C) of all tiles, zero beyond the map."""
    (top, bottom), (left, right) = padding
    size = np.add(x.shape[:2], (top + bottom - 2, left + right - 2))
    down, across = -(-size // m)
    whole = np.zeros((down * m + 2, across * m + 2, x.shape[2]))
    whole[top : top + x.shape[0], left : left + x.shape[1]] = x
    tiles = np.lib.stride_tricks.sliding_window_view(whole, (m + 2, m + 2), (0, 1))
    return tiles[::m, ::m].transpose(0, 1, 3, 4, 2), size


def untiled(tiles, size):
    """Map of ``size`` from its tiles (rows, columns, M, M, N)."""
    down, across, m, _, n = tiles.shape
    return tiles.swapaxes(1, 2).reshape(down * m, across * m, n)[: size[0], : size[1]]


def rounding(x, weights, bias, padding, m):
    """Bound the error of a convolution with (N, 3, 3, C) weights, before its activation.

    A term of the result is rounded 6 times on its way to the points, once as a filter's, C + 1
    times in its product, 8 times on the way back and once with the bias.
    """
    x, weights, bias = (np.abs(a).astype(np.float64) for a in (x, weights, bias))
    b, g, a = map(np.abs, MATRICES[m])
    data, size = windows(x, padding, m)
    filters = np.einsum("pk,nklc,ql->pqcn", g, weights, g, optimize=True)
    points = np.einsum("pi,hwijc,qj->hwpqc", b, data, b, optimize=True)
    back = np.einsum("ip,hwpqc,pqcn,jq->hwijn", a, points, filters, a, optimize=True)
    return rounding_bound(untiled(back, size) + bias, weights.shape[3] + 17)


class Winograd(Problem):
    """As :class:`Problem`, a convolution; its subclasses say with which tiles it is computed."""

    def got(self):
        x, weights, bias = self.args
        filters = WinogradFilterCache(weights, self.tile)
        return kernels.conv_3x3_winograd(x, filters, bias=bias, **self.options)

    def rounding(self):
        return rounding(*self.args, self.options["padding"], self.tile)

    def with_a_nan(self):
        """Return this problem with a NaN in it; outputs that its tiles take from there are NaN."""
        problem, want = super().with_a_nan()
        b, _, a = MATRICES[self.tile]
        taken = (np.abs(a) @ np.abs(b) > 0).astype(float)
        where, size = windows(
            np.isnan(problem.args[0]).any(2, keepdims=True), self.options["padding"], self.tile
        )
        poisoned = untiled(np.einsum("ip,hwpqc,jq->hwijc", taken, where, taken), size) > 0
        return problem, np.where(poisoned, np.nan, want)


class TilesOf2(Winograd):
    """Tiles of 2 x 2 outputs."""

    tile = 2


class TilesOf4(Winograd):
    """Tiles of 4 x 4 outputs."""

    tile = 4


def winograd(tile, size, channels, outputs, padding=((1, 1), (1, 1)), **options):
    """A 3x3 convolution of a map of (height, width) and channels."""
    problem = conv2d(size, channels, outputs, (3, 3), padding=padding, **options)
    kind = {2: TilesOf2, 4: TilesOf4}[tile]
    return kind(*problem)._replace(name=f"{problem.name}-tile{tile}")
