"""The vectors' files: rows one after another, appended and never changed.

There is one file for each plane of the index's format. A compaction makes new ones, so that whoever
has the old ones mapped is not disturbed.
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
from rvcnn.index.formats import FORMATS, Plane, Rows

LONGEST = 1e18  # of a vector: products of two stay finite in float32
UNIT_SLACK = 1e-4  # how far from 1 the length of a vector may be that is stored as it is
_CHUNK = 1 << 14
_SUFFIXES = "|".join(sorted({p.suffix for f in FORMATS.values() for p in f.planes(1)}))


def file_name(generation: int, suffix: str) -> str:
    return f"vectors.{generation}.{suffix}" if generation else f"vectors.{suffix}"


def file_names(generation: int, dtype: str) -> list[str]:
    """Return the names of a generation's files."""
    return [file_name(generation, plane.suffix) for plane in FORMATS[dtype].planes(1)]


def generation_of(path: Path) -> int | None:
    """Return the generation of a vectors file, None for any other file."""
    found = re.fullmatch(rf"vectors(?:\.(\d+))?\.(?:{_SUFFIXES})", path.name)
    return found and int(found[1] or 0)


def map_rows(home: Home, generation: int, rows: int, dim: int, dtype: str) -> Rows:
    """Map the first `rows` rows of a generation's files.

    Raises
    ------
    FileNotFoundError
        A file is gone, as happens to a reader that a compaction overtakes.
    IndexDamagedError
        One is too short.
    """
    planes = FORMATS[dtype].planes(dim)
    paths = [home.location / file_name(generation, plane.suffix) for plane in planes]
    for path, plane in zip(paths, planes, strict=True):
        size = path.stat().st_size if rows else 0
        if size < rows * plane.row_bytes:
            raise damaged(home, f"{path.name} has {size} bytes, not {rows * plane.row_bytes}")
    return Rows(dtype, tuple(map_file(*pair, rows) for pair in zip(paths, planes, strict=True)))


def map_file(path: Path, plane: Plane, rows: int) -> np.ndarray:
    """Map (rows, width) values; on a file system that maps no files, read them."""
    shape = rows, plane.width
    if not rows:
        return np.empty(shape, plane.dtype)
    if plane.resident:
        return np.asfortranarray(np.fromfile(path, plane.dtype, shape[0] * shape[1]).reshape(shape))
    try:
        # Copy on write: the array is writable, as kernels are compiled for, the file is safe.
        return np.asarray(np.memmap(path, plane.dtype, "c", shape=shape))
    except FileNotFoundError:
        raise
    except (OSError, ValueError):
        return np.fromfile(path, plane.dtype, rows * plane.width).reshape(shape)


class VectorsFile:
    """The live files of all planes, open for the one writer."""

    def __init__(self, home: Home, generation: int, dim: int, dtype: str, rows: int):
        """Open or make the files; what lies beyond `rows` was never committed and is cut off."""
        self.generation = generation
        self.dim = dim
        self.dtype = dtype
        self.rows = rows
        self._planes: list[_PlaneFile] = []
        try:
            for plane in FORMATS[dtype].planes(dim):
                path = home.location / file_name(generation, plane.suffix)
                self._planes.append(_PlaneFile(home, path, plane, rows))
        except BaseException:
            self.close()
            raise
        self.cut(rows)
        sync_folder(home.location)

    def append(self, rows: Rows) -> int:
        """Write rows at the end; the number of the first."""
        first = self.rows
        for file, values in zip(self._planes, rows.planes, strict=True):
            file.write(first, values)
        self.rows += rows.count
        return first

    def read(self, row: int, count: int = 1) -> Rows:
        """Return `count` rows."""
        return Rows(self.dtype, tuple(file.read(row, count) for file in self._planes))

    def sync(self) -> None:
        for file in self._planes:
            file.sync()

    def cut(self, rows: int) -> None:
        """Forget what lies beyond `rows`, all that is committed: nobody has more of it mapped."""
        self.rows = rows
        for file in self._planes:
            file.cut(rows)

    def close(self) -> None:
        for file in self._planes:
            file.close()


class _PlaneFile:
    """One plane's file."""

    def __init__(self, home: Home, path: Path, plane: Plane, rows: int):
        """Open a file of at least so many rows, or make it where there need be none."""
        self._path = path
        self._plane = plane
        make = 0 if rows else os.O_CREAT
        try:
            descriptor = os.open(path, os.O_RDWR | make | getattr(os, "O_BINARY", 0), 0o666)
        except FileNotFoundError as error:
            raise damaged(home, f"{path.name} is missing") from error
        self._file = open(descriptor, "r+b", buffering=0)
        size, least = os.fstat(descriptor).st_size, rows * plane.row_bytes
        if size < least:
            self._file.close()
            raise damaged(home, f"{path.name} has {size} bytes of {least}")

    def write(self, row: int, values: np.ndarray) -> None:
        self._file.seek(row * self._plane.row_bytes)
        write_all(self._file, np.ascontiguousarray(values, self._plane.dtype).reshape(-1).data)

    def read(self, row: int, count: int) -> np.ndarray:
        self._file.seek(row * self._plane.row_bytes)
        data = bytearray()
        while len(data) < count * self._plane.row_bytes:
            part = self._file.read(count * self._plane.row_bytes - len(data))
            if not part:
                raise OSError(f"{self._path.name} ends early")
            data += part
        return np.frombuffer(data, self._plane.dtype).reshape(count, self._plane.width)

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def cut(self, rows: int) -> None:
        # Windows does not shorten a file that is mapped; the next rows overwrite the rest.
        with suppress(OSError):
            self._file.truncate(rows * self._plane.row_bytes)

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
