"""The parser of filters: recursive descent over ``or``, ``and``, ``not`` and single conditions."""

import math

from rvcnn.errors import UsageError
from rvcnn.where.moments import moment
from rvcnn.where.terms import (
    COLUMNS,
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
    Term,
)
from rvcnn.where.tokens import KEYWORDS, Token, fail, tokens

METADATA = "metadata"
_COMPARISONS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<="}
_COMPARISONS |= {">": ">", ">=": ">="}
_DEEPEST = 100
_WORDS = {"null": None, "true": True, "false": False}


def parse(text: str) -> Condition:
    """Read a filter.

    Comparisons (``= != < <= > >=``), ``in (...)``, ``'x' in list``, ``like``, ``glob``, ``is null``
    and their contraries with ``not``, joined by ``and``, ``or``, ``not`` and parentheses. A name is
    one of `COLUMNS` or a key of the metadata; ``a.b`` is the key b of what a is, ``metadata.width``
    the key where a column has its name, ``[odd name]`` any key. Texts are in quotes of either kind,
    doubled inside. Keywords may be in upper case.

    Raises
    ------
    UsageError
        It is no filter; the message has the column, from 1, at which that shows.
    """
    return _Parser(text).condition()


class _Parser:
    def __init__(self, text: str):
        self.tokens = tokens(text)
        self.at = 0
        self.depth = 0

    def condition(self) -> Condition:
        found = self.either()
        if self.next.kind != "end":
            raise self.unexpected("and, or, or the end")
        return found

    # --- tokens -------------------------------------------------------------------------------

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        self.at += 1
        return self.tokens[self.at - 1]

    def takes(self, value: str) -> bool:
        """Take the next token if it is this keyword or operator."""
        if self.next.kind in ("keyword", "operator") and self.next.value == value:
            self.at += 1
            return True
        return False

    def expect(self, value: str) -> None:
        if not self.takes(value):
            raise self.unexpected(value)

    def unexpected(self, what: str) -> UsageError:
        token = self.next
        found = "the end" if token.kind == "end" else repr(token.value)
        return fail(token.at, f"expected {what}, not {found}")

    # --- conditions ---------------------------------------------------------------------------

    def either(self) -> Condition:
        parts = [self.both()]
        while self.takes("or"):
            parts.append(self.both())
        return Or(tuple(parts)) if len(parts) > 1 else parts[0]

    def both(self) -> Condition:
        parts = [self.single()]
        while self.takes("and"):
            parts.append(self.single())
        return And(tuple(parts)) if len(parts) > 1 else parts[0]

    def single(self) -> Condition:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise fail(self.next.at, f"more than {_DEEPEST} levels of parentheses and not")
        try:
            if self.takes("not"):
                return Not(self.single())
            if self.takes("("):
                inside = self.either()
                self.expect(")")
                return inside
            return self.test()
        finally:
            self.depth -= 1

    def test(self) -> Condition:
        """A term and what is asked of it; alone, whether it is true."""
        token = self.next
        term = self.term()
        if self.next.kind == "operator" and self.next.value in _COMPARISONS:
            return self.comparison(term, token)
        if self.takes("is"):
            contrary = self.takes("not")
            self.expect("null")
            return Not(IsNull(term)) if contrary else IsNull(term)
        contrary = self.takes("not")
        if self.takes("in"):
            found = self.members(term)
        elif self.next.value in ("like", "glob") and self.next.kind == "keyword":
            found = Match(self.take().value, term, self.pattern())
        elif contrary:
            raise self.unexpected("in, like or glob")
        elif isinstance(term, Constant) and not isinstance(term.value, bool):
            raise self.unexpected("a comparison")
        else:
            return Compare("=", term, Constant(True))
        return Not(found) if contrary else found

    def comparison(self, left: Term, token: Token) -> Compare:
        operator = _COMPARISONS[self.take().value]
        other = self.next
        right = self.term()
        return Compare(operator, _dated(left, right, token), _dated(right, left, other))

    def members(self, term: Term) -> Condition:
        if self.next.kind == "name":
            return Contains(term, self.field())
        if not self.takes("("):
            raise self.unexpected("( or a name")
        parts = []
        while True:
            token = self.next
            value = self.term()
            if not isinstance(value, Constant):
                raise fail(token.at, f"expected a value, not the name {token.value!r}")
            parts.append(Compare("=", term, _dated(value, term, token)))
            if not self.takes(","):
                break
        self.expect(")")
        return Or(tuple(parts))

    def pattern(self) -> str:
        if self.next.kind != "text":
            raise self.unexpected("a text in quotes")
        return self.take().value

    # --- terms --------------------------------------------------------------------------------

    def term(self) -> Term:
        token = self.next
        if token.kind == "name":
            return self.field()
        if token.kind == "keyword" and token.value in _WORDS:
            return Constant(_WORDS[self.take().value])
        if token.kind == "text":
            return Constant(self.take().value)
        if token.kind == "number":
            return Constant(_number(self.take()))
        raise self.unexpected("a name or a value")

    def field(self) -> Field:
        keys = [self.take().value]
        while self.takes("."):
            token = self.next
            if token.kind != "name" and token.value not in KEYWORDS:
                raise self.unexpected("a name")
            keys.append(self.take().value)
        if len(keys) == 1 and keys[0] in COLUMNS:
            return Field(keys[0])
        return Field(METADATA, tuple(keys[1:] if keys[0] == METADATA else keys))


def _number(token: Token) -> int | float:
    for kind in (int, float):
        try:
            # int() and float() also take underscores, which are no part of a number here.
            value = kind(token.value.replace("_", "?"))
        except ValueError:
            continue
        if math.isfinite(value):
            return value
    shown = token.value if len(token.value) <= 40 else token.value[:40] + "..."
    raise fail(token.at, f"{shown} is no number")


def _dated(term: Term, other: Term, token: Token) -> Term:
    """Return `term` as a moment if it is a text beside a column that is one."""
    is_moment = (
        isinstance(other, Field) and other.column in COLUMNS and COLUMNS[other.column].moment
    )
    if not (is_moment and isinstance(term, Constant) and isinstance(term.value, str)):
        return term
    try:
        return Constant(moment(term.value))
    except UsageError as error:
        raise fail(token.at, str(error)) from None
