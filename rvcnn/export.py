"""Vectors and their paths as files for other tools: npz, npy, csv, jsonl, parquet.

Rows are sorted by path, the same vectors give the same bytes, and a file appears whole or not at
all: it is written beside its target and then moved over it.
"""

import csv
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rvcnn.errors import UsageError
from rvcnn.paths import open_whole, path_fields

DTYPES = ("float32", "float16", "int8")
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


class Table(NamedTuple):
    """Rows to export.

    `paths` are as `os.fsdecode` gives them; `embeddings` is (N, D); `scales` (N,) float32 turn
    int8 rows back into vectors, ``embeddings * scales[:, None]``, and is None for other types;
    `metadata` are N JSON texts, empty for an image that has none, and None where no image has any.
    """

    paths: list[str]
    embeddings: np.ndarray
    scales: np.ndarray | None
    metadata: list[str] | None = None


def write(
    file: Path,
    paths: Sequence[str],
    vectors: np.ndarray,
    dtype: str = "float32",
    metadata: Sequence[Mapping[str, Any] | None] = (),
) -> None:
    """Write `vectors` (N, D) and their `paths` to `file`; its suffix is the format.

    Those formats that have a place for it carry the images' `metadata`: none, or N.

    Raises
    ------
    UsageError
        An unknown suffix or dtype, a target that cannot be a file, a missing extra, or values that
        `dtype` or the format cannot hold.
    """
    writer = check_target(file)
    writer(Path(os.path.realpath(file)), make_table(paths, vectors, dtype, metadata))


