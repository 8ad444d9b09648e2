"""What changed in a folder since its index saw it."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from rvcnn.errors import RvcnnError
from rvcnn.folder.embed import Task
from rvcnn.folder.scan import Scan
from rvcnn.index import Status
from rvcnn.index.writer import Known
from rvcnn.paths import quoted


class Changes(NamedTuple):
    """A folder's files against its index.

    Attributes
    ----------
    tasks
        Files to be read, in the order of their ids.
    unchanged
        How many have their vectors.
    failed
        Ids and reasons of those that failed in an earlier run and have not changed.
    gone
        Ids that are no longer among the files, though their folders were listed.
    """

    tasks: list[Task]
    unchanged: int
    failed: list[tuple[str, str]]
    gone: list[str]


def compare(
    listing: Scan, known: Mapping[str, Known], folder: Path, below: str, tried: str
) -> Changes:
    """Compare a scan of `folder` with what is known of the ids that begin with `below`."""
    left = dict(known)
    tasks, failed, unchanged = [], [], 0
    for path, size, mtime_ns in listing.files:
        old = left.pop(below + path, None)
        same = old is not None and (old.size, old.mtime_ns) == (size, mtime_ns)
        if same and old.status == Status.OK:
            unchanged += 1
        elif same and old.status == Status.FAILED and old.tried == tried:
            failed.append((path, old.error or "it failed before"))
        else:
            tasks.append(Task(below + path, os.path.join(folder, path)))
    unlisted = {below + path.rstrip("/") for path in listing.unlisted}
    gone = [identity for identity in left if not _is_below(identity, unlisted)]
    return Changes(tasks, unchanged, failed, gone)


def _is_below(identity: str, folders: set[str]) -> bool:
    """Whether an id is one of `folders` or below one."""
    while identity and folders:
        if identity in folders:
            return True
        identity = identity.rpartition("/")[0]
    return False


def refuse_emptying(
    gone: Iterable[str], known: Mapping[str, Known], indexed: int, shown: str
) -> None:
    """Raise RvcnnError if more than half of `indexed` images would go."""
    lost = sum(known[identity].status != Status.FAILED for identity in gone)
    if 2 * lost > indexed:
        raise RvcnnError(
            f"{lost} of {indexed} indexed images are no longer in {shown}, and none was removed. "
            f"Is a disk not mounted? If they are meant to go: `rvcnn embed --prune {quoted(shown)}`"
        )
