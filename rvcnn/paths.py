"""File names as text, and files that appear whole or not at all."""

import base64
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rvcnn.errors import UsageError


def file_identity(file: Path | int) -> tuple[int, int] | None:
    """Return what all names and descriptors of one file share; None where there is no file."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def path_fields(path: str) -> dict[str, str]:
    """Return a path's JSON fields: ``path``, and ``path_bytes`` where its name is no UTF-8.

    ``path_bytes`` is base64 of the name's bytes; ``path`` then has U+FFFD where they are no text.
    """
    raw = os.fsencode(path)
    try:
        return {"path": raw.decode("utf-8")}
    except UnicodeDecodeError:
        return {"path": as_text(path), "path_bytes": base64.b64encode(raw).decode("ascii")}


def as_text(path: str) -> str:
    """Return a path with U+FFFD where its bytes are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def relative(path: str | os.PathLike[str]) -> str:
    """Return a path relative to the current folder, with ``/``, as git prints it."""
    try:
        shown = os.path.relpath(path)
    except ValueError:  # another drive
        shown = os.fspath(path)
    return shown.replace(os.sep, "/")


def quoted(path: str | os.PathLike[str]) -> str:
    """Return a path as a command line of this system takes it."""
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline([os.fspath(path)])
    return shlex.quote(os.fspath(path))


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Give the path for a new file that takes the place of `file` unless there is an error.

    An OSError of the new file names `file`.
    """
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        yield part
        os.replace(part, file)
    except OSError as error:
        if error.filename is None or os.fspath(error.filename) == os.fspath(part):
            error.filename, error.filename2 = os.fspath(file), None
        raise
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def open_whole(file: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `file` once it is complete and on the disk."""
    with replacing(file) as part, open(part, "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


def check_output(file: Path, suffix: str = "") -> None:
    """Raise UsageError unless a file can be written there; its name must end in the suffix."""
    if suffix and file.suffix.lower() != suffix:
        raise UsageError(f"cannot write {file}: its name must end in {suffix}")
    if file.exists() and not file.is_file():
        raise UsageError(f"cannot write {file}: it is no regular file")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"cannot write {file}: no such folder: {file.parent}")
