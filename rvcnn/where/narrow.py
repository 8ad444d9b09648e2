"""A condition of the database that all images hold for which a filter is true, and perhaps others.

It only spares Python rows: what is true of a row, `rvcnn.where.evaluate` alone says. Values are
parameters of the query, never part of its text.
"""

import json
import os
from typing import NamedTuple

from rvcnn.where.terms import (
    And,
    Compare,
    Condition,
    Constant,
    Contains,
    Field,
    Match,
    Or,
    StartsWith,
    Term,
)

_MOST_VALUES = 500  # SQLite has limits to the values and the depth of a condition
_WHOLE = 2**63
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!="}
_INTEGERS = ("size", "width", "height", "added_at")  # as the database has them


class Clause(NamedTuple):
    """An expression of SQL and the values of its parameters."""

    text: str
    values: tuple


ALL = Clause("1", ())


def narrow(condition: Condition) -> Clause:
    """Return what can be asked of the database in advance; `ALL` where nothing can."""
    clause = _narrow(condition)
    return clause if len(clause.values) <= _MOST_VALUES else ALL


def _narrow(condition: Condition) -> Clause:
    match condition:
        case And(parts):
            return _joined(" AND ", [c for c in map(narrow, parts) if c != ALL])
        case Or(parts):
            clauses = [narrow(part) for part in parts]
            return ALL if ALL in clauses else _joined(" OR ", clauses)
        case Compare(sign, left, right):
            return _of_compare(sign, left, right)
        case Contains(term, whole):
            return _joined(" AND ", [*_of_keys(term), *_of_keys(whole)])
        case Match(_, term, _):
            return _joined(" AND ", _of_keys(term))
        case StartsWith(Field("path"), text) if text.endswith("/"):
            first = os.fsencode(text)
            return Clause("(id >= ? AND id < ?)", (first, first[:-1] + b"0"))
    return ALL


def _of_compare(sign: str, left: Term, right: Term) -> Clause:
    if isinstance(left, Constant):
        sign, left, right = _TURNED[sign], right, left
    clauses = [*_of_keys(left), *_of_keys(right)]
    value = right.value if isinstance(right, Constant) else None
    if sign == "=" and isinstance(left, Field) and left.keys and isinstance(value, str):
        clauses.append(_holds(value))
    elif isinstance(left, Field) and left.column in _INTEGERS and _is_number(value):
        clauses.append(Clause(f"{left.column} {sign} ?", (value,)))
    return _joined(" AND ", clauses)


def _of_keys(term: Term) -> list[Clause]:
    """A comparison can only be true where every key is there."""
    return [_holds(key) for key in term.keys] if isinstance(term, Field) else []


def _holds(text: str) -> Clause:
    # Metadata is stored as `json.dumps` writes it, and so holds a text as that writes it.
    return Clause("instr(metadata, ?) > 0", (json.dumps(text),))


def _is_number(value: object) -> bool:
    """Whether SQLite takes a value, and compares it with its integers as Python does."""
    return type(value) in (int, float) and -_WHOLE <= value < _WHOLE


def _joined(word: str, clauses: list[Clause]) -> Clause:
    if not clauses:
        return ALL
    values = tuple(value for clause in clauses for value in clause.values)
    return Clause(f"({word.join(clause.text for clause in clauses)})", values)
