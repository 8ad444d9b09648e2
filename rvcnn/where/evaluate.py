"""Filters as functions of one image's values.

Truth has three values, as in SQL: a comparison with null, or with what is not there, is unknown
(None), and so is the order of values of different kinds, as of a number and a text. ``not`` leaves
unknown unknown, and only what is true is found. Values of different kinds are never equal; whole
and other numbers are one kind, ``true`` is not 1.
"""

import fnmatch
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rvcnn.errors import UsageError
from rvcnn.where.terms import (
    And,
    Compare,
    Condition,
    Constant,
    Contains,
    Field,
    IsNull,
    Match,
    Not,
    Or,
    StartsWith,
    Term,
)

Values: TypeAlias = Sequence[Any]
Truth: TypeAlias = "bool | None"
Predicate: TypeAlias = Callable[[Values], Truth]

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_KINDS = {bool: "truth", int: "number", float: "number", str: "text"}


def fields(condition: Condition) -> set[Field]:
    """Return the fields that a condition asks for."""
    match condition:
        case And(parts) | Or(parts):
            return set().union(*map(fields, parts))
        case Not(part):
            return fields(part)
        case Compare(_, left, right) | Contains(left, right):
            return {term for term in (left, right) if isinstance(term, Field)}
    return {condition.term} if isinstance(condition.term, Field) else set()


def predicate(condition: Condition, places: Mapping[str, int]) -> Predicate:
    """Return the function that tells, of a row of values, whether a condition holds.

    `places` says where in the row each column's value is; that of ``metadata`` is the object or
    None.
    """
    match condition:
        case And(parts):
            return _all([predicate(part, places) for part in parts])
        case Or(parts):
            return _any([predicate(part, places) for part in parts])
        case Not(part):
            inner = predicate(part, places)
            return lambda row: None if (truth := inner(row)) is None else not truth
        case Compare(sign, left, right):
            return _compare(sign, _getter(left, places), _getter(right, places))
        case Contains(term, whole):
            return _contains(_getter(term, places), _getter(whole, places))
        case IsNull(term):
            get = _getter(term, places)
            return lambda row: get(row) is None
        case StartsWith(term, text):
            return _of_text(_getter(term, places), lambda value: value.startswith(text))
        case Match(sign, term, pattern):
            return _of_text(_getter(term, places), MATCHERS[sign](pattern))
    raise TypeError(f"no condition: {condition!r}")


def _getter(term: Term, places: Mapping[str, int]) -> Callable[[Values], Any]:
    if isinstance(term, Constant):
        return lambda row: term.value
    place = places[term.column]
    if not term.keys:
        return operator.itemgetter(place)

    def get(row):
        value = row[place]
        for key in term.keys:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    return get


def _compare(sign: str, left: Callable, right: Callable) -> Predicate:
    order = _ORDER.get(sign)
    equal = sign == "="

    def test(row):
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        kind = _KINDS.get(type(a), "other")
        same = kind == _KINDS.get(type(b), "other")
        if order is None:
            return (same and a == b) is equal
        return order(a, b) if same and kind != "other" else None

    return test


def _contains(item: Callable, whole: Callable) -> Predicate:
    def test(row):
        value, members = item(row), whole(row)
        if value is None or members is None:
            return None
        kind = type(value)
        same = {int: (int, float), float: (int, float)}.get(kind, (kind,))
        return isinstance(members, list) and any(type(m) in same and m == value for m in members)

    return test


def _of_text(get: Callable[[Values], Any], matches: Callable[[str], bool]) -> Predicate:
    """What is no text is not like any; what is not there may be."""

    def test(row):
        value = get(row)
        if value is None:
            return None
        return isinstance(value, str) and matches(value)

    return test


def _all(tests: Sequence[Predicate]) -> Predicate:
    def test(row):
        truth = True
        for one in tests:
            found = one(row)
            if found is False:
                return False
            if found is None:
                truth = None
        return truth

    return test


def _any(tests: Sequence[Predicate]) -> Predicate:
    def test(row):
        truth = False
        for one in tests:
            found = one(row)
            if found:
                return True
            if found is None:
                truth = None
        return truth

    return test


# --- patterns ---------------------------------------------------------------------------------


def _like(pattern: str) -> Callable[[str], bool]:
    """Match SQL's patterns: ``%`` any characters, ``_`` one, after a backslash themselves.

    Case does not matter. What lies between two ``%`` is looked for from left to right, so that no
    pattern takes longer than its length times the text's.
    """
    parts = _cut(pattern)
    sources = ("".join("." if c == "_" else re.escape(c[-1]) for c in part) for part in parts)
    first, *others = (re.compile(source, re.IGNORECASE | re.DOTALL) for source in sources)

    def matches(text: str) -> bool:
        if not others:
            return first.fullmatch(text) is not None
        *middle, last = others
        found = first.match(text)
        for part in middle:
            if found is None:
                return False
            found = part.search(text, found.end())
        # A part has one length, so the last one ends the text in one place only.
        begins = len(text) - len(parts[-1])
        if found is None or begins < found.end():
            return False
        return last.fullmatch(text, begins) is not None

    return matches


def _cut(pattern: str) -> list[list[str]]:
    """Cut a pattern at its ``%`` into lists of characters, escaped ones with their backslash."""
    parts: list[list[str]] = [[]]
    for token in re.findall(r"\\.|.", pattern, re.DOTALL):
        if token == "%":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _glob(pattern: str) -> Callable[[str], bool]:
    """Match ``* ? [...]``; case matters, and ``*`` stands for any characters, ``/`` too."""
    try:
        compiled = re.compile(fnmatch.translate(pattern))
    except re.error as error:
        raise UsageError(f"{pattern!r} is no pattern for glob: {error}") from None
    return lambda text: compiled.match(text) is not None


MATCHERS = {"like": _like, "glob": _glob}
