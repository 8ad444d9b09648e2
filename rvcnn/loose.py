"""Embedding files without an index: folders are listed, single files taken as they are."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from rvcnn.errors import ImageError, UsageError
from rvcnn.folder import Done, Event, Report, Scanned, Skipped
from rvcnn.folder.scan import scan
from rvcnn.threads import available_cpus, ordered_map

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


def embed_files(
    paths: Sequence[Path],
    embedder: "Embedder",
    *,
    recursive: bool = True,
    exclude: Iterable[str] = (),
    include_hidden: bool = False,
    progress: Callable[[Event], None] = lambda event: None,
) -> tuple[list[str], np.ndarray, Report]:
    """Embed images; what cannot be read is told to `progress` and left out.

    Parameters
    ----------
    paths
        Files and folders; of folders every image below, as `rvcnn.folder.scan.scan` lists them.
    embedder
        What makes the vectors.
    recursive, exclude, include_hidden
        Which files of a folder: see `rvcnn.folder.scan.scan`.
    progress
        Called with each event, from the calling thread.

    Returns
    -------
    names, vectors, report
        Paths that begin as the given ones do, each once; (N, D) float32; what was done.
    """
    started = perf_counter()
    report = Report(Path())
    exclude = tuple(exclude)
    names: dict[str, None] = {}
    for path in paths:
        files, problems = list_files(path, recursive, exclude, include_hidden)
        names.update(dict.fromkeys(files))
        for name, reason in problems:
            report.skipped += 1
            progress(Skipped(name, reason, counted=False))
    progress(Scanned(len(names), 0))
    kept, rows = [], []
    with closing(_outcomes(list(names), embedder)) as outcomes:
        for name, outcome in outcomes:
            if isinstance(outcome, str):
                report.skipped += 1
                progress(Skipped(name, outcome))
                continue
            report.indexed += 1
            kept.append(name)
            rows.append(outcome)
            progress(Done(name, reused=False))
    report.seconds["total"] = perf_counter() - started
    return kept, np.array(rows, np.float32).reshape(-1, embedder.dim), report


def list_files(
    path: Path, recursive: bool, exclude: Iterable[str], include_hidden: bool
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the image files at or below `path`, and what could not be listed with reasons."""
    if path.is_file():
        return [path.as_posix()], []
    if not path.is_dir():
        raise UsageError(f"no such file or folder: {path}")
    found = scan(path, recursive=recursive, exclude=exclude, include_hidden=include_hidden)
    files = [(path / file.path).as_posix() for file in found.files]
    return files, [((path / name).as_posix(), reason) for name, reason in found.problems]


def _outcomes(names: list[str], embedder: "Embedder") -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield each name with its vector (D,), or with the reason why it has none."""

    def outcome(name: str) -> np.ndarray | str:
        try:
            return embedder.embed_one(name)
        except ImageError as error:
            return str(error)

    workers = embedder.workers or available_cpus()
    with closing(ordered_map(outcome, names, workers, 2 * workers)) as results:
        yield from zip(names, results, strict=True)
