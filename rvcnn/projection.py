"""Vectors projected on their principal axes, and the layer of a network that does it."""

import hashlib
from dataclasses import replace

import numpy as np

from .errors import UsageError
from .weights import Weights
from .weights.layouts import OWN


def check_dim(width: int, dim: int) -> None:
    """Raise UsageError unless vectors of ``width`` values can be reduced to ``dim``."""
    if not 1 <= dim <= width:
        raise UsageError(f"a vector of {width} values can be reduced to 1 to {width}, not {dim}")


def principal_axes(vectors, dim: int) -> np.ndarray:
    """Return the ``dim`` orthonormal directions that keep most of the vectors' squared length.

    Vectors count by their direction alone, and their mean is not taken off, unlike in what is
    usually called principal component analysis: cosines of the projections are then the best
    that a linear map to so few values can do for the vectors' cosines (Eckart and Young, 1936).

    Parameters
    ----------
    vectors : ndarray
        (N, D), N and D at least ``dim``.
    dim : int

    Returns
    -------
    ndarray
        (dim, D) float64, the most important axis first; each one's largest value is positive.

    Raises
    ------
    UsageError
        More axes than values or vectors.
    """
    vectors = np.asarray(vectors, np.float64)
    count, width = vectors.shape
    check_dim(width, dim)
    if count < dim:
        raise UsageError(f"{dim} values need at least {dim} images to fit on; there are {count}")
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)
    axes = np.linalg.svd(unit, full_matrices=False)[2][:dim]
    largest = np.abs(axes).argmax(axis=1)
    return axes * np.sign(axes[np.arange(dim), largest])[:, None]


def reduced_weights(weights: Weights, axes) -> Weights:
    """Return a network's weights whose embedding is the former one's projection.

    The projection is the linear head ``embed``: what was one becomes one of fewer values, another
    layer's embedding gets one behind it.

    Parameters
    ----------
    weights : Weights
        Of a model in float32.
    axes : ndarray
        (dim, D), from :func:`principal_axes`.
    """
    axes = np.asarray(axes, np.float64)
    metadata, tensors = dict(weights.metadata), dict(weights.tensors)
    layer = metadata["embedding"]
    if layer == "embed":
        matrix, bias = axes @ tensors["embed.weight"], axes @ tensors["embed.bias"]
    else:
        matrix, bias = axes, np.zeros(len(axes))
        metadata["embedding_from"] = layer
    tensors |= {"embed.weight": matrix.astype("f4"), "embed.bias": bias.astype("f4")}
    metadata |= {"embedding": "embed", "embedding_dim": str(len(axes)), "key_layout": OWN}
    digest = hashlib.sha256(weights.sha256.encode() + axes.tobytes()).hexdigest()
    return replace(weights, tensors=tensors, metadata=metadata, sha256=digest)
