"""The user's trash: what is moved there can be put back.

Where desktops follow the freedesktop.org Trash specification 1.0, on Linux and the BSDs, by
renaming alone: a file stays on its disk, or stays where it is. What macOS and Windows have is
reached by Send2Trash.
"""

import datetime
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from rvcnn.errors import UsageError

_PRIVATE = 0o700
_MOST_NAMES = 10_000


def system_trash() -> Callable[[Path], None]:
    """Return what moves a file to the trash, or raises OSError.

    Raises
    ------
    UsageError
        Send2Trash is needed and not installed.
    """
    if sys.platform not in ("darwin", "win32"):
        return to_freedesktop_trash
    try:
        from send2trash import send2trash
    except ImportError:
        raise UsageError(
            "the trash of this system needs Send2Trash: pip install 'rvcnn[trash]'"
        ) from None
    return lambda path: send2trash(os.path.abspath(path))


def to_freedesktop_trash(path: Path) -> None:
    """Move a file to the trash of its own disk, with a note of where it was.

    Raises
    ------
    OSError
        It is where it was.
    """
    path = Path(os.path.realpath(path.parent), path.name)
    folder, named = _trash_for(path)
    for part in ("", "info", "files"):
        os.makedirs(folder / part, _PRIVATE, exist_ok=True)
    note = _new_note(folder, path.name)
    try:
        now = datetime.datetime.now().isoformat(timespec="seconds")
        where = quote(os.fsencode(named))
        note.write_text(f"[Trash Info]\nPath={where}\nDeletionDate={now}\n", "ascii")
        os.rename(path, folder / "files" / note.name.removesuffix(".trashinfo"))
    except BaseException:
        note.unlink(missing_ok=True)
        raise


def _trash_for(path: Path) -> tuple[Path, str]:
    """Return the trash of a file's disk, and what it calls the file.

    The user's own where that is on the same disk, else the one at the top of the file's.
    """
    device = os.lstat(path).st_dev
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    home = Path(data, "Trash")
    existing = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    if existing.stat().st_dev == device:
        return home, os.fspath(path)
    top = path.parent
    while top.parent != top and top.parent.stat().st_dev == device:
        top = top.parent
    return _trash_at(top), os.path.relpath(path, top)


def _trash_at(top: Path) -> Path:
    """Return the trash at the top of a disk: in the one all users share, if it is a safe one."""
    shared, user = top / ".Trash", str(os.getuid())
    try:
        mode = shared.lstat().st_mode
    except FileNotFoundError:
        mode = 0
    if stat.S_ISDIR(mode) and mode & stat.S_ISVTX:
        return shared / user
    return top / f".Trash-{user}"


def _new_note(folder: Path, name: str) -> Path:
    """Make an empty note by a name that nothing in the trash has, which reserves it."""
    stem, suffix = os.path.splitext(name)
    for number in range(1, _MOST_NAMES):
        free = f"{stem}.{number}{suffix}" if number > 1 else name
        note = folder / "info" / f"{free}.trashinfo"
        if os.path.lexists(folder / "files" / free):
            continue
        try:
            os.close(os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            continue
        return note
    raise FileExistsError(f"the trash has {_MOST_NAMES} files of this name: {name}")
