"""Shorter vectors: a network's embedding projected on the principal axes of a user's images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .embedder import Embedder
from .errors import UsageError
from .model import create_model
from .paths import check_output
from .quantization.quality import recall
from .quantization.sample import list_images, spread
from .weights import Weights
from .weights.convert import write_checked
from .weights.layouts import OWN

ENOUGH = 40
"""From so many images up, half are kept from fitting, to compare on."""

_BLOCK = 64  # images between two looks at the progress


class Watch(Protocol):
    """What is told of the work's course."""

    def start(self, total: int) -> None: ...

    def advance(self, images: int = 1) -> None: ...

    def note(self, message: str) -> None: ...


class Reduced(NamedTuple):
    """What a projection keeps.

    Attributes
    ----------
    dim : (int, int)
        Values of a vector before and after.
    fitted_on, compared_on : int
        Images.
    held_out : bool
        Whether they were compared on others than they were fitted on.
    recall_at_10 : float
        Share of each image's ten nearest others that stay its ten nearest.
    kept : float
        Mean share of a vector's squared length that the projection keeps.
    """

    dim: tuple[int, int]
    fitted_on: int
    compared_on: int
    held_out: bool
    recall_at_10: float
    kept: float


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
    if not 1 <= dim <= width:
        raise UsageError(f"a vector of {width} values can be reduced to 1 to {width}, not {dim}")
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
    return replace(weights, tensors=tensors, metadata=metadata)


def reduce(
    paths: Sequence[Path],
    output: Path,
    dim: int,
    watch: Watch,
    filters: Mapping[str, Any],
    *,
    images: int = 1000,
    workers: int = 0,
    **network,
) -> Reduced:
    """Fit a projection on images below paths, compare it, and write the weights with it.

    Parameters
    ----------
    paths : sequence of Path
        Images, and folders of them.
    output : Path
        The safetensors file.
    dim : int
        Values of a vector.
    watch : Watch
    filters : mapping
        Which files of a folder: see :func:`rvcnn.quantization.sample.list_images`.
    images : int
        How many to fit on; as many more are compared.
    workers : int
        Threads that read images.
    **network
        ``model``, ``weights`` and ``embedding`` of :func:`rvcnn.create_model`.

    Raises
    ------
    UsageError
        Fewer images than values, or more values than there were.
    """
    check_output(output, ".safetensors")
    name = network.pop("model", None)
    embedder = Embedder(name, workers=workers, **network)
    vectors = _vectors(embedder, paths, 2 * images, watch, filters)
    held_out = len(vectors) >= max(ENOUGH, 2 * dim)
    first, second = (slice(0, None, 2), slice(1, None, 2)) if held_out else (slice(None),) * 2
    axes = principal_axes(vectors[first], dim)
    exact = vectors[second]
    shorter = exact @ axes.T
    lengths = np.linalg.norm(shorter, axis=1, keepdims=True)
    share = recall(exact, shorter / np.maximum(lengths, 1e-300)) if len(exact) > 1 else 1.0
    weights = reduced_weights(create_model(name, num_classes=0, **network).weights, axes)
    write_checked(weights, output)
    sizes = embedder.dim, dim
    kept = float((lengths**2).mean())
    return Reduced(sizes, len(vectors[first]), len(exact), held_out, share, kept)


def _vectors(embedder, paths, most, watch, filters) -> np.ndarray:
    """Unit vectors (N, D), float64, of readable images."""

    def skipping(name, reason):
        watch.note(f"skipping {name}: {reason}")

    names = spread(list_images(paths, skipping, **filters), most)
    watch.start(len(names))
    rows = []
    for start in range(0, len(names), _BLOCK):
        block = names[start : start + _BLOCK]
        found = embedder.embed(block, errors="nan")
        for i, reason in embedder.errors_.items():
            skipping(block[i], reason)
        rows.append(np.delete(found, list(embedder.errors_), axis=0))
        watch.advance(len(block))
    if not names:
        raise UsageError("no images found to fit on")
    return np.concatenate(rows).astype(np.float64)
