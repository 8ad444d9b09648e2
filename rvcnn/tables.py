"""Tables that people keep of their images: CSV, TSV or JSON lines, row by row, bad ones named."""

import base64
import csv
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rvcnn.errors import UsageError

PATH_COLUMNS = ("path", "file_name", "filename", "file")
_LONGEST_LINE = 1 << 24
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_MOST_DIGITS = 300
_UTF8_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Row(NamedTuple):
    """What a table says of one image.

    Attributes
    ----------
    line
        The number of the line that it begins in, from 1.
    path
        As it is written.
    values
        What it says, by column.
    columns
        The columns that it might have said something in; None where there are only paths.
    """

    line: int
    path: str
    values: dict[str, Any]
    columns: tuple[str, ...] | None


class BadLine(NamedTuple):
    """A line that is no row, and why."""

    line: int
    reason: str


class _BadRow(ValueError):
    pass


def check_table(file: Path) -> None:
    """Raise UsageError unless this is a file with a suffix of `READERS`."""
    if file.suffix.lower() not in READERS:
        raise UsageError(
            f"cannot tell the format of {file}: its name ends in none of {' '.join(READERS)}"
        )
    if not file.is_file():
        raise UsageError(f"{file} is a folder" if file.is_dir() else f"no such file: {file}")


def read_table(file: Path, path_column: str | None = None) -> Iterator[Row | BadLine]:
    """Read a table in bounded memory.

    Parameters
    ----------
    file
        UTF-8, of the format that its suffix says.
    path_column
        The column with the paths; by default the first of `PATH_COLUMNS` that is there.

    Yields
    ------
    Rows, whose values are numbers, truth values, texts or None, in JSON lines lists and objects
    too; and the lines that are none. A column (or key) ``metadata`` that holds an object, as
    exports have it, is the values; the others are not looked at then.

    Raises
    ------
    UsageError
        No such file, not UTF-8, no column of paths, or a line of more than 16 MiB.
    """
    check_table(file)
    columns = PATH_COLUMNS if path_column is None else (path_column,)
    with open(file, "rb") as stream:
        yield from READERS[file.suffix.lower()](file, stream, columns)


def _lines(file: Path, stream: BinaryIO) -> Iterator[str]:
    """Yield lines; bytes that are no UTF-8 as file names have them."""
    first = stream.read(3)
    if first[:2] in _UTF16_MARKS:
        raise UsageError(f"{file} is UTF-16: save it as UTF-8")
    if first != _UTF8_MARK:
        stream.seek(0)
    number = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise UsageError(f"{file}, line {number}: longer than {_LONGEST_LINE >> 20} MiB")
        yield line.decode("utf-8", "surrogateescape")


# --- CSV and TSV ------------------------------------------------------------------------------


def _read_csv(file, stream, columns, delimiter=",") -> Iterator[Row | BadLine]:
    lines = csv.reader(
        _lines(file, stream), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True
    )
    header = path_at = None
    while True:
        start = lines.line_num + 1
        try:
            cells = next(lines)
            if not cells:
                continue
            if header is None:
                header = cells
                path_at = _path_at(file, header, columns)
                continue
            yield _of_cells(start, header, cells, path_at)
        except StopIteration:
            break
        except (csv.Error, _BadRow) as error:
            yield BadLine(start, str(error))
    if header is None:
        raise UsageError(f"{file} is empty: its first line names the columns")


def _read_tsv(file, stream, columns) -> Iterator[Row | BadLine]:
    return _read_csv(file, stream, columns, "\t")


def _path_at(file: Path, header: Sequence[str], columns: Sequence[str]) -> int:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise UsageError(f"{file} has several columns {', '.join(sorted(twice))}")
    for name in columns:
        if name in header:
            return header.index(name)
    raise UsageError(
        f"{file} has no column {columns[0]} (its columns: {', '.join(header)[:200]}): "
        "--path-column NAME says which has the paths"
    )


def _of_cells(line: int, header: Sequence[str], cells: Sequence[str], path_at: int) -> Row:
    if len(cells) != len(header):
        raise _BadRow(f"{len(cells)} values, where the first line has {len(header)}")
    others = dict(zip(header, cells, strict=True))
    path = others.pop(header[path_at])
    if "metadata" in others:
        values = _json_object(others["metadata"]) if others["metadata"] else {}
        return _row(line, path, values, tuple(values))
    # An empty cell says nothing: it is neither a text nor null.
    values = {name: typed(cell) for name, cell in others.items() if cell}
    return _row(line, path, values, tuple(others) or None)


def typed(cell: str) -> Any:
    """Return the number, truth value or null that a cell is, or else its text.

    Numbers are JSON's: ``007`` and ``+1`` are texts.
    """
    number = _NUMBER.fullmatch(cell) if len(cell) <= _MOST_DIGITS else None
    if number:
        value = float(cell) if number[1] or number[2] else int(cell)
        return value if math.isfinite(value) else cell
    if cell == "null":
        return None
    return {"true": True, "false": False}.get(cell.lower(), cell)


# --- JSON lines -------------------------------------------------------------------------------


def _read_jsonl(file, stream, columns) -> Iterator[Row | BadLine]:
    for number, text in enumerate(_lines(file, stream), 1):
        if text.isspace():
            continue
        try:
            yield _of_object(number, _json_object(text), columns)
        except _BadRow as error:
            yield BadLine(number, str(error))


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError:
        raise _BadRow("nested too deep") from None
    except ValueError as error:
        raise _BadRow(f"no JSON: {error}") from None
    if not isinstance(value, dict):
        raise _BadRow("no JSON object")
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number that JSON has")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:40])


def _of_object(line: int, found: dict[str, Any], columns: Sequence[str]) -> Row:
    column = next((name for name in columns if name in found), None)
    if column is None:
        raise _BadRow(f"no key {columns[0]}")
    path = found.pop(column)
    raw = found.pop("path_bytes", None)
    if isinstance(raw, str):
        try:
            path = os.fsdecode(base64.b64decode(raw, validate=True))
        except ValueError:
            raise _BadRow("path_bytes is no base64") from None
    if not isinstance(path, str):
        raise _BadRow(f"{column} is no text")
    if isinstance(found.get("metadata", 0), (dict, type(None))):
        found = found["metadata"] or {}
        return _row(line, path, found, tuple(found))
    return _row(line, path, found, tuple(found) or None)


def _row(line: int, path: str, values: dict, columns: tuple[str, ...] | None) -> Row:
    if not path:
        raise _BadRow("no path")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise _BadRow("a path that no file can have") from None
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _BadRow("a value that is no UTF-8") from None
    return Row(line, path, values, columns)


READERS = {".csv": _read_csv, ".tsv": _read_tsv, ".jsonl": _read_jsonl, ".ndjson": _read_jsonl}
"""The readers of tables by suffix."""
