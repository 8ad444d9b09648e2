"""The pictures of several folders' indexes, each file once, with where its vector is."""

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rvcnn.dedup.vectors import Vectors
from rvcnn.errors import IndexMismatchError
from rvcnn.folder.opening import METRIC
from rvcnn.index import Item, Status
from rvcnn.index.manifest import identity
from rvcnn.place import Place, name_of


@dataclass(frozen=True)
class Picture:
    """A file that an index knows.

    Attributes
    ----------
    path
        By the name of the folder that was asked for.
    item
        What the index knows of it.
    place
        The folder's index.
    reference
        Whether it is not to be touched.
    """

    path: Path
    item: Item
    place: Place
    reference: bool = False

    def preference(self) -> tuple:
        """Return what sorts the one to keep first.

        A reference, then the most pixels, the largest file, the oldest; then by name.
        """
        item = self.item
        pixels = (item.width or 0) * (item.height or 0)
        age = item.mtime_ns or 0
        name = os.fsencode(self.path)
        return not self.reference, -pixels, -(item.size or 0), age, name


def collect(
    places: Sequence[Place], references: Sequence[Place] = ()
) -> tuple[list[Picture], Vectors]:
    """Return the pictures of folders, the preferred ones first, and their vectors likewise.

    What is below one of `references` is a reference by whatever way it is reached. A picture that
    is gone from the disk is left out.

    Raises
    ------
    IndexMismatchError
        The indexes were not made by the same model, or are for another metric.
    """
    _check_alike([*references, *places])
    real = functools.cache(os.path.realpath)
    protected = [real(place.folder) for place in references]
    found: dict[tuple[str, str], tuple[Picture, int]] = {}
    sources = []
    for number, place in enumerate((*references, *places)):
        with place.index.snapshot() as now:
            sources.append(now.all_vectors)
            for item in now.items():
                path = place.folder / item.id[len(place.below) :]
                wanted = item.status == Status.OK and item.id.startswith(place.below)
                if not wanted or not os.path.lexists(path):
                    continue
                folder = real(path.parent)
                reference = is_below(folder, protected)
                picture = Picture(path, item, place, reference)
                found.setdefault((folder, path.name), (picture, number))
    ordered = sorted(found.values(), key=lambda entry: entry[0].preference())
    owner = np.array([number for _, number in ordered], np.int64)
    row = np.array([picture.item.row for picture, _ in ordered], np.int64)
    return [picture for picture, _ in ordered], Vectors(sources, owner, row)


def is_below(path: str, folders: Iterable[str]) -> bool:
    """Whether a real path is one of some real folders or below one."""
    own = os.path.normcase(path) + os.sep
    return any(own.startswith(os.path.normcase(f).rstrip(os.sep) + os.sep) for f in folders)


def _check_alike(places: Sequence[Place]) -> None:
    """Raise IndexMismatchError unless all vectors are cosine's, and made by one model."""
    first = places[0]
    for place in places:
        if place.index.metric != METRIC:
            raise IndexMismatchError(
                f"the index of {place.index.path} is for the metric {place.index.metric}, and near-"
                f"duplicates are found by {METRIC}: make one with `rvcnn embed`"
            )
    for place in places[1:]:
        theirs, ours = identity(place.index.description), identity(first.index.description)
        if theirs != ours or place.index.dim != first.index.dim:
            raise IndexMismatchError(
                f"the indexes of {first.index.path} and {place.index.path} were made by different "
                f"models, {name_of(ours)} and {name_of(theirs)}: make one anew with "
                "`rvcnn embed --rebuild`"
            )
