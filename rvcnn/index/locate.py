"""Where a folder's index is: in the folder, or in the user's data folder where it is read-only."""

import errno
import hashlib
import os
import sys
from pathlib import Path

from rvcnn.errors import IndexMissingError, RvcnnError, UsageError
from rvcnn.index import manifest
from rvcnn.index.files import DATABASE, Home
from rvcnn.paths import quoted

INSIDE = ".rvcnn"
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def find_index(start: str | os.PathLike[str]) -> Path | None:
    """Return the nearest folder at or above `start` that has an index, or None.

    `start` is taken as it is on the disk, with symbolic links resolved.
    """
    start = Path(os.path.realpath(start))
    return next((p for p in (start, *start.parents) if home_of(p) is not None), None)


def home_of(folder: str | os.PathLike[str]) -> Home | None:
    """Return where the index of exactly this folder is, or None where it has none.

    The folder of the index files itself (``photos/.rvcnn``) stands for the folder it belongs to.
    """
    folder = Path(os.path.realpath(folder))
    if folder.name == INSIDE and _holds_index(folder):
        return Home(folder.parent, folder)
    places = (folder / INSIDE, aside(folder))
    return next((Home(folder, place) for place in places if _holds_index(place)), None)


def existing_home(folder: str | os.PathLike[str]) -> Home:
    """Return where the index of this folder is.

    Raises
    ------
    UsageError
        No such folder.
    IndexMissingError
        No index.
    """
    home = home_of(folder)
    if home is not None:
        return home
    if not os.path.isdir(folder):
        raise UsageError(f"no such folder: {os.fspath(folder)}")
    raise IndexMissingError(
        f"no index in {os.fspath(folder)}: `rvcnn embed {quoted(folder)}` makes one"
    )


def make_home(folder: str | os.PathLike[str]) -> Home:
    """Make the place for a new index of this folder, and the folder where it does not exist."""
    root = Path(os.path.realpath(folder))
    location = root / INSIDE
    try:
        location.mkdir(parents=True, exist_ok=True)
        if os.access(location, os.W_OK):
            return Home(root, location)
    except OSError as error:
        if error.errno not in _READ_ONLY or not root.is_dir():
            raise RvcnnError(f"cannot make {location}: {error.strerror}") from error
    location = aside(root)
    try:
        location.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RvcnnError(
            f"{root} cannot be written to, nor can {location}, where its index would go instead: "
            f"{error.strerror}"
        ) from error
    return Home(root, location)


def aside(root: Path) -> Path:
    """Return where the index of a read-only folder goes."""
    name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
    return user_data_folder() / "rvcnn" / "indexes" / name


def user_data_folder() -> Path:
    """Return the folder for a program's data: XDG_DATA_HOME, or what the system has for it."""
    given = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_DATA_HOME")
    if given:
        return Path(given)
    if sys.platform == "win32":
        return Path.home() / "AppData" / "Local"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path.home() / ".local" / "share"


def _holds_index(location: Path) -> bool:
    # os.path, unlike Path.exists of some versions, takes a folder that may not be read as a no.
    return any(os.path.exists(location / name) for name in (DATABASE, manifest.NAME))
