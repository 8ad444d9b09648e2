r"""The graph of nearest neighbours of an index: what it is, and the file that holds it.

A graph belongs to the first rows of one generation of vectors files. Rows that come later are not
in it; a compaction, which gives rows other numbers, ends it. Its file is one header and the arrays
one after another, mapped as they are, with a digest of all of that at the end::

    rvcnn graph\n  JSON, padded with spaces to 4096 bytes  arrays, each to 64 bytes  sha256
"""

import hashlib
import json
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rvcnn.index.files import Home, sync_folder, write_all
from rvcnn.index.formats import Rows

FOLDER = "ann"
MAGIC = b"rvcnn graph\n"
VERSION = 1
_HEADER, _LINE, _DIGEST = 4096, 64, 32
_CHUNK = 1 << 22
_SAMPLE = 64  # rows that are compared when a graph is opened


class Graph(NamedTuple):
    """Neighbours of N rows, and where a walk among them begins.

    A walk begins in the upper graph, of `members` alone, at all of `entries`; what it finds there
    is where the walk in the whole graph begins. From there every row can be reached.

    Attributes
    ----------
    neighbours
        (N, degree) int32: of each row, ended by -1.
    members
        (M,) int32: the rows that the upper graph has.
    upper
        (M, degree) int32: their neighbours, as numbers of `members`.
    entries
        (E,) int32: numbers of `members`.
    upper_bytes, upper_steps
        (M, D) int8 and (M,) float32: their vectors.
    low_bytes, low_steps
        (N, D) int8 and (N,) float32: the vectors, where the index holds them otherwise; else (0, D)
        and (0,).
    """

    neighbours: np.ndarray
    members: np.ndarray
    upper: np.ndarray
    entries: np.ndarray
    upper_bytes: np.ndarray
    upper_steps: np.ndarray
    low_bytes: np.ndarray
    low_steps: np.ndarray


_DTYPES = Graph("<i4", "<i4", "<i4", "<i4", "|i1", "<f4", "|i1", "<f4")


class Header(NamedTuple):
    """What the file says of itself: the vectors it was built from, the shapes of its arrays.

    `digest` is of all bytes of the vectors, `sample` of a few rows'.
    """

    generation: int
    rows: int
    dimension: int
    metric: str
    dtype: str
    digest: str
    sample: str
    shapes: tuple[tuple[int, ...], ...]
    settings: dict[str, Any]


def graph_path(home: Home, generation: int, rows: int) -> Path:
    """Return where the graph of so many rows of a generation is kept."""
    return home.location / FOLDER / f"{generation}.{rows}.graph"


def graph_files(home: Home) -> dict[Path, tuple[int, int] | None]:
    """Return the files of the graphs' folder, each with its generation and rows if it is one."""
    try:
        names = sorted(os.listdir(home.location / FOLDER))
    except OSError:
        return {}
    found = {}
    for name in names:
        numbers = re.fullmatch(r"(\d+)\.(\d+)\.graph", name)
        found[home.location / FOLDER / name] = numbers and (int(numbers[1]), int(numbers[2]))
    return found


def newest(home: Home, generation: int, rows: int) -> Path | None:
    """Return the file of the graph that has the most of the first `rows` rows of a generation."""
    fit = {
        numbers[1]: path
        for path, numbers in graph_files(home).items()
        if numbers and numbers[0] == generation and numbers[1] <= rows
    }
    return fit[max(fit)] if fit else None


def clear_graphs(home: Home, generation: int, rows: int) -> None:
    """Delete every graph but the one that readers use."""
    used = newest(home, generation, rows)
    for path in graph_files(home):
        if path != used:
            with suppress(OSError):  # on Windows a reader may have it mapped
                path.unlink()
    with suppress(OSError):
        (home.location / FOLDER).rmdir()


def write_graph(home: Home, header: Header, graph: Graph) -> Path:
    """Write a graph's file: there is all of it or none."""
    path = graph_path(home, header.generation, header.rows)
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    text = MAGIC + json.dumps({"version": VERSION, **header._asdict()}).encode("ascii")
    digest = hashlib.sha256()
    with open(temporary, "wb", buffering=0) as file:
        for data in (text.ljust(_HEADER), *map(_padded, graph, _DTYPES)):
            for start in range(0, len(data), _CHUNK):
                digest.update(data[start : start + _CHUNK])
            write_all(file, data)
        write_all(file, digest.digest())
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
    return path


