"""A filter's text cut into tokens, each with its place."""

import re
from typing import NamedTuple

from rvcnn.errors import UsageError

KEYWORDS = frozenset("and or not in like glob is null true false".split())

_PATTERN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<number>-?\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<name>[^\W\d]\w*|\[[^\[\]]+\])
    | (?P<operator><=|>=|!=|<>|==|[=<>(),.])
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A token: its kind, its value, and where it begins in the filter's text, from 0.

    Kinds are ``number``, ``text`` and ``name``, whose values are what they stand for; and
    ``keyword``, ``operator`` and ``end``, whose values are their lower-case spelling.
    """

    kind: str
    value: str
    at: int


def fail(at: int, what: str) -> UsageError:
    """Return the error for the character `at`, from 0."""
    return UsageError(f"the filter, at column {at + 1}: {what}")


def tokens(text: str) -> list[Token]:
    """Cut a filter's text into tokens; the last one's kind is ``end``.

    Raises
    ------
    UsageError
        A character that nothing begins with, or a quote without its partner.
    """
    found = []
    at = 0
    while at < len(text):
        match = _PATTERN.match(text, at)
        if match is None:
            raise fail(at, _unreadable(text[at]))
        kind, value = match.lastgroup, match[0]
        if kind != "space":
            found.append(_token(kind, value, at))
        at = match.end()
    return [*found, Token("end", "", len(text))]


def _token(kind: str, value: str, at: int) -> Token:
    if kind == "text":
        return Token(kind, value[1:-1].replace(value[0] * 2, value[0]), at)
    if kind == "name" and value.lower() in KEYWORDS:
        return Token("keyword", value.lower(), at)
    if kind == "name" and value.startswith("["):
        return Token(kind, value[1:-1], at)
    return Token(kind, value, at)


def _unreadable(character: str) -> str:
    if character in "'\"":
        return f"the text that begins with {character} has no end"
    if character == "[":
        return "the name that begins with [ has no end"
    return f"{character!r} means nothing here"
