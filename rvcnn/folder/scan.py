"""Listing a folder: its image files, without opening any."""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from rvcnn.images import SUFFIXES
from rvcnn.index.items import time_of

ALWAYS_EXCLUDED = frozenset({".git", "node_modules", "@eaDir", ".rvcnn"})
_APPLE_DOUBLE = "._"  # what macOS keeps beside a file on other systems' disks, named like it
_CASE = re.IGNORECASE if os.name == "nt" else 0


class Found(NamedTuple):
    """An image file: its path relative to the scanned folder, with ``/``, size and mtime."""

    path: str
    size: int
    mtime_ns: int


@dataclass
class Scan:
    """What a folder holds.

    Attributes
    ----------
    files
        Image files in the order of their paths.
    unlisted
        Folders whose content is not known, with ``/`` at their ends: what was indexed below them
        may still be there. Links that lead nowhere are among them.
    problems
        Folders and links that could not be followed, with the reasons.
    """

    files: list[Found] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)


def scan(
    root: str | os.PathLike[str],
    *,
    recursive: bool = True,
    exclude: Iterable[str] = (),
    include_hidden: bool = False,
) -> Scan:
    """List the image files below a folder.

    Parameters
    ----------
    root
        The folder.
    recursive
        Whether to enter folders in it.
    exclude
        Globs. One without ``/`` is held against every file's and folder's name, one with ``/``
        against the path relative to `root`, where ``*`` stands for any characters, ``/`` too. A
        folder that is excluded is not entered. ``.git``, ``node_modules``, ``@eaDir`` and
        ``.rvcnn`` always are, and so are files that begin with ``._``.
    include_hidden
        Whether to take names that begin with a dot (or, on Windows, are marked as hidden).

    Raises
    ------
    OSError
        `root` itself cannot be listed.

    Notes
    -----
    Symbolic links to files are files. Every folder is listed once, however many links lead to it,
    and rather by its own path than by a link's.
    """
    return _Scanner(os.fspath(root), recursive, _excluder(exclude), include_hidden).run()


class _Scanner:
    def __init__(self, root, recursive, excluded: Callable[[str, str], bool], include_hidden):
        self.root = root
        self.recursive = recursive
        self.excluded = excluded
        self.include_hidden = include_hidden
        self.result = Scan()
        self.seen: set[tuple[int, int]] = set()
        # Still to be listed: relative paths with "/" at their ends, empty for the scanned folder.
        self.folders: list[str] = []
        self.links: list[str] = []  # after all real folders

    def run(self) -> Scan:
        self.folders.append("")
        while self.folders or self.links:
            if not self.folders:
                self.links.sort(reverse=True)
                self.folders.append(self.links.pop())
            self.enter(self.folders.pop())
        self.result.files.sort(key=lambda found: os.fsencode(found.path))
        return self.result

    def enter(self, folder: str) -> None:
        """List one folder, unless it was listed by another path."""
        path = os.path.join(self.root, folder)
        try:
            status = os.stat(path)
            identity = status.st_dev, status.st_ino
            if identity in self.seen:
                return
            with os.scandir(path) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if not folder:
                raise
            self.give_up(folder, error)
            return
        self.seen.add(identity)
        for entry in entries:
            path = folder + entry.name
            try:
                if not self.is_out(entry, path):
                    self.take(entry, path)
            except OSError as error:
                self.give_up(path + "/", error)

    def take(self, entry: os.DirEntry, path: str) -> None:
        if entry.is_dir():
            if not self.recursive:
                self.result.unlisted.append(path + "/")
            elif entry.is_symlink():
                self.links.append(path + "/")
            else:
                self.folders.append(path + "/")
        elif os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            status = entry.stat()
            if stat.S_ISREG(status.st_mode):
                self.result.files.append(Found(path, status.st_size, time_of(status)))
        elif entry.is_symlink() and not os.path.exists(entry.path):
            # So looks a link to a folder on a disk that is not mounted.
            self.result.unlisted.append(path + "/")

    def give_up(self, path: str, error: OSError) -> None:
        self.result.unlisted.append(path)
        self.result.problems.append((path.rstrip("/"), error.strerror or str(error)))

    def is_out(self, entry: os.DirEntry, path: str) -> bool:
        """Whether an entry is excluded, by the user or for all."""
        name = entry.name
        if name in ALWAYS_EXCLUDED or name.startswith(_APPLE_DOUBLE) or self.excluded(name, path):
            return True
        return not self.include_hidden and (name.startswith(".") or _is_marked_hidden(entry))


def _is_marked_hidden(entry: os.DirEntry) -> bool:
    if os.name != "nt":
        return False
    return bool(entry.stat(follow_symlinks=False).st_file_attributes & stat.FILE_ATTRIBUTE_HIDDEN)


def _excluder(globs: Iterable[str]) -> Callable[[str, str], bool]:
    """Return whether a name, or a path, matches one of the globs."""
    names, paths = [], []
    for glob in globs:
        glob = glob.replace(os.sep, "/").rstrip("/")
        glob = glob.removeprefix("./").removeprefix("**/")
        (paths if "/" in glob else names).append(fnmatch.translate(glob.removeprefix("/")))
    by_name, by_path = (re.compile("|".join(some) or r"(?!)", _CASE) for some in (names, paths))
    return lambda name, path: bool(by_name.match(name) or by_path.match(path))
