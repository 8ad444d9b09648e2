"""Where a folder's index is, which part of it lies below that folder, and what made it."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from rvcnn.errors import IndexMismatchError, IndexMissingError, RvcnnError, UsageError
from rvcnn.index import Index, find_index, lookups
from rvcnn.index.manifest import WEIGHTS_FILE, identity
from rvcnn.made_by import mismatch, told_by
from rvcnn.paths import quoted
from rvcnn.where import Condition, Field, StartsWith, all_of
from rvcnn.where.evaluate import fields

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


class Place(NamedTuple):
    """An index and the part of it that is meant.

    Attributes
    ----------
    index
        The index.
    folder
        The folder that is meant, absolute, by the name it was asked for.
    below
        What the ids of its images begin with: empty for the whole index, else it ends in ``/``.
    """

    index: Index
    folder: Path
    below: str = ""

    def rows(self) -> tuple[list[str], np.ndarray]:
        """Return the paths, relative to the folder that was asked for, and (N, D) vectors."""
        with self.index.snapshot() as now:
            ids = [i for i in now.ids() if i.startswith(self.below)]
            return [i[len(self.below) :] for i in ids], now.vectors(ids)

    def metadata(self, paths: Iterable[str]) -> list[Mapping[str, Any] | None]:
        """Return the metadata of images by their paths relative to the folder."""
        with self.index.snapshot() as now:
            found = lookups.metadata(now)
        return [found.get(self.below + path) for path in paths]

    def path_of(self, identity: str) -> Path:
        """Return the path of an image that lies below the folder, named as that was asked for."""
        return self.folder / identity[len(self.below) :]

    def condition(self, where: Condition | None = None) -> Condition | None:
        """Return the condition that an image is of the part that is meant, and `where` holds."""
        below = StartsWith(Field("path"), self.below) if self.below else None
        return all_of(below, where)

    def unknown(self, where: Condition) -> list[str]:
        """Return the keys that a filter speaks of and no image's metadata has."""
        keys = sorted({field.keys[0] for field in fields(where) if field.keys})
        with self.index.snapshot() as now:
            return [key for key in keys if not lookups.has_key(now, key)]

    def stale(self) -> int:
        """Count the images that lost their vectors to damage or to a rebuild that did not end."""
        with self.index.snapshot() as now:
            return lookups.stale(now, self.below)

    def facts(self) -> dict[str, Any]:
        """Return what the index holds, as plain values."""
        index, stats = self.index, self.index.stats()
        return {
            "folder": str(index.path),
            "location": str(index.location),
            **index.description,
            "dimension": index.dim,
            "metric": index.metric,
            "vectors": index.dtype,
            "images": stats.vectors,
            "failed": stats.failed,
            "stale": stats.stale,
            "bytes": stats.bytes,
            **({"metadata": keys} if (keys := self._keys()) else {}),
        }

    def _keys(self) -> dict[str, int]:
        """Return how many images have each key of metadata, those of the most first."""
        with self.index.snapshot() as now:
            keys = Counter(chain.from_iterable(lookups.metadata(now).values()))
        return dict(sorted(keys.items(), key=lambda pair: (-pair[1], pair[0])))

    def check_made_by(self, embedder: "Embedder") -> None:
        """Raise IndexMismatchError unless the vectors are this embedder's.

        An index that does not say what made it, as `Index.create` without a description makes,
        passes if its vectors are as long.
        """
        theirs, ours = identity(self.index.description), embedder.describe()
        keys = {*theirs, "embedding"} if theirs else ()
        different = [key for key in keys if ours.get(key) != theirs.get(key)]
        if self.index.dim == ours["dimension"] and not different:
            return
        made = {**self.index.description, "dimension": self.index.dim}
        raise mismatch(self.index.path, made, told_by(embedder))


def name_of(description: dict[str, Any]) -> str:
    """Name what made an index."""
    model = description.get("model", "an unnamed model")
    digest, layer = description.get("weights_sha256"), description.get("embedding")
    told = [f"weights {digest[:12]}"] if digest else []
    told += [f"embedding {layer}"] if layer else []
    return f"{model} ({', '.join(told)})" if told else model


