"""Which rows of a snapshot a filter keeps."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from rvcnn.errors import UsageError
from rvcnn.index.files import Home, damaged
from rvcnn.where import COLUMNS, Condition, parse
from rvcnn.where.evaluate import fields, predicate
from rvcnn.where.narrow import narrow

_CHUNK = 4096
_MOST_KEPT = 8


class Choices:
    """The rows that the filters asked for last keep of one commit."""

    def __init__(self):
        self._kept: dict[str, np.ndarray] = {}

    def rows(
        self, home: Home, connection: sqlite3.Connection, where: Condition | str
    ) -> np.ndarray:
        """Return (N,) int64: as `rows_where`, looked for once."""
        where = parse(where) if isinstance(where, str) else where
        if not isinstance(where, Condition):
            raise UsageError(f'a filter is a text, as "year >= 2020", not {where!r}')
        key = repr(where)
        rows = self._kept.pop(key, None)
        if rows is None:
            rows = rows_where(home, connection, where)
            for oldest in list(self._kept)[: max(0, len(self._kept) + 1 - _MOST_KEPT)]:
                self._kept.pop(oldest, None)
        self._kept[key] = rows
        return rows


def rows_where(home: Home, connection: sqlite3.Connection, condition: Condition) -> np.ndarray:
    """Return the rows, int64, of the items with a vector for which a condition is true.

    They are in the order of the ids' bytes.
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
