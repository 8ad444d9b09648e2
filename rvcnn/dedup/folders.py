"""Duplicates below folders, from their indexes: what `rvcnn dedup` asks for."""

from collections.abc import Sequence

from rvcnn.dedup.groups import Group, find_groups, upright
from rvcnn.dedup.pictures import collect
from rvcnn.errors import UsageError
from rvcnn.index.manifest import WEIGHTS_FILE
from rvcnn.place import Place

DEFAULT_MODEL = "mobilenetv3_small"
DEFAULT_THRESHOLD = 0.85
"""Of the embedded model. By ``benchmarks/dedup.py``, over 500 photographs and 12 edits of each, no
two versions of different photographs have a cosine of more than 0.78."""


def default_threshold(place: Place) -> float:
    """Return the least cosine of duplicates where nobody says.

    Raises
    ------
    UsageError
        The vectors are of a model that rvcnn knows nothing of.
    """
    described = place.index.description
    ours = described.get("model") == DEFAULT_MODEL and described.get("normalize")
    if not ours or any(key in described for key in (WEIGHTS_FILE, "embedding")):
        raise UsageError(
            f"the index of {place.index.path} was not made by the embedded model as it is, and "
            "which cosine means the same picture depends on the model: give --min-similarity X, "
            "or --fpr P to calibrate"
        )
    return DEFAULT_THRESHOLD


def duplicates_below(
    places: Sequence[Place],
    references: Sequence[Place] = (),
    threshold: float | None = None,
    find_pairs=upright,
) -> list[Group]:
    """Group the near-duplicates below folders; see `rvcnn.dedup.groups.find_groups`.

    Parameters
    ----------
    places
        Folders with the part of their indexes that is meant.
    references
        Folders whose pictures are never duplicates: with any, only what resembles one of theirs
        is a duplicate.
    threshold
        The least cosine; None for the embedded model's `DEFAULT_THRESHOLD`.
    find_pairs
        `rvcnn.dedup.groups.upright`, or one like it.
    """
    if threshold is None:
        threshold = default_threshold(places[0])
    pictures, vectors = collect(places, references)
    return find_groups(pictures, vectors, threshold, bool(references), find_pairs)
