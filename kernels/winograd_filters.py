"""Filters of 3x3 convolutions taken to Winograd's points, and the matrices that do so."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ._tiles import column_tiles


class Matrices(NamedTuple):
    """``outputs @ ((filters @ g) * (window @ d))``: three taps g over a window d of M + 2 values.

    Attributes
    ----------
    window : ndarray
        (M + 2, M + 2): values at the points of the polynomial d, less a common factor.
    filters : ndarray
        (M + 2, 3): values of the polynomial g, times that factor.
    outputs : ndarray
        (M, M + 2): from products at the points to outputs.
    """

    window: np.ndarray
    filters: np.ndarray
    outputs: np.ndarray


def _matrices(*points):
    """Toom and Cook's construction for these points and infinity, in float64."""
    m = len(points) - 1
    others = [[q for q in points if q != p] for p in points]
    polynomials = [*map(np.polynomial.polynomial.polyfromroots, (*others, points))]
    window = np.array([np.append(p, np.zeros(m + 2 - len(p))) for p in polynomials])
    filters = np.vander(points, 3, increasing=True)
    filters /= [[np.prod(np.subtract(p, rest))] for p, rest in zip(points, others, strict=True)]
    outputs = np.vander(points, m, increasing=True).T
    return Matrices(
        window,
        np.vstack([filters, np.eye(3)[2]]),
        np.hstack([outputs, np.eye(m)[:, m - 1 :]]),
    )


_R = np.sqrt(0.5)

MATRICES = {2: _matrices(0.0, 1.0, -1.0), 4: _matrices(0.0, _R, -_R, 2 * _R, -2 * _R)}
"""By M, the outputs of a tile's side; ``_winograd`` computes products with them."""


class WinogradFilterCache:
    """Filters of a 3x3 convolution, transformed once for any number of runs.

    Parameters
    ----------
    weights : (N, 3, 3, C) array
    tile : int
        Outputs of a tile's side, 4 or 2. Four needs 36 products a channel for 16 outputs, two
        needs 16 for 4 (of 144 and 36 without Winograd) and half the memory.

    Attributes
    ----------
    tile, outputs, channels : int
        M, N, C.

    Notes
    -----
    Error of a convolution, in units of float32's epsilon (1.2e-7) of the outputs' root mean square,
    with normal weights and inputs of which half are zero; measured:

    ======== ======= ====== ======
    channels direct  tile 2 tile 4
    ======== ======= ====== ======
    16           1.2    1.2    3.2
    64           2.4    1.9    5.2
    256          4.9    3.6   10.5
    512          7.2    5.4   15.6
    ======== ======= ====== ======

    It is at most ``epsilon (C + 17) |A| (sum over C of |G||g||G|' * |B||d||B|') |A|'`` for
    ``A, G, B = outputs, filters, window`` of :data:`MATRICES`, which is at most 16 (tile 2) or 158
    (tile 4) times ``epsilon (C + 17) max |d| sum |g|``: a value passes through 3 roundings in each
    of the two dimensions of a window and 4 in those of outputs, one as a filter's, C + 1 in its
    product; bias and residual add two.
    """

    def __init__(self, weights: Any, tile: int = 4):
        weights = np.array(weights, np.float32)
        if tile not in MATRICES:
            raise ValueError(f"a tile has 2 or 4 outputs a side, not {tile}")
        if weights.ndim != 4 or weights.shape[1:3] != (3, 3) or 0 in weights.shape:
            raise ValueError(f"weights must be (N, 3, 3, C), not {weights.shape}")
        self.tile = tile
        self.outputs, self.channels = weights.shape[0], weights.shape[3]
        self._weights = weights
        self._packed = {}

    def packed(self, widths: Iterable[int]) -> list[np.ndarray]:
        """For each column piece of tiles of these widths: ((M + 2) ** 2, panels, C, NR)."""
        key = tuple(widths)
        if key not in self._packed:
            pieces = column_tiles(widths, self.outputs)
            self._packed[key] = [self._panels(start, count, nr) for start, count, nr, _ in pieces]
        return self._packed[key]

    def _panels(self, start, count, nr):
        out = np.empty(((self.tile + 2) ** 2, count // nr, self.channels, nr), np.float32)
        for j in range(count // nr):
            panel = self._weights[start + j * nr : start + (j + 1) * nr]
            rows = self._to_points(panel.transpose(1, 2, 3, 0).astype(np.float64))
            for f, values in enumerate(v for row in rows for v in self._to_points(row)):
                out[f, j] = values
        return out

    def _to_points(self, taps):
        """Three arrays of taps at each point, in float64: the same whatever their shape."""
        origin, *points, _ = MATRICES[self.tile].filters
        values = [origin[0] * taps[0]]
        for a, b, c in points[::2]:  # every other point is the one before with another sign
            even, odd = a * taps[0] + c * taps[2], b * taps[1]
            values += [even + odd, even - odd]
        return [*values, taps[2]]
