"""A few of a user's images, as the network sees them."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from rvcnn.errors import ImageError, UsageError
from rvcnn.images import Preprocess, decode
from rvcnn.loose import list_files
from rvcnn.threads import available_cpus, ordered_map

_LABEL = re.compile(r"(.+?)[\t ,]+(\d+)", re.ASCII)


def list_images(paths: Sequence[Path], skipping: Callable[[str, str], None], **filters):
    """Image files at or below paths, each once.

    Parameters
    ----------
    paths : sequence of Path
    skipping : callable
        Told of each name that could not be listed, and why.
    **filters
        ``recursive``, ``exclude`` and ``include_hidden`` of :func:`rvcnn.folder.scan.scan`.
    """
    names: dict[str, None] = {}
    for path in paths:
        files, problems = list_files(Path(path), **filters)
        names.update(dict.fromkeys(files))
        for name, reason in problems:
            skipping(name, reason)
    return list(names)


def spread(items: Sequence, count: int) -> list:
    """At most so many of the items, at equal distances."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def read_pixels(
    names: Sequence[str],
    preprocess: Preprocess,
    *,
    workers: int = 0,
    max_megapixels: float = 200,
    skipping: Callable[[str, str], None] = lambda name, reason: None,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[str], np.ndarray]:
    """Resize and crop images; what cannot be read is told to ``skipping`` and left out.

    Returns
    -------
    names : list of str
        Of the images that were read.
    pixels : ndarray
        (N, H, W, 3) uint8.
    """

    def pixels(name):
        try:
            image = decode(name, min_side=preprocess.resize, max_megapixels=max_megapixels)
        except ImageError as error:
            return str(error)
        return preprocess.pixels(image.image, (image.width, image.height))

    workers = workers or available_cpus()
    kept, rows = [], []
    with closing(ordered_map(pixels, names, workers, 2 * workers)) as results:
        for name, result in zip(names, results, strict=True):
            if isinstance(result, str):
                skipping(name, result)
            else:
                kept.append(name)
                rows.append(result)
            progress()
    size = preprocess.crop
    return kept, np.array(rows, np.uint8).reshape(-1, size, size, 3)


def read_labels(file: Path) -> dict[str, int]:
    """Class numbers by file name, from lines of a name and a number with a tab, comma or space.

    Raises
    ------
    UsageError
        Naming the line that is no such line.
    """
    labels = {}
    try:
        lines = Path(file).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise UsageError(f"cannot read the labels {file}: {error.strerror}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = _LABEL.fullmatch(line.strip())
        if not match:
            raise UsageError(f"{file}, line {number}: not a file's name and a class's number")
        labels[Path(match[1]).name] = int(match[2])
    return labels


def labels_of(names: Iterable[str], labels: Mapping[str, int]) -> list[int]:
    """Each name's label.

    Raises
    ------
    UsageError
        Naming the first image that has none.
    """
    found = []
    for name in names:
        if (label := labels.get(Path(name).name)) is None:
            raise UsageError(f"no label for {name}")
        found.append(label)
    return found
