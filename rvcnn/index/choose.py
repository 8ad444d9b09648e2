"""Which rows of a snapshot a filter keeps."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rvcnn.index.files import Home, damaged
from rvcnn.where import COLUMNS, Condition
from rvcnn.where.evaluate import fields, predicate
from rvcnn.where.narrow import narrow

_CHUNK = 4096


def rows_where(home: Home, connection: sqlite3.Connection, condition: Condition) -> np.ndarray:
    """Return the rows, int64, of the items with a vector for which a condition is true.

    Only the columns that it asks for are read, and only of rows that the database does not rule
    out.
    """
    names = sorted({field.column for field in fields(condition)})
    sources = ["metadata" if name == "metadata" else COLUMNS[name].source for name in names]
    test = predicate(condition, {name: place for place, name in enumerate(names, 1)})
    clause = narrow(condition)
    found = connection.execute(
        f"SELECT {', '.join(['row', *sources])} FROM items WHERE row IS NOT NULL AND {clause.text}",
        clause.values,
    )
    try:
        return np.fromiter((row[0] for row in _converted(found, names) if test(row)), np.int64)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(home, f"what is stored about an item cannot be read: {error}") from error


def _converted(found: sqlite3.Cursor, names: list[str]) -> Iterator[tuple]:
    """Yield records with the values that a filter speaks of in place of the stored ones."""
    conversions = [_CONVERSIONS[name] for name in names]
    while records := found.fetchmany(_CHUNK):
        numbers, *columns = zip(*records, strict=True)
        converted = [convert(column) for convert, column in zip(conversions, columns, strict=True)]
        yield from zip(numbers, *converted, strict=True)


def _objects(texts: Sequence[str | None]) -> list:
    # One call for all takes half the time of one for each.
    found = json.loads(f"[{','.join(text or 'null' for text in texts)}]")
    if len(found) != len(texts):
        raise ValueError("metadata is no JSON")
    return found


def _of_each(convert: Callable) -> Callable[[Sequence], Sequence]:
    return lambda column: [None if value is None else convert(value) for value in column]


_CONVERSIONS: dict[str, Callable[[Sequence], Sequence]] = {
    name: _of_each(column.convert) if column.convert else tuple for name, column in COLUMNS.items()
}
_CONVERSIONS["metadata"] = _objects
