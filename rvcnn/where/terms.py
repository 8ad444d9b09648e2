"""What filters are made of, and the columns that they know besides metadata."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Scalar: TypeAlias = "None | bool | int | float | str"


class Column(NamedTuple):
    """A column of a filter: that of the table `items` it comes from, and what is made of it.

    A `moment` is in seconds since the epoch, and is compared with dates.
    """

    source: str
    convert: Callable[[Any], Scalar] | None = None
    moment: bool = False


COLUMNS = {
    "path": Column("id", os.fsdecode),
    "name": Column("id", lambda raw: os.fsdecode(raw).rpartition("/")[2]),
    "size": Column("size"),
    "width": Column("width"),
    "height": Column("height"),
    "format": Column("format"),
    "added_at": Column("added_at", moment=True),
    "modified": Column("mtime_ns", lambda ns: ns / 10**9, moment=True),
    "sha256": Column("sha256", bytes.hex),
}
"""What a filter knows of every image: all but its metadata."""


class Field(NamedTuple):
    """A column by its name; or, where that is ``metadata``, what the keys lead to in it."""

    column: str
    keys: tuple[str, ...] = ()


class Constant(NamedTuple):
    """A number, text, truth value or null."""

    value: Scalar


Term: TypeAlias = Field | Constant


class Condition:
    """A filter that was read; its repr says all of it."""


@dataclass(frozen=True)
class Compare(Condition):
    """Two terms and ``= != < <= > >=``."""

    operator: str
    left: Term
    right: Term


@dataclass(frozen=True)
class Match(Condition):
    """A term and a pattern of ``like`` or ``glob``."""

    operator: str
    term: Term
    pattern: str


@dataclass(frozen=True)
class Contains(Condition):
    """Whether a term equals a member of the list that a field is."""

    term: Term
    whole: Field


@dataclass(frozen=True)
class StartsWith(Condition):
    """Whether the text of a term begins with another one."""

    term: Term
    text: str


@dataclass(frozen=True)
class IsNull(Condition):
    """Whether a term is null or not there."""

    term: Term


@dataclass(frozen=True)
class Not(Condition):
    """The contrary."""

    part: Condition


@dataclass(frozen=True)
class And(Condition):
    """All of the parts."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Or(Condition):
    """Any of the parts."""

    parts: tuple[Condition, ...]


def compare(column: str, operator: str, value: Scalar) -> Compare:
    """Compare a column of `COLUMNS` with a value."""
    return Compare(operator, Field(column), Constant(value))


def all_of(*conditions: Condition | None) -> Condition | None:
    """Return the condition that all of these hold; those that are None always do."""
    given = tuple(condition for condition in conditions if condition is not None)
    return And(given) if len(given) > 1 else next(iter(given), None)
