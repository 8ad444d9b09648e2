"""What goes to stderr: notes, warnings, the progress bar; and what does not."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def debugging() -> bool:
    """Whether the user asked for tracebacks with ``RVCNN_DEBUG``."""
    return os.environ.get("RVCNN_DEBUG", "") not in ("", "0")


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


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what libraries print on their own off stderr: C code, Python warnings, loggers.

    File descriptor 2, which C libraries write to, points nowhere meanwhile, and ``sys.stderr``
    writes to a duplicate of what it was.
    """
    if debugging():
        yield
        return
    import logging
    import warnings

    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        with _descriptor_2_nowhere():
            yield


@contextmanager
def _descriptor_2_nowhere() -> Iterator[None]:
    stderr = sys.stderr
    try:
        if stderr.fileno() != 2:
            raise ValueError("stderr is not descriptor 2")
        stderr.flush()
        kept = os.dup(2)
    except (AttributeError, OSError, ValueError):
        yield
        return
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    options = {"encoding": stderr.encoding, "errors": "backslashreplace", "buffering": 1}
    try:
        with open(kept, "w", closefd=False, **options) as sys.stderr:
            yield
    finally:
        sys.stderr = stderr
        os.dup2(kept, 2)
        os.close(kept)