def find_place(folder: Path) -> Path:
    """Return the nearest folder at or above `folder` that has an index.

    Raises
    ------
    UsageError
        No such folder.
    IndexMissingError
        No index.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    root = find_index(folder)
    if root is None:
        raise IndexMissingError(
            f"no index in {folder} or above it: `rvcnn embed {quoted(folder)}` makes one"
        )
    return root


def open_place(folder: Path) -> Place:
    """Open the nearest index at or above `folder`; the part below `folder` is meant."""
    root = find_place(folder)
    real = Path(os.path.realpath(folder))
    named = Path(os.path.abspath(folder))
    if not os.path.samefile(named, real):  # ".." behind a link
        named = real
    inside = real.relative_to(root).as_posix()
    if inside == "." or inside.startswith(".rvcnn"):
        return Place(Index.open(root), named if inside == "." else root)
    return Place(Index.open(root), named, f"{inside}/")


def open_places(folders: Sequence[Path] = ()) -> list[Place]:
    """Open the indexes of `folders`; without any, the nearest at or above the current folder."""
    if not folders:
        root = find_place(Path.cwd())
        return [Place(Index.open(root), root)]
    return [open_place(folder) for folder in folders]


def existing_places(folders: Sequence[Path]) -> list[Place]:
    """Open the indexes of those folders that have one, or that lie below one."""
    return [open_place(folder) for folder in folders if find_index(folder) is not None]


def check_alike(places: Sequence[Place]) -> None:
    """Raise IndexMismatchError unless one query can be asked of all of these.

    Their vectors must be compared alike and, where they say what made them, be of one model.
    """
    first, *others = places
    for other in others:
        ours, theirs = (
            {"dimension": p.index.dim, "metric": p.index.metric, **identity(p.index.description)}
            for p in (first, other)
        )
        different = sorted(k for k, value in ours.items() if theirs.get(k, value) != value)
        if different:
            raise IndexMismatchError(
                f"the indexes of {first.index.path} and {other.index.path} cannot be searched "
                f"together: one was made by {name_of(ours)}, the other by {name_of(theirs)}, and "
                f"they differ in {', '.join(different)}"
            )


def made_with(folders: Sequence[Path]) -> dict[str, Any]:
    """Return what the first folder's index was made with: precision, layer, weights file.

    No weights where the file is gone, and for the embedded model; nothing where there is no index.
    """
    description = _description(folders)
    found = {key: description.get(key) for key in ("precision", "embedding")}
    file = description.get(WEIGHTS_FILE)
    if isinstance(file, str) and os.path.isfile(file):
        found["weights"] = Path(file)
    return {key: value for key, value in found.items() if value}


def lost_weights(folders: Sequence[Path]) -> str | None:
    """Return the weights file of the first folder's index if it is gone."""
    file = _description(folders).get(WEIGHTS_FILE)
    return file if isinstance(file, str) and not os.path.isfile(file) else None


def _description(folders: Sequence[Path]) -> Mapping[str, Any]:
    """Return what the first folder's index says of what made it; nothing where there is none."""
    folder = next(iter(folders), Path.cwd())
    root = find_index(folder) if folder.is_dir() else None
    if root is None:
        return {}
    try:
        return Index.open(root).description
    except RvcnnError:
        return {}


def check_paths(paths: Sequence[Path], folders_only: bool) -> None:
    """Raise UsageError unless every path exists and, with `folders_only`, is a folder."""
    for path in paths:
        if not path.exists():
            raise UsageError(f"no such file or folder: {path}")
        if folders_only and not path.is_dir():
            raise UsageError(
                f"{path} is a file, and indexes are of folders: --no-index -o FILE takes files"
            )


def rows_below(folders: Sequence[Path]) -> tuple[list[str], np.ndarray]:
    """Return what the indexes hold below several folders, each image once.

    Returns
    -------
    names, vectors
        Paths that begin as the given ones do; (N, D) float32.
    """
    rows: dict[str, np.ndarray] = {}
    for folder in folders:
        names, vectors = open_place(folder).rows()
        rows.update(zip(((folder / name).as_posix() for name in names), vectors, strict=True))
    return list(rows), np.array(list(rows.values()), np.float32)
