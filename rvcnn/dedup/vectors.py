"""Vectors of several indexes as one array: bytes of all of them, float32 of the few asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rvcnn.index.formats import Rows, encode

_METRIC = "cosine"
_CHUNK = 1 << 12


class Coarse(NamedTuple):
    """Vectors to 8 bits, and how far off they are.

    A vector ``x`` of length ``length`` is ``scale * high + e``, with ``|e| <= rest``.

    Attributes
    ----------
    high
        (N, D) int8.
    scale, rest, length
        (N,) float64.
    """

    high: np.ndarray
    scale: np.ndarray
    rest: np.ndarray
    length: np.ndarray

    def part(self, where: slice) -> "Coarse":
        """Return some of them."""
        return Coarse(*(values[where] for values in self))


class Vectors:
    """Rows of one index or several, numbered from 0 on.

    Parameters
    ----------
    sources
        Rows as indexes hold them, of unit vectors of one length.
    owner, row
        (N,) integers: which source a vector is in, and its row there.
    """

    def __init__(self, sources: Sequence[Rows], owner: np.ndarray, row: np.ndarray):
        self._sources = sources
        self._owner = owner
        self._row = row

    @classmethod
    def of(cls, array: np.ndarray, dtype: str = "float32") -> "Vectors":
        """Return (N, D) float32 unit vectors, held as an index of that type would."""
        rows = Rows(dtype, (array,)) if dtype == "float32" else encode(array, dtype)
        return cls([rows], np.zeros(len(array), np.int64), np.arange(len(array)))

    def __len__(self) -> int:
        return len(self._row)

    def part(self, where: slice | np.ndarray) -> "Vectors":
        """Return some of them, by a slice or by their numbers."""
        return Vectors(self._sources, self._owner[where], self._row[where])

    def fetch(self, where: slice | np.ndarray) -> np.ndarray:
        """Return vectors by their numbers: (n, D) float32, as a search compares them."""
        owner, row = self._owner[where], self._row[where]
        owners = np.unique(owner)
        if len(owners) == 1:
            return self._sources[owners[0]].vectors(_METRIC, row)
        width = self._sources[0].planes[0].shape[1] if self._sources else 0
        out = np.empty((len(row), width), np.float32)
        for source in owners:
            mine = owner == source
            out[mine] = self._sources[source].vectors(_METRIC, row[mine])
        return out

    def coarse(self) -> Coarse:
        """Return all of them to 8 bits: a byte a value."""
        starts = range(0, max(1, len(self)), _CHUNK)
        parts = [_coarse(self.fetch(slice(start, start + _CHUNK))) for start in starts]
        return Coarse(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _coarse(vectors: np.ndarray) -> Coarse:
    high, _, facts = encode(vectors, "int8").planes
    scale = 256 * facts[:, 0].astype(np.float64)
    exact = vectors.astype(np.float64)
    return Coarse(high, scale, _lengths(exact - scale[:, None] * high), _lengths(exact))


def _lengths(vectors):
    return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
