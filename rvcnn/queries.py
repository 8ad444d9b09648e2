"""What a search looks for: a vector made of images, of parts of them, and of vectors."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rvcnn.crop import Crop
from rvcnn.errors import ImageError, ShapeError, UsageError
from rvcnn.index import Index

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


def check_images(paths: Sequence[Path], does: str = "searches by image") -> None:
    """Raise UsageError unless every path is a file; it says what rvcnn `does` with them."""
    for path in paths:
        if path.is_dir():
            raise UsageError(f"rvcnn {does}; {path} is a folder")
        if not path.exists():
            raise UsageError(f"rvcnn {does}; no such file: {path}")


def embed_files(
    embedder: "Embedder", paths: Sequence[Path], crop: Crop | None = None
) -> np.ndarray:
    """Return the (N, D) vectors of files, or of a part of each; an ImageError names the file."""
    if crop is not None:
        return np.array([_embed_part(embedder, path, crop) for path in paths])
    rows = embedder.embed(paths, errors="nan")
    for i, reason in embedder.errors_.items():
        raise ImageError(f"{paths[i]}: {reason}")
    return rows


def _embed_part(embedder: "Embedder", path: Path, crop: Crop) -> np.ndarray:
    from rvcnn.images import Decoded, decode

    try:
        whole = decode(path, max_megapixels=embedder.max_megapixels)
        box = crop.box(whole.width, whole.height)
        part = Decoded(whole.image.crop(box), box[2] - box[0], box[3] - box[1], whole.format)
        return embedder.embed_decoded(part)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def query_vector(
    index: Index,
    make_embedder: Callable[[], "Embedder"],
    images: Sequence[Path] = (),
    away: Sequence[Path] = (),
    given: np.ndarray | None = None,
    crop: Crop | None = None,
) -> np.ndarray:
    """Return the (D,) vector that means all images and the given vector, and none of `away`.

    Parameters
    ----------
    index
        Where it is going to be searched for.
    make_embedder
        Called if there is any image.
    images, away
        Files that are searched for, and to be kept away from.
    given
        (D,): searched for, too.
    crop
        The part of each of `images` that is meant.

    Raises
    ------
    ImageError
        A file that cannot be read.
    ShapeError, UsageError
        A vector that is not one of the index's; nothing that is left to search for.
    """
    embedder = make_embedder() if images or away else None
    rows = [embed_files(embedder, images, crop)] if images else []
    if given is not None:
        _check_vector(given, index.dim)
        rows.append(given[None])
    others = embed_files(embedder, away) if away else None
    return combine(np.concatenate(rows), others, unit=index.metric == "cosine")


def _check_vector(vector: np.ndarray, dim: int) -> None:
    if len(vector) != dim:
        raise ShapeError(f"a vector of {len(vector)} numbers: the index's vectors have {dim}")
    if not np.isfinite(vector).all():
        raise UsageError("a vector with numbers that are not finite")


def combine(towards: np.ndarray, away: np.ndarray | None = None, unit: bool = True) -> np.ndarray:
    """Return the (D,) vector that means all rows of `towards` and none of `away`.

    It is the mean of the one, less the mean of the other; with `unit` of rows of length 1, and of
    length 1 itself.
    """
    vector = _unit(towards).mean(axis=0) if unit else towards.mean(axis=0)
    if away is not None and len(away):
        vector = vector - (_unit(away) if unit else away).mean(axis=0)
    if not unit:
        return vector.astype(np.float32)
    length = np.linalg.norm(vector)
    if length < 1e-6:
        raise UsageError("these queries cancel each other out: nothing is left to search for")
    return (vector / length).astype(np.float32)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise UsageError("a vector of zeros has no direction to search in")
    return rows / lengths
