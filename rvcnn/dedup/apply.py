"""Doing what a plan says, file by file, each looked at once more right before."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rvcnn.dedup.check import Changed, check, still_the_same
from rvcnn.dedup.pictures import Picture
from rvcnn.dedup.plan import HARDLINK, TRASH, Action, Plan, Refusal
from rvcnn.dedup.trash import system_trash
from rvcnn.index import Writer
from rvcnn.index.items import time_of

_COMMIT_SECONDS = 2.0


class Applied(NamedTuple):
    """What was done, and what was left as it is because something had changed."""

    done: list[Action]
    refused: list[Refusal]


def apply(
    plan: Plan,
    wait: float = 10.0,
    trash: Callable[[Path], None] | None = None,
    progress: Callable[[Action], None] = lambda action: None,
) -> Applied:
    """Carry out a plan, and bring the indexes up to date with it.

    Every file, and the one that is kept for it, must still be what its index knows: the same size,
    time and bytes. Others are left as they are. The indexes are held for writing meanwhile.

    Parameters
    ----------
    plan
        What `make_plan` returned.
    wait
        Seconds to wait for another process that writes to an index.
    trash
        Moves a file to the trash, or raises OSError; by default the system's.
    progress
        Told what was done, after each.

    Raises
    ------
    UsageError
        Send2Trash is needed and not installed. Nothing was touched.
    IndexLockedError
        Another process was writing. Nothing was touched.
    """
    if trash is None and any(action.how == TRASH for action in plan.actions):
        trash = system_trash()
    applied = Applied([], [])
    with _writers(plan.actions, wait) as writers:
        committed = time.monotonic()
        try:
            for action in plan.actions:
                try:
                    link(action) if action.how == HARDLINK else _discard(action, trash)
                except (Changed, OSError) as error:
                    applied.refused.append(Refusal(action.picture, _reason(error)))
                    continue
                applied.done.append(action)
                _tell_index(writers[_key(action.picture)], action)
                progress(action)
                if time.monotonic() - committed >= _COMMIT_SECONDS:
                    _commit(writers.values())
                    committed = time.monotonic()
        finally:
            _commit(writers.values())
    return applied


def link(action: Action) -> None:
    """Let a file's name mean the keeper's file: by a new link that takes the old one's place.

    Raises
    ------
    Changed, OSError
        It was left as it is.
    """
    path = action.picture.path
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    seen = check(action)
    os.link(os.path.realpath(action.keeper.path), part)
    try:
        still_the_same(part, seen.kept)
        still_the_same(path, seen.own)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _discard(action: Action, trash: Callable[[Path], None]) -> None:
    check(action)
    trash(action.picture.path)


def _key(picture: Picture) -> str:
    return os.fspath(picture.place.index.location)


@contextmanager
def _writers(actions: Sequence[Action], wait: float) -> Iterator[dict[str, Writer]]:
    """Open the indexes of all files that are to be touched, always in the same order."""
    indexes = {_key(action.picture): action.picture.place.index for action in actions}
    with ExitStack() as stack:
        yield {key: stack.enter_context(indexes[key].writer(wait)) for key in sorted(indexes)}


def _commit(writers) -> None:
    for writer in writers:
        writer.commit()


def _tell_index(writer: Writer, action: Action) -> None:
    """Let the index know what became of a file."""
    item = action.picture.item
    if action.how == TRASH:
        writer.remove([item.id])
    elif writer.contents([item.id]):
        now = os.stat(action.picture.path)
        writer.rename(item.id, replace(item, size=now.st_size, mtime_ns=time_of(now)))


def _reason(error: Exception) -> str:
    if isinstance(error, Changed):
        return str(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
