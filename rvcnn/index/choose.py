"""Which rows of a snapshot a filter keeps."""

import json
import os
import sqlite3
from collections.abc import Iterator

import numpy as np

from rvcnn.index.files import Home, damaged
from rvcnn.where import COLUMNS, Condition, Field, StartsWith
from rvcnn.where.evaluate import fields, predicate
from rvcnn.where.terms import And

_CHUNK = 4096


def rows_where(home: Home, connection: sqlite3.Connection, condition: Condition) -> np.ndarray:
    """Return the rows, int64, of the items with a vector for which a condition is true.

    Only the columns that it asks for are read; what it compares them with stays in Python.
    """
    condition, clause, bounds = _below(condition)
    names = sorted({field.column for field in fields(condition)})
    sources = ["metadata" if name == "metadata" else COLUMNS[name].source for name in names]
    test = predicate(condition, {name: place for place, name in enumerate(names, 1)})
    found = connection.execute(
        f"SELECT {', '.join(['row', *sources])} FROM items WHERE row IS NOT NULL {clause}", bounds
    )
    try:
        return np.fromiter((row[0] for row in _converted(found, names) if test(row)), np.int64)
    except (ValueError, TypeError, RecursionError) as error:
        raise damaged(home, f"what is stored about an item cannot be read: {error}") from error


def _below(condition: Condition) -> tuple[Condition, str, tuple[bytes, ...]]:
    """Take the condition that all paths begin with a folder's out, as a clause and its values."""
    parts = condition.parts if isinstance(condition, And) else (condition,)
    for part in parts:
        if isinstance(part, StartsWith) and part.term == Field("path") and part.text[-1:] == "/":
            first = os.fsencode(part.text)
            others = And(tuple(other for other in parts if other is not part))
            return others, "AND id >= ? AND id < ?", (first, first[:-1] + b"0")
    return condition, "", ()


def _converted(found: sqlite3.Cursor, names: list[str]) -> Iterator[list]:
    """Yield records with the values that a filter speaks of in place of the stored ones."""
    conversions = [
        (place, json.loads if name == "metadata" else COLUMNS[name].convert)
        for place, name in enumerate(names, 1)
    ]
    conversions = [(place, convert) for place, convert in conversions if convert is not None]
    while records := found.fetchmany(_CHUNK):
        for record in records:
            row = list(record)
            for place, convert in conversions:
                if row[place] is not None:
                    row[place] = convert(row[place])
            yield row
