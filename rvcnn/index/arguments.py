"""Checks of what callers give."""

from numbers import Real
from typing import Any

from rvcnn.errors import UsageError


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return an argument that is a whole number of at least so much.

    Raises
    ------
    UsageError
        It is none.
    """
    if isinstance(value, Real) and not isinstance(value, bool) and value >= least:
        if value == value // 1:  # not of an infinity
            return int(value)
    raise UsageError(f"{name} is a whole number of at least {least}, not {value!r}")
