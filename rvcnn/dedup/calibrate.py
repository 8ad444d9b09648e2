"""A threshold for a user's own pictures, from edits of them and from pairs of different ones."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rvcnn.dedup.edits import EDITS, edited
from rvcnn.dedup.orientations import ORIENTATIONS, embed_orientations
from rvcnn.dedup.tail import least_rate, threshold_for
from rvcnn.errors import ImageError, UsageError
from rvcnn.images import decode
from rvcnn.images.decode import DRAFT_MARGIN
from rvcnn.team import team_of
from rvcnn.threads import available_cpus, ordered_map

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder

SAMPLE = 300
"""Pictures that a calibration looks at: 44,850 pairs."""

WHOLE = ("recompression", "half size", "blur", "brightness", "gamma", "text overlay", "border")
"""Edits that leave out nothing: what is as alike as they are is taken to be the same picture."""

_SHARE = 0.05


@dataclass(frozen=True)
class Calibration:
    """What a threshold is worth on some pictures.

    Attributes
    ----------
    threshold
        The least cosine of duplicates.
    rate
        The share of pairs of different pictures that was allowed to reach it.
    pictures, pairs
        How many pictures, and pairs of different ones, it was found by.
    extrapolated
        Whether the rate is below `least_rate`, ten of these pairs.
    least_rate
        The least rate that so many pairs show.
    recall
        For each kind of edit, the share of pictures whose edit reaches the threshold with them.
    closest
        Those two of the pictures, among what was taken to be different, that are most alike in any
        of their versions, and that cosine.
    same
        Pictures that were set aside, being as alike to others of them as edits of one picture are:
        a folder that has duplicates says by them nothing of different pictures.
    """

    threshold: float
    rate: float
    pictures: int
    pairs: int
    extrapolated: bool
    least_rate: float
    recall: dict[str, float]
    closest: tuple[str, str, float]
    same: list[str] = field(default_factory=list)


def calibrate(
    embedder: "Embedder",
    paths: Sequence[str | os.PathLike[str]],
    rate: float,
    sample: int = SAMPLE,
    seed: int = 0,
    invariant: bool = False,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Calibration:
    """Find the threshold that a share `rate` of pairs of different pictures reaches.

    Two pictures count as alike as the most alike of their versions: each as it is and in every
    edit. So the rate is that of pictures which somebody may have edited.

    Parameters
    ----------
    embedder
        What makes the vectors.
    paths
        Pictures; those that cannot be read are passed over.
    rate
        0 to 1.
    sample
        How many of them are looked at, chosen by `seed`.
    invariant
        Whether pictures are compared in all orientations.
    workers
        Threads; 0 for as many as this process may use.
    progress
        Told how many pictures of how many are done.

    Raises
    ------
    UsageError
        There are too few pictures, or the rate is none.
    """
    if not 0 < rate < 1:
        raise UsageError(f"a rate of false pairs is between 0 and 1, not {rate!r}")
    order = np.random.default_rng(seed).permutation(len(paths))
    chosen = [os.fspath(paths[i]) for i in np.sort(order[:sample])]
    names, versions = _embed(embedder, chosen, invariant, workers or available_cpus(), progress)
    return _judged(names, versions, rate, workers)


def _judged(names: list[str], versions: np.ndarray, rate: float, workers: int) -> Calibration:
    """Find the threshold by (N, versions, D) vectors, of which the last are the edits'."""
    turned = versions.shape[1] - len(EDITS)
    own = np.einsum("iod,ijd->ioj", versions[:, :turned], versions[:, turned:]).max(axis=1)
    whole = own[:, [list(EDITS).index(name) for name in WHOLE]]
    alike = _most_alike(versions, workers)
    kept = _different(alike, np.quantile(whole, _SHARE)) if len(names) else np.empty(0, int)
    first, second = (kept[ends] for ends in np.triu_indices(len(kept), 1))
    cosines = alike[first, second]
    cosine, extrapolated = threshold_for(rate, cosines)
    closest = cosines.argmax()
    return Calibration(
        cosine,
        rate,
        len(names),
        len(cosines),
        extrapolated,
        least_rate(len(cosines)),
        dict(zip(EDITS, (own >= cosine).mean(axis=0).tolist(), strict=True)),
        (names[first[closest]], names[second[closest]], float(cosines[closest])),
        [names[i] for i in np.setdiff1d(np.arange(len(names)), kept)],
    )


def _different(alike: np.ndarray, limit: float) -> np.ndarray:
    """Return the numbers of pictures of which no two are as alike as `limit`: the first ones."""
    kept: list[int] = []
    for i in range(len(alike)):
        if not (alike[kept, i] >= limit).any():
            kept.append(i)
    return np.array(kept, np.int64)


def _embed(embedder, paths, invariant, workers, progress) -> tuple[list[str], np.ndarray]:
    """Return the pictures that can be read, and (N, versions, D) vectors.

    The versions are the picture as it is, or in its eight orientations, then its edits.
    """
    limits = {"min_side": embedder.preprocess.resize, "max_megapixels": embedder.max_megapixels}
    most = round(DRAFT_MARGIN * embedder.preprocess.resize)

    def versions(job):
        number, path = job
        try:
            image = _reduced(decode(path, **limits).image, most)
        except (ImageError, OSError):
            return None
        rows = embed_orientations(embedder, decode(image))[: ORIENTATIONS if invariant else 1]
        edits = [embedder.embed_one(edited(image, name, number)) for name in EDITS]
        return np.concatenate([rows, edits])

    names, rows = [], []
    for done, (path, row) in enumerate(
        zip(paths, ordered_map(versions, enumerate(paths), workers, 2 * workers), strict=True), 1
    ):
        progress(done, len(paths))
        if row is not None:
            names.append(path)
            rows.append(row)
    turned = ORIENTATIONS if invariant else 1
    return names, np.array(rows, np.float32).reshape(-1, turned + len(EDITS), embedder.dim)


def _reduced(image: Image.Image, most: int) -> Image.Image:
    """Return an image whose shorter side has at most so many pixels: more, no embedding sees."""
    scale = most / min(image.size)
    if scale >= 1:
        return image
    return image.resize([max(1, round(side * scale)) for side in image.size], reducing_gap=2)


def _most_alike(versions: np.ndarray, workers: int) -> np.ndarray:
    """Return (N, N): in row i, the largest cosines of versions of i with those of each j > i."""
    from rvcnn.kernels import dot_products

    count, kinds, dim = versions.shape
    rows = np.ascontiguousarray(versions.reshape(-1, dim))
    out = np.zeros((count, count), np.float32)

    def row(i):
        dots = dot_products(versions[i], rows[kinds * (i + 1) :])
        out[i, i + 1 :] = dots.max(axis=0).reshape(-1, kinds).max(axis=1)

    team_of(workers or available_cpus()).each(row, count)
    return out
