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

    def bounds(self, block: slice) -> Bounds:
        """Bound the scores of a block of rows."""
        from rvcnn.kernels import dot_products  # brings in numba

        vectors = self._vectors[block]
        dots = dot_products(self._queries, vectors)
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
    ``q.(x - y) + (q - r).y``, which is at most ``|q| |x - y| + |q - r| (|x| + |x - y|)``.
    """

    def __init__(self, rows: Rows, queries: np.ndarray, metric: str):
        self._high, _, self._scale = rows.planes
        self._metric = metric
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

    @np.errstate(all="ignore")  # of a damaged index, `verify` tells
    def bounds(self, block: slice) -> Bounds:
        """Bound the scores of a block of rows."""
        from rvcnn.kernels import dot_products_s8

        step, rest, length = self._scale[block].T
        if self._metric == "cosine":
            step, rest = step / length, rest / length
            length = np.broadcast_to(np.float32(1), length.shape)
        dots = dot_products_s8(self._queries, self._high[block])
        dots = np.multiply(dots, self._steps, dtype=np.float32, casting="unsafe")
        value, fine = np.split(dots, 2)
        value += fine
        value *= step
        # Where damage made NaN of a row, the others are still found.
        most = self._of_rest * np.fmax.reduce(rest) + self._of_length * np.fmax.reduce(length)

        def error_of(query, rows):
            return self._of_rest[query] * rest[rows] + self._of_length[query] * length[rows]

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
