"""What the tests of the index share: images of a few bytes and an embedder that hashes pixels."""

import hashlib
import os
import time
from pathlib import Path

import numpy as np

from rvcnn.index import Index
from rvcnn.index.formats import FORMATS, encode
from rvcnn.index.vectors import file_names

DIM = 8
CLOSE = {"float32": 1e-6, "int8": 2.0**-14}
"""How near a unit vector comes back: int8 has steps of at most 2**-14.9."""
HEADER = b"P6 2 2 255\n"
PIXELS = 12


def image_bytes(seed) -> bytes:
    """Return an image of 2 x 2 pixels that `seed` decides."""
    return HEADER + hashlib.sha256(repr(seed).encode()).digest()[:PIXELS]


def write_image(path: Path, seed, mtime: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(seed))
    if mtime is not None:
        os.utime(path, ns=(mtime, mtime))
    return path


def vector_of(pixels: bytes) -> np.ndarray:
    """Return the unit vector that stands for an image's pixels."""
    digest = np.frombuffer(hashlib.sha256(pixels).digest()[:DIM], np.int8)
    vector = digest.astype(np.float64) + 0.5
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def vector_of_file(path: Path) -> np.ndarray:
    """Return what the index must hold for a file."""
    data = Path(path).read_bytes()
    assert data.startswith(HEADER) and len(data) == len(HEADER) + PIXELS
    return vector_of(data[len(HEADER) :])


class FakePreprocess:
    resize = 256


class FakeEmbedder:
    """Embeds by hashing pixels; `calls` counts how often, `seconds` is how long each takes."""

    dim = DIM
    workers = 2
    preprocess = FakePreprocess()

    def __init__(self, model="fake", seconds=0.0, **description):
        self.description = {"model": model, "precision": "fp32", **description}
        self.seconds = seconds
        self.calls = 0

    def describe(self):
        return self.description

    def pixels(self, decoded):
        return decoded.image.tobytes()

    def embed_pixels(self, pixels):
        self.calls += 1
        if self.seconds:
            time.sleep(self.seconds)
        return vector_of(pixels)


def as_held(vector: np.ndarray, dtype: str) -> np.ndarray:
    """Return what an index gives back for a unit vector (D,)."""
    return encode(vector[None], dtype).vectors("cosine")[0]


def row_bytes(dtype: str, dim: int = DIM) -> int:
    """Return the bytes of a vector in all files."""
    return sum(plane.row_bytes for plane in FORMATS[dtype].planes(dim))


def vectors_files(location: Path) -> set[str]:
    """Return the names of the vectors' files in an index's folder."""
    return {path.name for path in location.glob("vectors*")}


def all_names(dtype: str, generation: int = 0) -> set[str]:
    """Return what :func:`vectors_files` must be."""
    return set(file_names(generation, dtype))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the vectors' bytes of a folder's index by id."""
    with Index.open(folder) as index, index.snapshot() as now:
        return {i: v.tobytes() for i, v in zip(now.ids(), now.vectors(), strict=True)}


def random_vectors(count: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