def check_target(file: Path) -> "Callable[[Path, Table], None]":
    """Return the writer for `file`, or raise UsageError: to be called before the work begins."""
    writer = WRITERS.get(file.suffix.lower())
    if writer is None:
        raise UsageError(f"cannot tell the format of {file}: end it in one of {' '.join(WRITERS)}")
    if file.is_dir():
        raise UsageError(f"cannot write {file}: it is a folder")
    if file.exists() and not file.is_file():
        raise UsageError(f"cannot write {file}: it is no regular file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"cannot write {file}: no such folder: {file.parent}")
    if writer is write_parquet:
        _pyarrow()
    return writer


def make_table(
    paths: Sequence[str],
    vectors: np.ndarray,
    dtype: str,
    metadata: Sequence[Mapping[str, Any] | None] = (),
) -> Table:
    """Sort the rows by path and convert them to `dtype`."""
    if dtype not in DTYPES:
        raise UsageError(f"unknown dtype {dtype}: one of {', '.join(DTYPES)}")
    raw = [os.fsencode(p) for p in paths]
    order = sorted(range(len(raw)), key=raw.__getitem__)
    vectors = np.asarray(vectors, np.float32)[np.array(order, np.intp)]
    scales = None
    if dtype == "int8":
        vectors, scales = quantize_rows(vectors)
    with np.errstate(over="ignore"):
        converted = vectors.astype(dtype, copy=False)
    if dtype == "float16" and not np.isfinite(converted).all():
        raise UsageError("float16 holds values up to 65504, and some are larger: use float32")
    texts = [_json_text(metadata[i]) for i in order] if any(metadata) else None
    return Table([paths[i] for i in order], converted, scales, texts)


def _json_text(metadata: Mapping[str, Any] | None) -> str:
    if not metadata:
        return ""
    text = json.dumps(metadata, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(metadata)


def quantize_rows(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (N, D) int8 rows and (N,) float32 scales; a row's largest value becomes 127.

    Cosines between rows do not need the scales.
    """
    scales = np.abs(vectors).max(axis=1, initial=0) / np.float32(127)
    divisors = np.where(scales > 0, scales, np.float32(1))
    # A scale among the smallest of all float32 is rounded, and so may be too small.
    return np.rint(vectors / divisors[:, None]).clip(-127, 127).astype(np.int8), scales


def write_npz(file: Path, table: Table) -> None:
    """Arrays `embeddings`, `paths` and, for int8, `scales`; loads without pickle."""
    arrays = {"embeddings": table.embeddings, "paths": np.array(table.paths, dtype=np.str_)}
    if table.scales is not None:
        arrays["scales"] = table.scales
    with open_whole(file) as out, zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy", ZIP_EPOCH)
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def write_npy(file: Path, table: Table) -> None:
    """The vectors alone; the paths go to ``FILE.paths.txt``, line i for row i.

    The scales of int8 go to ``FILE.scales.npy``.
    """
    raw = [os.fsencode(p) for p in table.paths]
    for path in raw:
        if b"\n" in path:
            raise UsageError(
                f"{os.fsdecode(path)} has a newline in its name, which the list of paths beside "
                "an .npy file cannot hold: use .npz or .jsonl"
            )
    with open_whole(file.with_suffix(".paths.txt")) as out:
        out.writelines(path + b"\n" for path in raw)
    beside = file.with_suffix(".scales.npy")
    if table.scales is None:
        beside.unlink(missing_ok=True)  # those of an earlier export would be taken for this one's
    else:
        _write_array(beside, table.scales)
    _write_array(file, table.embeddings)


def _write_array(file: Path, array: np.ndarray) -> None:
    with open_whole(file) as out:
        np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)


def write_csv(file: Path, table: Table) -> None:
    """A header ``path,e0,e1,...`` and a line a row; names as their bytes are.

    After the path come ``metadata``, as JSON, where any image has some, and ``scale`` for int8.
    """
    scale = [] if table.scales is None else ["scale"]
    tag = [] if table.metadata is None else ["metadata"]
    with open_whole(file) as out:
        text = io.TextIOWrapper(out, "utf-8", errors="surrogateescape", newline="")
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(["path", *tag, *scale, *(f"e{i}" for i in range(table.embeddings.shape[1]))])
        for path, tags, scales, row in zip(*_columns(table), strict=True):
            lines.writerow([path, *tags, *_shortest(scales), *_shortest(row)])
        text.flush()
        text.detach()


def write_jsonl(file: Path, table: Table) -> None:
    """An object a line: ``path``, ``path_bytes`` where it is no UTF-8, ``embedding``.

    Before that come ``metadata``, where any image has some, and ``scale`` for int8.
    """
    with open_whole(file) as out:
        for path, tags, scales, row in zip(*_columns(table), strict=True):
            head = json.dumps(path_fields(path), ensure_ascii=False)[:-1]
            head += "".join(f', "metadata": {tag or "null"}' for tag in tags)
            head += "".join(f', "scale": {scale}' for scale in _shortest(scales))
            out.write(f'{head}, "embedding": [{", ".join(_shortest(row))}]}}\n'.encode())


def write_parquet(file: Path, table: Table) -> None:
    """Columns ``path``, ``embedding`` (a list of fixed size) and, for int8, ``scale``.

    Where any image has some, ``metadata``, as JSON.
    """
    pyarrow, parquet = _pyarrow()
    fields = [path_fields(path) for path in table.paths]
    flat = pyarrow.array(np.ascontiguousarray(table.embeddings).reshape(-1))
    columns = {
        "path": pyarrow.array([f["path"] for f in fields], pyarrow.string()),
        "embedding": pyarrow.FixedSizeListArray.from_arrays(flat, table.embeddings.shape[1]),
    }
    if table.scales is not None:
        columns["scale"] = pyarrow.array(table.scales)
    if table.metadata is not None:
        texts = [text or None for text in table.metadata]
        columns["metadata"] = pyarrow.array(texts, pyarrow.string())
    if any("path_bytes" in f for f in fields):
        columns["path_bytes"] = pyarrow.array([os.fsencode(p) for p in table.paths])
    with open_whole(file) as out:
        parquet.write_table(pyarrow.table(columns), out)


def _columns(table: Table) -> tuple[list[str], list[tuple[str, ...]], np.ndarray, np.ndarray]:
    """Return the paths, the texts and scales, one a row or none, and the vectors."""
    count = len(table.paths)
    texts = [()] * count if table.metadata is None else [(text,) for text in table.metadata]
    scales = np.empty((count, 0)) if table.scales is None else table.scales[:, None]
    return table.paths, texts, scales, table.embeddings


def _shortest(row: np.ndarray) -> list[str]:
    """Return the shortest text of each number that reads back as the same number."""
    return row.astype(np.str_).tolist()


def _pyarrow():
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise UsageError("writing .parquet needs pyarrow: pip install 'rvcnn[parquet]'") from None
    return pyarrow, parquet


WRITERS: dict[str, Callable[[Path, Table], None]] = {
    ".npz": write_npz,
    ".npy": write_npy,
    ".csv": write_csv,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}
