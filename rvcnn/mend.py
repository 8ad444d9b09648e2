"""Mending a folder's index: what is sound stays, what is not is embedded again."""

import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from rvcnn.folder import Done, Event, Report, Scanned, Skipped
from rvcnn.folder.embed import Task, Worker
from rvcnn.folder.opening import home_for, open_writer
from rvcnn.index import Index, Status, repair
from rvcnn.index.graph import graph_files
from rvcnn.index.locate import existing_home
from rvcnn.threads import available_cpus, ordered_map

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


def mend(
    root: Path,
    embedder: "Embedder",
    *,
    wait: float = 10.0,
    max_megapixels: float = 200,
    progress: Callable[[Event], None] = lambda event: None,
) -> Report:
    """Make the index of `root` sound again and embed the images that lost their vectors.

    Images that the damage made unknown are not among them: an update of the folder finds those. A
    graph that was damaged, or was of vectors that were, is built again.

    Raises
    ------
    IndexMismatchError
        The index is another model's.
    IndexDamagedError
        Nothing tells any more what the index holds.
    IndexLockedError
        Another process was writing for `wait` seconds.
    """
    report = Report(root)
    home = existing_home(root)
    had_graph = bool(graph_files(home))
    report.unchanged = repair(root, wait).kept
    tasks = stale_images(root)
    if tasks:
        _embed_again(root, tasks, embedder, wait, max_megapixels, progress, report)
    if had_graph and not graph_files(home):
        Index.open(root).build_ann(workers=embedder.workers, wait=wait)
    return report


def _embed_again(root, tasks, embedder, wait, max_megapixels, progress, report):
    with open_writer(home_for(root, embedder, wait), embedder, False, wait) as writer:
        progress(Scanned(len(tasks), report.unchanged))
        workers = embedder.workers or available_cpus()
        worker = Worker(embedder, writer, max_megapixels)
        with closing(ordered_map(worker, tasks, workers, 2 * workers)) as outcomes:
            for task, outcome in zip(tasks, outcomes, strict=True):
                if outcome.item is not None:
                    writer.put(outcome.item, outcome.vector)
                if outcome.vector is None:
                    report.skipped += 1
                    reason = outcome.item.error if outcome.item else "it is no longer there"
                    progress(Skipped(task.path, reason))
                else:
                    report.indexed += 1
                    progress(Done(task.path, outcome.reused))


def stale_images(root: Path) -> list[Task]:
    """Return the images that are in the index without the vector they had."""
    return [
        Task(item.id, os.path.join(root, item.id))
        for item in Index.open(root).items()
        if item.status == Status.STALE
    ]
