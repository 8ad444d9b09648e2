"""Pictures that are duplicates once turned or mirrored: the eight orientations of a picture.

Only one picture of a pair has to be turned, so the index is used as it is, and the other side is
embedded anew, from the files, in the seven orientations that the index does not have. Nothing of it
is kept: a block of pictures is decoded, embedded, compared and forgotten.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rvcnn.dedup.groups import upright
from rvcnn.dedup.pairs import Pairs, pairs_between
from rvcnn.dedup.pictures import Picture
from rvcnn.dedup.vectors import Vectors
from rvcnn.errors import ImageError
from rvcnn.images import Decoded, decode
from rvcnn.index.vectors import checked
from rvcnn.threads import available_cpus, ordered_map

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder

ORIENTATIONS = 8
_BLOCK = 1024  # pictures


def orientations(pixels: Any) -> Iterator[Any]:
    """Yield what a network sees of a picture, as it is and in its seven other orientations.

    Parameters
    ----------
    pixels
        (H, W, 3) uint8, or an image.
    """
    array = np.asarray(pixels)
    for mirrored in (array, array[:, ::-1]):
        for turns in range(4):
            turned = np.ascontiguousarray(np.rot90(mirrored, turns))
            yield Image.fromarray(turned) if isinstance(pixels, Image.Image) else turned


def embed_orientations(embedder: "Embedder", decoded: Decoded) -> np.ndarray:
    """Return (8, D): the vectors of a picture in its orientations, as it is first."""
    return np.stack([embedder.embed_pixels(p) for p in orientations(embedder.pixels(decoded))])


class Invariant:
    """Finds pairs in any orientation, for `rvcnn.dedup.groups.find_groups`.

    Parameters
    ----------
    embedder
        What made the vectors.
    workers
        Threads; 0 for as many as this process may use.
    progress
        Told how many pictures of how many were turned.
    """

    def __init__(
        self,
        embedder: "Embedder",
        workers: int = 0,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ):
        self._embedder = embedder
        self._workers = workers or available_cpus()
        self._progress = progress

    def __call__(
        self, pictures: Sequence[Picture], vectors: Vectors, references: int, threshold: float
    ) -> Pairs:
        """Find the pairs among pictures; the first so many are `references`, if any."""
        found = [upright(pictures, vectors, references, threshold, self._workers)]
        for start in range(references, len(pictures), _BLOCK):
            stop = min(start + _BLOCK, len(pictures))
            numbers, rows = self._turned(pictures, range(start, stop), references)
            # Of two pictures, the one that comes first is turned.
            first = 0 if references else start + 1
            others = vectors.part(slice(first, references or None))
            if not len(rows) or not len(others):
                continue
            pairs = pairs_between(Vectors.of(rows), others, threshold, self._workers)
            own, other = numbers[pairs.first], pairs.second + first
            wanted = (other < own) if references else (other > own)
            ends = np.sort(np.stack([own, other])[:, wanted], axis=0)
            found.append(Pairs(ends[0], ends[1], pairs.scores[wanted]))
        return _best(found)

    def _turned(self, pictures, numbers: range, done: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (n,) numbers of pictures and (n, D) vectors of their other orientations."""
        total = len(pictures) - done

        def embed(number):
            embedder = self._embedder
            side, most = embedder.preprocess.resize, embedder.max_megapixels
            try:
                decoded = decode(pictures[number].path, min_side=side, max_megapixels=most)
            except (ImageError, OSError):
                return np.empty((0, embedder.dim), np.float32)
            return embed_orientations(embedder, decoded)[1:]

        rows = []
        for number, row in zip(
            numbers, ordered_map(embed, numbers, self._workers, 2 * self._workers), strict=True
        ):
            rows.append(row)
            self._progress(number + 1 - done, total)
        owners = np.repeat(np.asarray(numbers), [len(row) for row in rows])
        return owners, checked(np.concatenate(rows), self._embedder.dim, "cosine")


def _best(found: Sequence[Pairs]) -> Pairs:
    """Return each pair once, with the largest of its scores, in the order of their numbers."""
    first, second, scores = (np.concatenate(values) for values in zip(*found, strict=True))
    order = np.lexsort((-scores, second, first))
    first, second, scores = first[order], second[order], scores[order]
    new = np.ones(len(first), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Pairs(first[new], second[new], scores[new])
