"""Shorter vectors: a network's embedding projected on the principal axes of a user's images."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from .embedder import Embedder
from .errors import UsageError
from .model import create_model
from .paths import check_output
from .projection import check_dim, principal_axes, reduced_weights
from .quantization.quality import recall
from .quantization.sample import list_images, spread
from .weights.convert import write_checked

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
    check_dim(embedder.dim, dim)
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
