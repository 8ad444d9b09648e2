"""Folders of photographs to measure with: real ones, or crops and edits of them.

Without ``RVCNN_TEST_DATA`` the real ones are the two that scikit-learn ships, which rvcnn's own
demo uses too.
"""

from __future__ import annotations

import io
import itertools
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from rvcnn.demo import photographs

LARGE = (4000, 3000)
LARGE_BYTES = (3_000_000, 5_000_000)
NOISE = 4.0
"""Standard deviation of the large photographs' noise, of 255."""


def real() -> list[Path]:
    """Photographs below ``RVCNN_TEST_DATA``, sorted; none where that is not set."""
    data = os.environ.get("RVCNN_TEST_DATA")
    folder = Path(data, "images", "imagenet500") if data else None
    return sorted(folder.iterdir()) if folder and folder.is_dir() else []


def fill(folder: Path, count: int, seed: int) -> str:
    """Put so many photographs into a folder: real ones if there are enough; says which."""
    files = real()[:count]
    if len(files) < count:
        return make(folder, count, seed)
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    return f"{count} photographs"


def make(folder: Path, count: int, seed: int) -> str:
    """Write distinct JPEGs the size of web photographs: random crops and edits; says what."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i, file in zip(range(count), itertools.cycle(_sources()), strict=False):
        image = _variant(_read(file), rng)
        scale = rng.uniform(330, 450) / min(image.size)
        size = tuple(round(side * scale) for side in image.size)
        image = image.resize(size, Image.Resampling.BICUBIC)
        image.save(folder / f"{i:05}.jpg", quality=int(rng.integers(85, 96)))
    return f"{count} made photographs"


def make_large(folder: Path, count: int, seed: int) -> str:
    """Write 12-megapixel JPEGs of 3 to 5 MB: crops enlarged, with a camera's noise; says what."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    width, height = LARGE
    grain = rng.normal(0, NOISE, (height, width, 1)).astype(np.float32)
    sources = _sources()
    for i in range(count):
        image = _variant(_read(sources[i * len(sources) // count % len(sources)]), rng)
        image = ImageOps.fit(image, LARGE, Image.Resampling.LANCZOS)
        shifted = np.roll(grain, rng.integers(0, (height, width)), (0, 1))
        noisy = (np.asarray(image) + shifted).clip(0, 255).astype(np.uint8)
        (folder / f"{i:05}.jpg").write_bytes(_jpeg_within(Image.fromarray(noisy), LARGE_BYTES))
    return f"{count} photographs enlarged to {width}x{height}"


def _sources() -> list[Path]:
    return real() or list(photographs().values())


def _read(file: Path) -> Image.Image:
    with Image.open(file) as photograph:
        return photograph.convert("RGB")


def _variant(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A random crop, perhaps mirrored, with other brightness, contrast and colour."""
    width, height = image.size
    share = rng.uniform(0.5, 1)
    left, top = rng.uniform(0, 1 - share, 2)
    box = (left * width, top * height, (left + share) * width, (top + share) * height)
    image = image.crop([round(side) for side in box])
    if rng.random() < 0.5:
        image = ImageOps.mirror(image)
    for edit in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = edit(image).enhance(rng.uniform(0.7, 1.3))
    return image


def _jpeg_within(image: Image.Image, limits: tuple[int, int]) -> bytes:
    """A JPEG whose size lies within limits: the quality that gives it, by bisection."""
    low, high = 30, 99
    while True:
        quality = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        size = buffer.tell()
        if limits[0] <= size <= limits[1] or low >= high:
            return buffer.getvalue()
        low, high = (quality + 1, high) if size < limits[0] else (low, quality - 1)
