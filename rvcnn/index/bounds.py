"""What a scan finds out about scores: a value for each row, and how far off it may be.

Values are on a scale where higher is nearer: the dot product or, for the metric euclidean,
``q.x - |x|^2 / 2``, which is higher where the distance is less.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rvcnn.index.formats import Rows, encode

_EPS = 2.0**-24


class Bounds(NamedTuple):
    """What is known of the scores of Q queries with a block of B rows.

    Attributes
    ----------
    value
        (Q, B).
    most
        (Q,): no row's error is larger.
    error_of
        For the number of a query and those of some rows of the block: their errors at most.
    """

    value: np.ndarray
    most: np.ndarray
    error_of: Callable[[int, np.ndarray], np.ndarray]


class Float32Scan:
    """Scores of float32 rows, by their dot products; those are the scores, bit by bit."""

    def __init__(self, rows: Rows, queries: np.ndarray, metric: str):
        (self._vectors,) = rows.planes
        self._queries = queries
        self._euclidean = metric == "euclidean"
        self._lengths = _lengths(queries)

    def scratch(self, rows: int) -> np.ndarray:
        """Return memory for the bounds of one block after the other, of so many rows at most."""
        return np.empty(len(self._queries) * rows, np.float32)

    def bounds(self, block: slice | np.ndarray, scratch: np.ndarray) -> Bounds:
        """Bound the scores of a block of rows, or of some; the next use of `scratch` ends them."""
        from rvcnn.kernels import dot_products  # brings in numba

        vectors = self._vectors[block]
        dots = scratch[: len(self._queries) * len(vectors)].reshape(-1, len(vectors))
        dot_products(self._queries, vectors, dots)
        if not self._euclidean:
            return Bounds(dots, np.zeros(len(dots)), lambda query, rows: np.zeros(len(rows)))
        # Rounding of the sums of D products is at most about D eps times the sums of their sizes.
        lengths = _lengths(vectors)
        error = (vectors.shape[1] + 8) * _EPS * np.outer(self._lengths, lengths)
        value = dots - lengths**2 / 2
        error += 4 * _EPS * np.abs(value)
        return Bounds(value, error.max(axis=1), lambda query, rows: error[query, rows])


class Int8Scan:
    """Scores of int8 rows, by integer dot products of their upper bytes with 16-bit queries.

    For a row ``x`` with the upper part ``y`` and a query ``q`` that becomes ``r``, ``q.x - r.y`` is
    ``q.(x - y) + (q - r).y``, which is at most ``|q| |x - y| + |q - r| (|x| + |x - y|)``. A cosine
    differs from ``q.x`` by ``|q| |1 - |x||`` at most.
    """

    def __init__(self, rows: Rows, queries: np.ndarray, metric: str):
        self._high, _, self._scale = rows.planes
        self._metric = metric
        self._stray = _lengths(queries) if metric == "cosine" else np.zeros(len(queries))
        held = encode(queries, "int8")
        high, low, scale = held.planes
        self._queries = np.concatenate([high, low])
        step = scale[:, :1]
        self._steps = np.concatenate([65536 * step, 256 * step])
        lengths = _lengths(queries)
        # Rounding, of these values and of the scores themselves, is less than D eps times this.
        rounded = (queries.shape[1] + 32) * _EPS * lengths
        self._of_length = _lengths(queries - held.decode()) + rounded
        self._of_rest = lengths + self._of_length

    def scratch(self, rows: int) -> np.ndarray:
        """Return memory for the bounds of one block after the other, of so many rows at most."""
        return np.empty((2, len(self._queries) * rows), np.int32)

    @np.errstate(all="ignore")  # of a damaged index, `verify` tells
    def bounds(self, block: slice | np.ndarray, scratch: np.ndarray) -> Bounds:
        """Bound the scores of a block of rows, or of some; the next use of `scratch` ends them."""
        from rvcnn.kernels import dot_products_s8

        step, rest, length = self._scale[block].T
        size = len(self._queries) * len(step)
        dots, values = (part[:size].reshape(-1, len(step)) for part in scratch)
        dot_products_s8(self._queries, self._high[block], dots)
        values = values.view(np.float32)
        np.multiply(dots, self._steps, out=values, dtype=np.float32, casting="unsafe")
        value, fine = np.split(values, 2)
        value += fine
        value *= step
        # Where damage made NaN of a row, the others are still found.
        longest, shortest = np.fmax.reduce(length), np.fmin.reduce(length)
        most = self._of_rest * np.fmax.reduce(rest) + self._of_length * longest
        most += self._stray * max(longest - 1, 1 - shortest)

        def error_of(query, rows):
            error = self._of_rest[query] * rest[rows] + self._of_length[query] * length[rows]
            return error + self._stray[query] * np.abs(1 - length[rows])

        if self._metric != "euclidean":
            return Bounds(value, most, error_of)
        squares = np.square(length, dtype=np.float64)
        value = value - squares / 2
        rounded = 8 * _EPS * (squares + np.abs(value))
        return Bounds(
            value,
            most + rounded.max(axis=1),
            lambda query, rows: error_of(query, rows) + rounded[query, rows],
        )


def _lengths(vectors):
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))


SCANS = {"float32": Float32Scan, "int8": Int8Scan}
"""The scan of each format of `rvcnn.index.formats`."""
