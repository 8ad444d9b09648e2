"""The main job on images that every install has: embed, search, the closest pairs.

The images are crops and edits of the two photographs that scikit-learn ships.
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from rvcnn import folder as folders
from rvcnn.errors import RvcnnError
from rvcnn.index import Index

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder

PHOTOS = ("china", "flower")
QUERY = "flower_tilted.jpg"


def _crop(left: float, top: float, right: float, bottom: float) -> Callable:
    """Return an edit that keeps a part of the image, given in fractions of its sides."""

    def crop(image: Image.Image) -> Image.Image:
        w, h = image.size
        return image.crop((int(left * w), int(top * h), int(right * w), int(bottom * h)))

    return crop


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "": lambda image: image,
    "_small": lambda image: image.reduce(2),
    "_mirrored": ImageOps.mirror,
    "_tilted": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "_grey": ImageOps.grayscale,
    "_bright": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "_blurred": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "_middle": _crop(0.15, 0.15, 0.85, 0.85),
    "_left": _crop(0, 0, 0.5, 1),
    "_right": _crop(0.5, 0, 1, 1),
}


class Pair(NamedTuple):
    """Two images and the cosine of their vectors."""

    score: float
    first: str
    second: str


class Demonstration(NamedTuple):
    """What the demo found; paths are relative to its folder."""

    images: int
    dimension: int
    query: str
    matches: list[tuple[float, str]]
    pairs: list[Pair]


def photographs() -> dict[str, Path]:
    """Return the photographs' files by name, without importing scikit-learn."""
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise RvcnnError("the demo's photographs come with scikit-learn: pip install scikit-learn")
    images = Path(spec.submodule_search_locations[0], "datasets", "images")
    files = {name: images / f"{name}.jpg" for name in PHOTOS}
    for file in files.values():
        if not file.is_file():
            raise RvcnnError(f"the demo's photograph is not where it should be: {file}")
    return files


def make_images(folder: Path) -> None:
    """Write the demo's images into `folder`."""
    for name, file in photographs().items():
        with Image.open(file, formats=["JPEG"]) as photo:
            photo.load()
        for edit, apply in EDITS.items():
            apply(photo).save(folder / f"{name}{edit}.jpg", quality=85)


def run(
    folder: Path,
    embedder: "Embedder",
    progress: Callable = lambda event: None,
    top: int = 5,
) -> Demonstration:
    """Embed the demo's images in `folder`, search, and pair them."""
    make_images(folder)
    folders.update(folder, embedder, progress=progress)
    index = Index.open(folder)
    found = index.search(index.vectors([QUERY]), k=top)
    matches = [(float(s), i) for s, i in zip(found.scores[0], found.ids[0], strict=True)]
    return Demonstration(len(index), index.dim, QUERY, matches, closest_pairs(index, top))


def closest_pairs(index: Index, count: int) -> list[Pair]:
    """Return the `count` pairs with the highest cosine, best first."""
    ids = sorted(index.ids)
    vectors = index.vectors(ids)
    cosines = vectors @ vectors.T
    first, second = np.triu_indices(len(ids), k=1)
    best = np.argsort(-cosines[first, second], kind="stable")[:count]
    return [
        Pair(float(cosines[a, b]), ids[a], ids[b])
        for a, b in zip(first[best], second[best], strict=True)
    ]
