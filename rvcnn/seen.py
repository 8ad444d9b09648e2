"""Whether an index has a picture already: the same bytes, else one that looks the same."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rvcnn.dedup.folders import default_threshold
from rvcnn.errors import ImageError
from rvcnn.folder.read import Unreadable, content_of
from rvcnn.images.sources import max_bytes
from rvcnn.index.items import time_of
from rvcnn.index.lookups import with_content
from rvcnn.paths import file_identity
from rvcnn.place import Place
from rvcnn.search import Hit, nearest
from rvcnn.where import Condition


class Seen(NamedTuple):
    """Where a picture was seen, best first; `same` if these files' bytes are the query's."""

    hits: list[Hit]
    same: bool


def seen_file(
    places: Sequence[Place],
    query: Path,
    vector_of: Callable[[Path], np.ndarray],
    min_similarity: float | None = None,
    k: int = 10,
    leave_out: Sequence[Path] = (),
    where: Condition | None = None,
    max_megapixels: float = 200,
) -> Seen:
    """Find a picture by its bytes, and only where that finds nothing by its vector.

    Parameters
    ----------
    places
        Where to look.
    query
        The picture's file.
    vector_of
        Makes its vector; called at need.
    min_similarity
        The least cosine of a picture that looks the same; None for that of `dedup`.
    k
        The most to be found by the vector.
    leave_out
        Files not to be found.
    where
        What must be true of what is found.
    max_megapixels
        Larger images are refused.

    Raises
    ------
    ImageError
        It cannot be read.
    UsageError
        Nobody says what the least cosine is, and rvcnn does not know the model.
    """
    try:
        with content_of(os.fspath(query), max_bytes(max_megapixels * 1e6)) as content:
            sha256 = content.sha256
    except (Unreadable, OSError) as error:
        raise ImageError(f"{query}: {getattr(error, 'strerror', None) or error}") from error
    unwanted = {file_identity(path) for path in leave_out}
    hits = {
        hit.path: hit
        for place in places
        for hit in _same_content(place, sha256, where)
        if file_identity(hit.path) not in unwanted
    }
    if hits:
        return Seen(sorted(hits.values(), key=lambda hit: os.fsencode(hit.path)), True)
    if min_similarity is None:
        min_similarity = default_threshold(places[0])
    vector = vector_of(query)
    # A graph may miss some, and not seen must mean that it is not there.
    found = nearest(places, vector, k, min_similarity, leave_out, where=where, exact=True)
    return Seen(found.hits, False)


def _same_content(place: Place, sha256: bytes, where: Condition | None) -> list[Hit]:
    condition = place.condition(where)
    with place.index.snapshot() as now:
        items = with_content(now, sha256)
        if items and condition is not None:
            chosen = set(now.chosen(condition).tolist())
            items = [item for item in items if item.row in chosen]
    hits = [Hit(1.0, place.path_of(item.id), item) for item in items]
    return [hit for hit in hits if _holds(hit)]


def _holds(hit: Hit) -> bool:
    """Whether a file still has the content that it was indexed with."""
    try:
        status = os.stat(hit.path)
        if (status.st_size, time_of(status)) == (hit.item.size, hit.item.mtime_ns):
            return True
        if status.st_size != hit.item.size:
            return False
        with open(hit.path, "rb") as file:
            digest = hashlib.sha256()
            while part := file.read(1 << 20):
                digest.update(part)
        return digest.digest() == hit.item.sha256
    except OSError:
        return False
