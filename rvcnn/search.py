"""Search folders' indexes by image: combine the queries, search each index, merge."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rvcnn.errors import ImageError, UsageError
from rvcnn.index import Item
from rvcnn.place import Place

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder

DECIMALS = 6  # of a score: float32 arithmetic must not make a picture unlike itself


class Hit(NamedTuple):
    """An image that was found."""

    score: float
    path: Path
    item: Item


class Found(NamedTuple):
    """Hits, best first, and how many better ones were left out because their files are gone."""

    hits: list[Hit]
    gone: int


def check_images(paths: Sequence[Path]) -> None:
    """Raise UsageError unless every path is a file."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"rvcnn searches by image; {path} is a folder")
        if not path.exists():
            raise UsageError(f"rvcnn searches by image; no such file: {path}")


def cosine(embedder: "Embedder", a: Path, b: Path) -> float:
    """Return the cosine of two images."""
    check_images((a, b))
    first, second = embed_files(embedder, (a, b))
    return round(float(first @ second), DECIMALS) + 0.0


def embed_files(embedder: "Embedder", paths: Sequence[Path]) -> np.ndarray:
    """Return the (N, D) vectors of files; an ImageError names the file."""
    rows = embedder.embed(paths, errors="nan")
    for i, reason in embedder.errors_.items():
        raise ImageError(f"{paths[i]}: {reason}")
    return rows


def query_vector(
    embedder: "Embedder", queries: Sequence[Path], away: Sequence[Path] = ()
) -> np.ndarray:
    """Return the (D,) unit vector that means all `queries` and none of `away`.

    It is the mean of the queries' vectors, less the mean of those to be kept away from.
    """
    rows = embed_files(embedder, (*queries, *away))
    vector = rows[: len(queries)].mean(axis=0)
    if away:
        vector = vector - rows[len(queries) :].mean(axis=0)
    length = np.linalg.norm(vector)
    if length < 1e-6:
        raise UsageError("these queries cancel each other out: nothing is left to search for")
    return (vector / length).astype(np.float32)


def nearest(
    places: Sequence[Place],
    vector: np.ndarray,
    k: int = 10,
    min_similarity: float | None = None,
    leave_out: Sequence[Path] = (),
    workers: int = 0,
) -> Found:
    """Return the `k` images nearest to `vector` in all `places`, best first, each file once."""
    unwanted = {_identity(path) for path in leave_out}
    hits: dict[Path, Hit] = {}
    gone = 0
    for place in places:
        found = _nearest_in(place, vector, k, min_similarity, unwanted, workers)
        gone += found.gone
        hits.update((place.index.path / hit.item.id, hit) for hit in found.hits)
    best = sorted(hits.values(), key=lambda hit: (-hit.score, os.fsencode(hit.path)))
    return Found(best[:k], gone)


def _nearest_in(place: Place, vector, k, min_similarity, unwanted, workers) -> Found:
    """Search one index, asking for more until `k` of the answers may be shown."""
    ask = k + len(unwanted)
    while True:
        hits: list[Hit] = []
        gone = 0
        for score, name in _ranked(place.index, vector, ask, min_similarity, workers):
            if not name.startswith(place.below):
                continue
            path = place.folder / name[len(place.below) :]
            identity, item = _identity(path), place.index.item(name)
            if identity is None or item is None:
                gone += 1
            elif identity not in unwanted:
                hits.append(Hit(score, path, item))
            if len(hits) == k:
                return Found(hits, gone)
        if ask >= len(place.index):
            return Found(hits, gone)
        ask *= 4


def _ranked(index, vector, ask, min_similarity, workers) -> Iterator[tuple[float, str]]:
    """Yield scores and ids, best first, as far down as `min_similarity`."""
    found = index.search(vector[None], k=ask, workers=workers)
    for score, name in zip(found.scores[0], found.ids[0], strict=True):
        score = round(float(score), DECIMALS) + 0.0
        if min_similarity is not None and score < min_similarity:
            return
        yield score, name


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what two names of one file share; None where there is no file."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
