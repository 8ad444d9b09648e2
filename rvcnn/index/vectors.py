"""The vectors file: float32 rows one after another, appended and never changed.

A compaction makes a new file, so that whoever has the old one mapped is not disturbed.
"""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from rvcnn.errors import ShapeError, UsageError
from rvcnn.index.files import Home, damaged, sync_folder, write_all

LONGEST = 1e18  # of a vector: products of two stay finite in float32
UNIT_SLACK = 1e-4  # how far from 1 the length of a vector may be that is stored as it is
_CHUNK = 1 << 14


def file_name(generation: int) -> str:
    return f"vectors.{generation}.f32" if generation else "vectors.f32"


def generation_of(path: Path) -> int | None:
    """Return the generation of a vectors file, None for any other file."""
    found = re.fullmatch(r"vectors(?:\.(\d+))?\.f32", path.name)
    return found and int(found[1] or 0)


def map_rows(home: Home, generation: int, rows: int, dim: int) -> np.ndarray:
    """Map the first `rows` rows of a generation's file: (rows, dim) float32.

    Raises
    ------
    FileNotFoundError
        The file is gone, as happens to a reader that a compaction overtakes.
    IndexDamagedError
        It is too short.
    """
    if not rows:
        return np.empty((0, dim), np.float32)
    path = home.location / file_name(generation)
    size = path.stat().st_size
    if size < rows * dim * 4:
        raise damaged(home, f"{path.name} has {size} bytes, not {rows * dim * 4}")
    return map_file(path, rows, dim)


def map_file(path: Path, rows: int, dim: int) -> np.ndarray:
    """Map (rows, dim) float32; on a file system that maps no files, read them."""
    try:
        # Copy on write: the array is writable, as kernels are compiled for, the file is safe.
        return np.asarray(np.memmap(path, np.float32, "c", shape=(rows, dim)))
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        return np.fromfile(path, np.float32, rows * dim).reshape(rows, dim)


class VectorsFile:
    """The live vectors file, open for the one writer."""

    def __init__(self, home: Home, generation: int, dim: int, rows: int):
        """Open or make the file; what lies beyond `rows` was never committed and is cut off."""
        self._path = home.location / file_name(generation)
        self._row_bytes = dim * 4
        self.generation = generation
        self.dim = dim
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._file = open(descriptor, "r+b", buffering=0)
        self.rows = rows
        size = os.fstat(descriptor).st_size
        if size < rows * self._row_bytes:
            self._file.close()
            raise damaged(home, f"{self._path.name} has {size} bytes of {rows * self._row_bytes}")
        self.cut(rows)
        sync_folder(home.location)

    def append(self, vectors: np.ndarray) -> int:
        """Write (n, dim) float32 rows at the end; the number of the first."""
        first = self.rows
        self._file.seek(first * self._row_bytes)
        write_all(self._file, np.ascontiguousarray(vectors, np.float32).reshape(-1).data)
        self.rows += len(vectors)
        return first

    def read(self, row: int, count: int = 1) -> np.ndarray:
        """Return (count, dim) rows."""
        self._file.seek(row * self._row_bytes)
        data = bytearray()
        while len(data) < count * self._row_bytes:
            part = self._file.read(count * self._row_bytes - len(data))
            if not part:
                raise OSError(f"{self._path.name} ends early")
            data += part
        return np.frombuffer(data, np.float32).reshape(count, self.dim)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def cut(self, rows: int) -> None:
        """Forget what lies beyond `rows`, all that is committed: nobody has more of it mapped."""
        self.rows = rows
        # Windows does not shorten a file that is mapped; the next rows overwrite the rest.
        with suppress(OSError):
            self._file.truncate(rows * self._row_bytes)

    def close(self) -> None:
        self._file.close()


def checked(vectors: Any, dim: int, metric: str, names: Sequence[Any] | None = None) -> np.ndarray:
    """Return vectors as (N, dim) float32, of unit length where the metric is cosine.

    A single vector (dim,) is one row. Vectors whose length is 1 to within rounding are kept bit by
    bit. The result may be the array that was given.

    Raises
    ------
    ShapeError, UsageError
        Wrong dimensions, no numbers, NaN or infinity, a zero vector where directions are compared.
    """
    try:
        array = np.asarray(vectors)
        if array.dtype.kind not in "fiub":
            raise TypeError
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, np.float32)
    except (TypeError, ValueError):
        raise UsageError("vectors must be an array of numbers, one row a vector") from None
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] != dim:
        raise ShapeError(f"vectors must be (N, {dim}), not {np.shape(vectors)}")
    if names is not None and len(names) != len(array):
        raise ShapeError(f"{len(array)} vectors and {len(names)} ids")
    lengths = _lengths(array)
    _check_lengths(lengths, metric, names)
    far = np.flatnonzero(np.abs(lengths - 1) > UNIT_SLACK) if metric == "cosine" else ()
    if len(far):
        array = array.copy()
        for start in range(0, len(far), _CHUNK):
            rows = far[start : start + _CHUNK]
            array[rows] = array[rows].astype(np.float64) / lengths[rows, None]
    return array


def _lengths(array: np.ndarray) -> np.ndarray:
    """Return (N,) float64 lengths."""
    lengths = np.empty(len(array))
    for start in range(0, len(array), _CHUNK):
        chunk = array[start : start + _CHUNK].astype(np.float64)
        lengths[start : start + _CHUNK] = np.sqrt((chunk * chunk).sum(axis=1))
    return lengths


def _check_lengths(lengths: np.ndarray, metric: str, names: Sequence[Any] | None) -> None:
    faults = [(~(lengths <= LONGEST), f"holds NaN, infinity or a length above {LONGEST:g}")]
    if metric == "cosine":
        faults.append((lengths == 0, "is zero and so has no direction"))
    for wrong, what in faults:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            whose = f" ({os.fsdecode(names[row])!r})" if names is not None else ""
            more = f", and {wrong.sum() - 1} more" if wrong.sum() > 1 else ""
            raise UsageError(f"vector {row}{whose} {what}{more}: leave it out")
