"""How an index holds its vectors: as float32, or as int8 with what makes a search of them exact.

A vector is cut into planes, and each plane is a file of its own with one row a vector.

float32
    ``f32``: the vector.
int8
    A value is ``step * (256 * high + low)``, with a `step` for each vector: 16 bits, of which a
    search scans the upper half only. ``i8``: `high`; ``low``: `low`, read for the few best;
    ``scale``: `step`, the length of what `high` alone leaves out, and the vector's length.

What int8 holds it gives back exactly, and to encode that again changes nothing.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from rvcnn.index.items import vector_sum

_LARGEST = 127 * 256
_SMALLEST_STEP = 2.0**-126
_STEP_BITS = 9  # with 15 of a value, as many as a float32 has


class Plane(NamedTuple):
    """A part of every vector: the suffix of its file, the type and the number of its values.

    `resident` ones are few bytes a row, of which a search reads one column after the other: they
    are kept in memory, column by column.
    """

    suffix: str
    dtype: np.dtype
    width: int
    resident: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.width * self.dtype.itemsize


class Format(NamedTuple):
    """A way to hold vectors.

    Attributes
    ----------
    planes
        The planes of vectors of a length.
    encode
        (N, D) float32 to the arrays of each plane.
    decode
        And back.
    """

    planes: Callable[[int], tuple[Plane, ...]]
    encode: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    decode: Callable[..., np.ndarray]


class Rows(NamedTuple):
    """Vectors as they are held: N rows of each plane."""

    dtype: str
    planes: tuple[np.ndarray, ...]

    @property
    def count(self) -> int:
        """How many vectors these are."""
        return len(self.planes[0])

    def part(self, where: Any) -> "Rows":
        """Return some of them: `where` is a slice or an array of row numbers."""
        return Rows(self.dtype, tuple(plane[where] for plane in self.planes))

    def decode(self, where: Any = slice(None)) -> np.ndarray:
        """Return these vectors, or some of them: (N, D) float32."""
        return FORMATS[self.dtype].decode(*self.part(where).planes)

    def vectors(self, metric: str, where: Any = slice(None)) -> np.ndarray:
        """Return these vectors, or some of them, as they are compared: (N, D) float32.

        Where the metric is cosine, what rounding made of their lengths is made good.
        """
        if metric != "cosine" or self.dtype != "int8":
            return self.decode(where)
        part = self.part(where)
        with np.errstate(all="ignore"):  # of a damaged index, `verify` tells
            return part.decode() / part.planes[2][:, 2:]

    def sum_of(self, row: int) -> bytes:
        """Return the checksum of one vector's bytes."""
        return vector_sum(*(np.ascontiguousarray(plane[row]) for plane in self.planes))


def encode(vectors: np.ndarray, dtype: str) -> Rows:
    """Return (N, D) finite float32 vectors as they are held."""
    return Rows(dtype, FORMATS[dtype].encode(vectors))


def _planes_f32(dim):
    return (Plane("f32", np.dtype(np.float32), dim),)


def _encode_f32(vectors):
    return (np.ascontiguousarray(vectors, np.float32),)


def _decode_f32(vectors):
    return np.array(vectors)


def _planes_int8(dim):
    byte = np.dtype(np.int8)
    scale = Plane("scale", np.dtype(np.float32), 3, resident=True)
    return Plane("i8", byte, dim), Plane("low", byte, dim), scale


def _encode_int8(vectors):
    largest = np.abs(vectors).max(axis=1, initial=0).astype(np.float64)
    step = _steps(largest)
    # What rounding makes of the largest value decides, so that it decides the same the next time.
    step = _steps(np.rint(largest / step) * step)
    values = np.rint(vectors / step[:, None]).clip(-_LARGEST, _LARGEST).astype(np.int32)
    high = (values + 128) >> 8
    low = values - 256 * high
    scale = np.empty((len(vectors), 3), np.float32, order="F")
    scale[:, 0] = step
    scale[:, 1] = np.nextafter(_lengths(low) * step, np.inf, dtype=np.float32)
    scale[:, 2] = _lengths(values) * step
    return high.astype(np.int8), low.astype(np.int8), scale


def _steps(largest):
    """Return the least steps, of 9 bits, with which these values fit."""
    fraction, exponent = np.frexp(largest / _LARGEST)
    whole = np.ceil(np.ldexp(fraction, _STEP_BITS))
    return np.maximum(np.ldexp(whole, exponent - _STEP_BITS), _SMALLEST_STEP)


def _lengths(integers):
    return np.sqrt(np.square(integers, dtype=np.float64).sum(axis=1))


def _decode_int8(high, low, scale):
    values = high.astype(np.float32)
    values *= 256
    values += low
    values *= scale[:, :1]
    return values


FORMATS = {
    "float32": Format(_planes_f32, _encode_f32, _decode_f32),
    "int8": Format(_planes_int8, _encode_int8, _decode_int8),
}
"""Every format by the name that the manifest has for it."""
