"""A vector from a file of vectors: NumPy's .npy, or lines of JSON."""

import io
import json
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rvcnn.errors import UsageError

_MAGIC = b"\x93NUMPY"
_MOST_BYTES = 1 << 26
_LARGEST = float(np.finfo(np.float32).max)
_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_vector(file: Path | BinaryIO, row: int = 0) -> np.ndarray:
    """Read one vector: (D,) float32.

    Parameters
    ----------
    file
        A path, or an open binary file. What it holds, its first bytes tell: an .npy array (D,) or
        (N, D) of numbers, or lines of JSON, each a list of numbers or an object with one under
        ``embedding``.
    row
        Which row or line, from 0.

    Raises
    ------
    UsageError
        No such file, no such row, or something else.
    """
    if row < 0:
        raise UsageError(f"rows are counted from 0, so there is no row {row}")
    if not isinstance(file, Path):
        return _read(_held(file), "the input", row)
    try:
        with open(file, "rb") as stream:
            return _read(stream if stream.seekable() else _held(stream), str(file), row)
    except (FileNotFoundError, IsADirectoryError):
        raise UsageError(f"no such file of vectors: {file}") from None


def _held(stream: BinaryIO) -> io.BufferedReader:
    """Return what a pipe gives as a stream that can go back."""
    data = stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise UsageError(f"more than {_MOST_BYTES >> 20} MiB of vectors: give them as a file")
    return io.BufferedReader(io.BytesIO(data))


def _read(stream: io.BufferedReader, name: str, row: int) -> np.ndarray:
    if stream.peek(len(_MAGIC))[: len(_MAGIC)] == _MAGIC:
        found = _of_array(stream, name, row)
    else:
        found = _of_lines(stream, name, row)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(found, np.float32)


def _of_array(stream: io.BufferedReader, name: str, row: int) -> np.ndarray:
    """Read a row of an array, and no more than that row."""
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran, dtype = _READERS[version](stream)
    except (ValueError, KeyError) as error:
        raise UsageError(f"{name} is no array that can be read: {error}") from None
    if dtype.kind not in "fiu" or len(shape) not in (1, 2) or (fortran and len(shape) == 2):
        raise UsageError(f"{name} holds no rows of numbers in C order: {dtype}, {shape}")
    count, dim = shape if len(shape) == 2 else (1, *shape)
    _check_row(name, row, count)
    start, size = stream.tell(), dim * dtype.itemsize
    if not 0 < size <= _MOST_BYTES:
        raise UsageError(f"{name} has rows of {dim} numbers")
    stream.seek(start + row * size)
    data = stream.read(size)
    if len(data) < size:
        raise UsageError(f"{name} ends before its row {row}")
    return np.frombuffer(data, dtype)


def _of_lines(stream: io.BufferedReader, name: str, row: int) -> list[float]:
    for number in range(row + 1):
        line = stream.readline(_MOST_BYTES)
        if not line.strip():
            _check_row(name, row, number)
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is neither an .npy array nor lines of JSON") from None
    if isinstance(found, dict):
        found = found.get("embedding")
    if not isinstance(found, list) or not found or not all(map(_is_number, found)):
        raise UsageError(f"{name} has no list of numbers in its line {row + 1}")
    return found


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _check_row(name: str, row: int, count: int) -> None:
    if row >= count:
        raise UsageError(f"{name} has {count} row{'s' * (count != 1)}, and so no row {row}")
