"""Attaching a table of the user's own metadata to the images of an index."""

import os
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rvcnn.index import Writer
from rvcnn.place import Place, open_place
from rvcnn.tables import BadLine, Row, check_table, read_table


@dataclass
class Tagged:
    """What became of a table's lines.

    Attributes
    ----------
    folder
        The folder whose index it was.
    ids
        The images that were tagged.
    unknown
        How many lines spoke of images that the index does not have.
    bad
        How many lines could not be read.
    """

    folder: Path
    ids: set[str] = field(default_factory=set)
    unknown: int = 0
    bad: int = 0


def tag(
    folder: Path,
    file: Path,
    how: str = "merge",
    path_column: str | None = None,
    strict: bool = False,
    wait: float = 10.0,
    skipped: Callable[[str, str], None] = lambda what, reason: None,
) -> Tagged:
    """Attach the metadata in a table to the images of a folder's index, in one commit.

    Parameters
    ----------
    folder
        The folder that relative paths are relative to; its index is the nearest at or above it.
    file
        CSV, TSV or JSON lines: see `rvcnn.tables.read_table`.
    how
        ``merge`` into what the images have, ``replace`` that, or ``remove`` from it the keys that
        the table has; all, where it has none.
    path_column
        The column with the paths.
    strict
        Change nothing if any line is bad or speaks of an image that the index does not have.
    wait
        Seconds to wait for another writer.
    skipped
        Called with each line that is left out, and the reason.

    Raises
    ------
    UsageError, IndexMissingError, IndexLockedError, IndexDamagedError
        As reading the table and writing the index do; nothing was changed then.
    """
    check_table(file)
    place = open_place(folder)
    report = Tagged(place.index.path)
    writer = place.index.writer(wait)
    try:
        for row in read_table(file, path_column):
            if isinstance(row, BadLine):
                report.bad += 1
                skipped(f"{file}, line {row.line}", row.reason)
            elif (identity := _tag_row(writer, place, row, how)) is None:
                report.unknown += 1
                skipped(f"{row.path} ({file}, line {row.line})", "not in the index")
            else:
                report.ids.add(identity)
        if not (strict and (report.bad or report.unknown)):
            writer.commit()
    finally:
        writer.close()
    return report


def _tag_row(writer: Writer, place: Place, row: Row, how: str) -> str | None:
    """Tag one image; its id, or None where the index does not have it."""
    values = row.values
    if how == "remove" and row.columns is None:
        how = "replace"
    elif how == "remove":
        values = dict.fromkeys(row.columns)
    return next((i for i in _ids(place, row.path) if writer.tag(i, values, how)), None)


def _ids(place: Place, path: str) -> Iterator[str]:
    """Yield the ids that a path in a table may mean."""
    yield place.below + path
    path = path.replace(os.sep, "/")
    if not os.path.isabs(path):
        yield posixpath.normpath(place.below + path)
        return
    folder = os.path.realpath(os.path.dirname(path))
    for base, absolute in (
        (place.folder, os.path.normpath(path)),
        (place.index.path, os.path.normpath(path)),
        (place.index.path, os.path.join(folder, os.path.basename(path))),
    ):
        try:
            inside = os.path.relpath(absolute, base).replace(os.sep, "/")
        except ValueError:  # another drive
            continue
        if not inside.startswith("../"):
            yield place.below + inside if base == place.folder else inside
