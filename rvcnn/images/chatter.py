"""Keep what C libraries and Pillow say about damaged files off a program's stderr."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator

_STDERR = 2


@contextlib.contextmanager
def silence_c_libraries() -> Iterator[None]:
    """Discard what libtiff and others write to file descriptor 2, and Pillow's warnings.

    ``sys.stderr`` goes on reaching the user. For the main function of a program, around everything
    it does: descriptors and warning filters belong to the whole process, so the library itself
    never calls this. While it is active a crash of the interpreter is silent too.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\b")
        try:
            kept = os.dup(_STDERR)
        except OSError:
            yield
            return
        stack.callback(os.close, kept)
        stack.enter_context(_python_writes_to(kept))
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDERR)
        os.close(nowhere)
        stack.callback(os.dup2, kept, _STDERR)
        yield


@contextlib.contextmanager
def _python_writes_to(descriptor: int) -> Iterator[None]:
    """Point ``sys.stderr`` at a copy of descriptor 2, if it is descriptor 2 that it writes to."""
    before = sys.stderr
    try:
        before.flush()
        ours = before.fileno() == _STDERR
    except (AttributeError, OSError, ValueError):
        ours = False
    if not ours:
        yield
        return
    sys.stderr = open(
        descriptor, "w", buffering=1, encoding=before.encoding, errors=before.errors, closefd=False
    )
    try:
        yield
    finally:
        sys.stderr.flush()
        sys.stderr = before
