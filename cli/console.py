"""What goes to stderr: one line at a time, safe to show in a terminal."""

import os
import sys


def debugging() -> bool:
    """Whether the user asked for tracebacks with ``RVCNN_DEBUG``."""
    return os.environ.get("RVCNN_DEBUG", "") not in ("", "0")


def hold_standard_streams() -> None:
    """Open on nothing those of the first three descriptors that are closed.

    Else the next file that is opened would be what C libraries take for the standard error.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free: this one


def printable(text: str) -> str:
    """Return `text` on one line: control characters and bytes that are no UTF-8 escaped."""
    return "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python holds a byte that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


def note(message: str) -> None:
    """Write one line to stderr."""
    if sys.stderr is not None:
        sys.stderr.write(printable(message) + "\n")
        sys.stderr.flush()
