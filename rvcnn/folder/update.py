"""Bringing a folder's index up to date: only what is new or changed is opened."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rvcnn.errors import RvcnnError
from rvcnn.folder.changes import Changes, compare, refuse_emptying
from rvcnn.folder.embed import Outcome, Task, Worker, attempt_name, one_line
from rvcnn.folder.events import Done, Event, Removed, Report, Scanned, Skipped
from rvcnn.folder.opening import existing_folder, home_for, manifest_of, open_writer
from rvcnn.folder.scan import scan
from rvcnn.index import Writer
from rvcnn.threads import available_cpus, ordered_map

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder

_CHUNK = 1000


def update(
    root: str | os.PathLike[str],
    embedder: "Embedder",
    *,
    recursive: bool = True,
    exclude: Iterable[str] = (),
    include_hidden: bool = False,
    rebuild: bool = False,
    prune: bool = False,
    wait: float = 10.0,
    workers: int = 0,
    commit_seconds: float = 2.0,
    max_megapixels: float = 200,
    vectors: str | None = None,
    progress: Callable[[Event], None] = lambda event: None,
) -> Report:
    """Embed every image below a folder that its index does not have, and drop those that are gone.

    The index is the nearest one at or above `root`, of which only what lies below `root` is looked
    at; without one, it is made in `root`. A file of the same size and modification time is taken to
    be unchanged and not opened. One that was moved or copied keeps its vector: its content is
    hashed, not decoded. Files that could not be read as images are remembered and not opened again
    until they, the version of rvcnn or Pillow, or `max_megapixels` change.

    An image leaves the index if the folder it was in could be listed and it was not among the files
    of this scan: because it is gone or because it is excluded now. Folders not entered
    (`recursive`) and those that could not be listed keep theirs.

    Parameters
    ----------
    root
        An existing folder.
    embedder
        What makes the vectors; an index made by another one is refused.
    recursive, exclude, include_hidden
        Which files: see `rvcnn.folder.scan.scan`.
    rebuild
        Embed all anew, from the index's own folder down, replacing even an index of another model,
        of a newer format, or a damaged one.
    prune
        Drop images that are gone even if more than half of the index would go.
    wait
        Seconds to wait for another writer.
    workers
        Threads; 0 for the embedder's number, or else all CPUs.
    commit_seconds
        What a crash may cost: whenever an image is finished and this time has passed since the last
        commit, there is another.
    max_megapixels
        Larger images are skipped before memory is taken. Files of more than 8 bytes a pixel of
        that, and 64 MiB, are too. Of files larger than 64 MiB one is in memory at a time.
    vectors
        How the index holds vectors: ``float32`` or ``int8``; None for as it does, and ``float32``
        in a new one.
    progress
        Called with each event, from the calling thread.

    Raises
    ------
    UsageError
        `root` is no folder.
    IndexMismatchError, IndexDamagedError
        The index is another model's, holds vectors in another way, or is newer or damaged;
        `rebuild` would replace it.
    IndexLockedError
        Another process was writing for `wait` seconds.
    RvcnnError
        The disk is full, or more than half of the index would go. What was finished is kept.
    KeyboardInterrupt
        As it came. What was finished is kept.
    """
    started = time.perf_counter()
    folder = existing_folder(root)
    home = home_for(folder, embedder, wait, vectors)
    shown = os.fspath(root)
    if rebuild and folder != home.root:
        folder, shown = home.root, os.fspath(home.root)
    filters = {"recursive": recursive, "exclude": tuple(exclude), "include_hidden": include_hidden}
    with open_writer(home, embedder, rebuild, wait, vectors) as writer:
        run = _Run(writer, folder, shown, Report(home.root), progress)
        changes = run.find_changes(filters, attempt_name(max_megapixels))
        if rebuild:
            run.refuse_emptying(changes.gone, prune)
            writer.reset(manifest_of(writer.manifest, embedder, vectors))
            changes = run.find_changes(filters, attempt_name(max_megapixels))
        run.announce(changes)
        try:
            worker = Worker(embedder, writer, max_megapixels)
            threads = workers or embedder.workers or available_cpus()
            run.embed(changes, worker, threads, commit_seconds)
            run.refuse_emptying(run.gone, prune)
            run.remove_gone()
        finally:
            writer.commit()
    run.report.seconds["total"] = time.perf_counter() - started
    return run.report


class _Run:
    """One update: what it knows and what it has done."""

    def __init__(self, writer: Writer, folder: Path, shown: str, report: Report, progress):
        self.writer = writer
        self.folder = folder
        self.shown = shown
        self.report = report
        self.progress = progress
        inside = folder.relative_to(report.root).as_posix()
        self.below = "" if inside == "." else inside + "/"
        self.indexed = writer.count()
        self.gone: dict[str, None] = {}
        self.moved: dict[bytes, list[str]] = {}

    def find_changes(self, filters: dict, tried: str) -> Changes:
        """Scan the folder and compare it with the index."""
        with self.timed("scan"):
            try:
                self.listing = scan(self.folder, **filters)
            except OSError as error:
                raise RvcnnError(f"cannot list {self.shown}: {error.strerror or error}") from error
            self.known = self.writer.known(self.below)
            return compare(self.listing, self.known, self.folder, self.below, tried)

    def announce(self, changes: Changes) -> None:
        """Tell what is to be done and what is left out."""
        self.report.unchanged = changes.unchanged
        self.progress(Scanned(len(changes.tasks), changes.unchanged))
        for path, reason in self.listing.problems:
            self.skip(path, one_line(reason), counted=False)
        for path, reason in changes.failed:
            self.skip(path, reason, known=True, counted=False)

    def embed(self, changes: Changes, worker: Worker, threads: int, commit_seconds: float) -> None:
        """Bring all new and changed files into the index."""
        self.gone = dict.fromkeys(changes.gone)
        self.moved = self.writer.contents(changes.gone)
        committed = time.monotonic()
        with closing(ordered_map(worker, changes.tasks, threads, 2 * threads)) as outcomes:
            for task, outcome in zip(changes.tasks, outcomes, strict=True):
                with self.timed("index"):
                    self.store(task, outcome)
                    if time.monotonic() - committed >= commit_seconds:
                        self.writer.commit()
                        committed = time.monotonic()
                self.tell(task, outcome)

    def store(self, task: Task, outcome: Outcome) -> None:
        """Put what became of a file into the index."""
        item = outcome.item
        if item is None:
            self.writer.remove([task.id])
        elif outcome.reused and item.sha256 in self.writer.contents([task.id]):
            self.writer.rename(task.id, item)  # touched
        elif outcome.reused and self.moved.get(item.sha256):
            source = self.moved[item.sha256].pop()
            self.writer.rename(source, item)
            del self.gone[source]
        else:
            if outcome.vector is not None and (since := self.writer.since(task.id, item.sha256)):
                item = replace(item, added_at=since)  # only its vector is new
            self.writer.put(item, outcome.vector)

    def tell(self, task: Task, outcome: Outcome) -> None:
        """Count and tell what became of a file."""
        for stage, seconds in outcome.seconds.items():
            self.spend(stage, seconds)
        path = task.id[len(self.below) :]
        if outcome.vector is None:
            self.skip(path, outcome.item.error if outcome.item else "it is no longer there")
            return
        if outcome.reused:
            self.report.reused += 1
        else:
            self.report.indexed += 1
        self.progress(Done(self.show(path), outcome.reused))

    def refuse_emptying(self, gone: Iterable[str], prune: bool) -> None:
        if not prune:
            refuse_emptying(gone, self.known, self.indexed, self.shown)

    def remove_gone(self) -> None:
        """Drop the images that are gone."""
        with self.timed("index"):
            gone = list(self.gone)
            for start in range(0, len(gone), _CHUNK):
                self.report.removed += self.writer.remove(gone[start : start + _CHUNK])
        if gone:
            self.progress(Removed(self.report.removed))

    def skip(self, path: str, reason: str, known: bool = False, counted: bool = True) -> None:
        self.report.skipped += 1
        self.progress(Skipped(self.show(path), reason, known, counted))

    def show(self, path: str) -> str:
        return os.path.join(self.shown, path)

    def spend(self, stage: str, seconds: float) -> None:
        self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.spend(stage, time.perf_counter() - started)
