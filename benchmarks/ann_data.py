"""Vectors to search: embeddings of crops of photographs, and more of a mixture fitted to them.

They are made once and kept in a cache folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import common
import numpy as np
import photographs

from rvcnn import Embedder
from rvcnn.kernels import dot_products

CROPS = 200_000
QUERIES = 2_000
CENTRES = 1_000
_CHUNK = 20_000
_MOST_OF_A_CENTRE = 400


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vectors_of(given, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors and held-out queries: crops, or, where more are asked for, draws of the mixture.

    Returns
    -------
    vectors, queries
        (count, D) float32, mapped, and (QUERIES, D).
    """
    folder = given.cache
    folder.mkdir(parents=True, exist_ok=True)
    crops = folder / f"crops-{given.crops}-{given.seed}.npy"
    if not crops.exists():
        common.note(f"embedding {given.crops + QUERIES} crops, once, into {crops}")
        rows = embed_crops(given.crops + QUERIES, given.seed)
        order = np.random.default_rng(given.seed + 1).permutation(len(rows))
        _save(crops, rows[order])
    rows = np.load(crops, mmap_mode="r")
    if count <= given.crops:
        return rows[QUERIES : QUERIES + count], np.array(rows[:QUERIES])
    drawn = folder / f"mixture-{count}-of-{given.crops}-{given.seed}.npy"
    if not drawn.exists():
        common.note(f"drawing {count + QUERIES} vectors, once, into {drawn}")
        _save(drawn, mixture(np.array(rows), count + QUERIES, given.seed))
    rows = np.load(drawn, mmap_mode="r")
    return rows[QUERIES:], np.array(rows[:QUERIES])


def _save(path: Path, rows: np.ndarray) -> None:
    temporary = path.with_suffix(".new.npy")
    np.save(temporary, rows)
    os.replace(temporary, path)


def crops_of(photograph: np.ndarray, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Crops of 20 to 100 % of a photograph, half of them mirrored."""
    for _ in range(count):
        share = np.sqrt(rng.uniform(0.2, 1))
        shape = [max(16, round(share * side)) for side in photograph.shape[:2]]
        sides = zip(photograph.shape[:2], shape, strict=True)
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in sides)
        crop = photograph[top : top + shape[0], left : left + shape[1]]
        yield np.ascontiguousarray(crop[:, ::-1] if rng.random() < 0.5 else crop)


def embed_crops(count: int, seed: int) -> np.ndarray:
    """Embeddings of seeded crops, as many of every photograph, by the embedded model in int8."""
    files = photographs._sources()
    rng = np.random.default_rng(seed)
    embedder = Embedder(precision="int8")
    rows = []
    for i, file in enumerate(files):
        share = count * (i + 1) // len(files) - count * i // len(files)
        photograph = np.asarray(photographs._read(file))
        rows.append(embedder.embed(list(crops_of(photograph, share, rng))))
    return np.concatenate(rows)


def mixture(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Draws of a mixture of Gaussians, with the mean and covariance of each cluster of `rows`."""
    rng = np.random.default_rng(seed + 2)
    count_of = min(CENTRES, len(rows) // 4)
    centres = rows[rng.permutation(len(rows))[:count_of]]
    for _ in range(2):
        nearest = _assign(rows, centres)
        centres = unit(np.stack([_mean(rows[nearest == c], centres[c]) for c in range(count_of)]))
    nearest = _assign(rows, centres)
    sizes = rng.multinomial(count, np.bincount(nearest, minlength=count_of) / len(rows))
    drawn = np.empty((count, rows.shape[1]), np.float32)
    start = 0
    for c, size in enumerate(sizes):
        members = rows[nearest == c][:_MOST_OF_A_CENTRE]
        if size:
            rest = members - members.mean(axis=0)
            factors = rng.standard_normal((size, len(members)), np.float32)
            part = members.mean(axis=0) + factors @ rest / np.sqrt(len(members))
            drawn[start : start + size] = unit(part)
            start += size
    return drawn[rng.permutation(count)]


def _mean(rows, otherwise):
    return rows.mean(axis=0) if len(rows) else otherwise


def _assign(rows, centres):
    parts = [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]
    return np.concatenate([dot_products(part, centres).argmax(axis=1) for part in parts])