def _padded(array: np.ndarray, dtype: str) -> memoryview:
    data = memoryview(np.ascontiguousarray(array, dtype).reshape(-1).view(np.uint8))
    rest = -len(data) % _LINE
    return memoryview(bytes(data) + bytes(rest)) if rest else data


def read_header(path: Path) -> Header:
    """Read what a graph's file says of itself.

    Raises
    ------
    ValueError
        It is none, or not one of this version.
    """
    with open(path, "rb") as file:
        text = file.read(_HEADER)
    if len(text) < _HEADER or not text.startswith(MAGIC):
        raise ValueError("it does not begin as the file of a graph does")
    content = json.loads(text[len(MAGIC) :])
    if not isinstance(content, dict) or content.pop("version", None) != VERSION:
        raise ValueError(f"it is not of version {VERSION}")
    if set(content) != set(Header._fields):
        raise ValueError("its header has other entries")
    header = Header(**content)
    header = header._replace(shapes=tuple(tuple(shape) for shape in header.shapes))
    if not _consistent(header):
        raise ValueError("its header contradicts itself")
    if path.stat().st_size != sum(_sizes(header)) + _HEADER + _DIGEST:
        raise ValueError("its size is not what its header says")
    return header


def _consistent(header: Header) -> bool:
    """Whether the arrays are of the shapes that a graph has."""
    numbers = [header.generation, header.rows, header.dimension]
    numbers += [n for shape in header.shapes for n in shape]
    if not all(type(n) is int and 0 <= n < 1 << 40 for n in numbers):
        return False
    if [len(shape) for shape in header.shapes] != [2, 1, 2, 1, 2, 1, 2, 1]:
        return False
    shapes = Graph(*header.shapes)
    (rows, degree), (members,), dim = shapes.neighbours, shapes.members, header.dimension
    copied = shapes.low_steps[0]
    return (
        shapes.upper == (members, shapes.upper[1])
        and shapes.upper_bytes == (members, dim)
        and shapes.upper_steps == (members,)
        and shapes.low_bytes == (copied, dim)
        and copied == (0 if header.dtype == "int8" else rows)
        and rows == header.rows
        and min(degree, shapes.upper[1], dim) >= 1
        and 1 <= shapes.entries[0] <= members <= rows < 1 << 31
    )


def _sizes(header: Header) -> list[int]:
    shapes = zip(header.shapes, _DTYPES, strict=True)
    sizes = [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shapes]
    return [size + -size % _LINE for size in sizes]


def map_graph(path: Path, header: Header) -> Graph:
    """Map a graph's arrays; on a file system that maps no files, read them.

    Raises
    ------
    ValueError
        A walk would begin at a row that is not there.
    """
    try:
        data = np.memmap(path, np.uint8, "c")
    except (OSError, ValueError):
        data = np.fromfile(path, np.uint8)
    arrays, start = [], _HEADER
    for shape, dtype, size in zip(header.shapes, _DTYPES, _sizes(header), strict=True):
        used = math.prod(shape) * np.dtype(dtype).itemsize
        arrays.append(np.asarray(data[start : start + used].view(dtype)).reshape(shape))
        start += size
    graph = Graph(*arrays)
    # What walks take unchecked is copied: these few numbers, unlike a file, stay what they are.
    graph = graph._replace(members=np.array(graph.members), entries=np.array(graph.entries))
    for numbers, count in ((graph.members, header.rows), (graph.entries, len(graph.members))):
        if numbers.min() < 0 or numbers.max() >= count:
            raise ValueError("it names rows that are not there")
    return graph


def digest_holds(path: Path) -> bool:
    """Whether a file is as it was written."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        left = path.stat().st_size - _DIGEST
        while left > 0 and (chunk := file.read(min(left, _CHUNK))):
            digest.update(chunk)
            left -= len(chunk)
        return file.read() == digest.digest()


def digest_of(vectors: Rows, rows: int) -> str:
    """Return the digest of the first rows' bytes."""
    digest = hashlib.sha256()
    for plane in vectors.planes:
        for start in range(0, rows, 1 << 14):
            digest.update(np.ascontiguousarray(plane[start : min(rows, start + (1 << 14))]))
    return digest.hexdigest()


def sample_of(vectors: Rows, rows: int) -> str:
    """Return the digest of a few of the first rows."""
    digest = hashlib.sha256()
    for row in np.unique(np.linspace(0, rows - 1, _SAMPLE).astype(np.int64)):
        digest.update(vectors.sum_of(int(row)))
    return digest.hexdigest()
