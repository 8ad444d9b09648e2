"""Search folders' indexes: each one, and what they found merged."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from rvcnn.index import Item
from rvcnn.paths import file_identity
from rvcnn.place import Place
from rvcnn.queries import check_images, embed_files
from rvcnn.where import Condition

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


def cosine(embedder: "Embedder", a: Path, b: Path) -> float:
    """Return the cosine of two images."""
    check_images((a, b), "compares two images")
    first, second = embed_files(embedder, (a, b))
    return round(float(first @ second), DECIMALS) + 0.0


def nearest(
    places: Sequence[Place],
    vector: np.ndarray,
    k: int = 10,
    min_similarity: float | None = None,
    leave_out: Sequence[Path] = (),
    workers: int = 0,
    where: Condition | None = None,
    exact: bool = False,
) -> Found:
    """Return the `k` images nearest to `vector` in all `places`, best first, each file once.

    Those of which the files are gone, those that `leave_out` names, and those for which `where` is
    not true are passed over. An index that has a graph is searched by it, unless `exact`.
    """
    unwanted = {file_identity(path) for path in leave_out}
    hits: dict[Path, Hit] = {}
    gone = 0
    for place in places:
        wanted = place.condition(where)
        options = {"workers": workers, "where": wanted, "exact": exact}
        found = _nearest_in(place, vector, k, min_similarity, unwanted, options)
        gone += found.gone
        hits.update((place.index.path / hit.item.id, hit) for hit in found.hits)
    best = sorted(hits.values(), key=lambda hit: (-hit.score, os.fsencode(hit.path)))
    return Found(best[:k], gone)


def _nearest_in(place: Place, vector, k, min_similarity, unwanted, options) -> Found:
    """Search one index, asking for more until `k` of the answers may be shown."""
    ask = k + len(unwanted)
    while True:
        hits: list[Hit] = []
        gone = 0
        found = place.index.search(vector[None], k=ask, **options)
        for score, name in _as_far_as(min_similarity, found.scores[0], found.ids[0]):
            path, item = place.path_of(name), place.index.item(name)
            identity = file_identity(path)
            if identity is None or item is None:
                gone += 1
            elif identity not in unwanted:
                hits.append(Hit(score, path, item))
            if len(hits) == k:
                return Found(hits, gone)
        if len(found.ids[0]) < ask:
            return Found(hits, gone)
        ask *= 4


def _as_far_as(min_similarity, scores, ids) -> Iterator[tuple[float, str]]:
    """Yield scores and ids, best first, as far down as `min_similarity`."""
    for score, name in zip(scores, ids, strict=True):
        score = round(float(score), DECIMALS) + 0.0
        if min_similarity is not None and score < min_similarity:
            return
        yield score, name
