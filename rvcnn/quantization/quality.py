"""How near one set of vectors is to another of the same images."""

from typing import NamedTuple

import numpy as np

from rvcnn.errors import ShapeError

NEIGHBOURS = 10

SHARE = 4
"""Of few images, this part is looked at: among ten images, all nine others are the ten nearest."""


class Quality(NamedTuple):
    """Vectors against the exact ones.

    Attributes
    ----------
    cosine, smallest_cosine : float
        Mean and least over the images.
    recall : float
        Share of each image's ten nearest others that stay its ten nearest; of fewer than forty
        images, of a quarter of them.
    """

    cosine: float
    smallest_cosine: float
    recall: float


def compare(exact, vectors) -> Quality:
    """Compare vectors (N, D) of N images, at least two, with the exact ones."""
    exact, vectors = _unit(exact), _unit(vectors)
    if exact.shape != vectors.shape or len(exact) < 2:
        raise ShapeError(f"cannot compare vectors of {exact.shape} and {vectors.shape}")
    cosines = np.einsum("nd,nd->n", exact, vectors)
    return Quality(float(cosines.mean()), float(cosines.min()), recall(exact, vectors))


def recall(exact, vectors, neighbours=NEIGHBOURS) -> float:
    """Mean share of each row's nearest other rows, by dot product, that two sets agree on."""
    neighbours = min(neighbours, max(1, len(exact) // SHARE))
    found = [_nearest(v, neighbours) for v in (exact, vectors)]
    shared = [len(np.intersect1d(a, b)) for a, b in zip(*found, strict=True)]
    return float(np.mean(shared)) / neighbours


def top1(logits, labels) -> float:
    """Share of the images whose largest logit is their label's."""
    return float((np.asarray(logits).argmax(1) == np.asarray(labels)).mean())


def _nearest(vectors, count):
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def _unit(vectors):
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
