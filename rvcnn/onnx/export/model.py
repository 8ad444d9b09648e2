"""A network with its weights, written as an ONNX file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rvcnn.errors import ShapeError, UsageError
from rvcnn.images import Preprocess
from rvcnn.ops import L2Normalize
from rvcnn.passes.fold_batch_norm import fold_batch_norm
from rvcnn.paths import open_whole

if TYPE_CHECKING:
    from rvcnn.model import Model

LAST = "output"
"""What rvcnn calls the last layer of a network that it reads from an ONNX file."""

STEPS = ("normalize", "resize")
"""What of the preprocessing may be inside; the latter has the former in it."""

METADATA = ("license", "source")
PREPROCESSING = ("resize", "crop", "interpolation", "mean", "std", "channel_order")
"""What a file tells of the weights; the latter where it is to be done outside."""


def export_onnx(
    model: "Model",
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    any_size: bool = False,
    batch: int | None = None,
    preprocess: str | None = None,
    postprocess: bool = False,
) -> None:
    """Write a network as an ONNX file that computes what the model does, in float32.

    The input is "input", (N, 3, H, W) float32, normalised. The output, (N, D) float32, is
    "embedding", or "logits" of a classifier.

    Parameters
    ----------
    model : Model
        In float32.
    path : path-like
        Written whole or not at all.
    size : int, optional
        Side of the images in pixels; by default what the weights say, else what the architecture
        was designed for.
    any_size : bool
        Leave the size of the images open.
    batch : int, optional
        Number of images of a call; open by default.
    preprocess : {"normalize", "resize"}, optional
        What is inside before the network. The input is then "pixels", (N, H, W, 3) uint8 in the
        order red, green, blue: resized and cropped already, or of any size, which "resize" resizes
        and crops as the weights' metadata says.
    postprocess : bool
        Whether logits become probabilities ("probabilities"), by softmax, and embeddings are scaled
        to unit length.

    Raises
    ------
    UsageError
        If the package `onnx` is missing; a network in int8; steps that there are not; sizes that
        contradict each other.
    ShapeError
        A size that the network does not take.
    OSError
        If the file cannot be written.
    """
    _check(model, preprocess)
    settings = Preprocess.from_metadata(model.weights.metadata) if preprocess else None
    side = _side(model, size, any_size, settings if preprocess == "resize" else None)
    graph, output = _ending(model, postprocess)
    try:
        from .graph import to_onnx
    except ImportError:
        raise UsageError(
            "writing ONNX files needs the package onnx: pip install 'rvcnn[onnx]'"
        ) from None
    written = to_onnx(
        graph,
        (side, side, 3),
        any_size=any_size,
        batch=batch,
        pixels=settings,
        resize=preprocess == "resize",
        output=output,
        metadata=_told(model, METADATA if preprocess else METADATA + PREPROCESSING, side),
    )
    with open_whole(Path(path)) as file:
        file.write(written.SerializeToString(deterministic=True))


def _check(model, preprocess):
    if model.precision != "fp32":
        raise UsageError("ONNX files are written in fp32: give the weights that int8 was made of")
    if preprocess not in (None, *STEPS):
        raise UsageError(f"preprocess is one of {', '.join(STEPS)}, not {preprocess!r}")


def _told(model, keys, side):
    """Metadata of these keys for images of that side, and where rvcnn finds the embedding again."""
    stated = model.weights.metadata
    told = {key: stated[key] for key in keys if key in stated}
    if {"resize", "crop"} <= told.keys():
        resize, crop = (model.weights.number(key) for key in ("resize", "crop"))
        resize = resize * side // max(crop, 1)
        told |= {"resize": str(resize), "crop": str(side)}
    return told if model.is_classifier else told | {"embedding": LAST}


def _side(model, size, any_size, resized):
    """Pixels of a side of what the network reads."""
    kind = model.architecture
    if any_size and (size or resized):
        raise UsageError("any size is neither one that is given nor one that is resized to")
    if any_size and kind.largest_input == kind.smallest_input:
        raise UsageError(f"{model.weights.source} takes images of {kind.input_size} pixels only")
    if resized and size not in (None, resized.crop):
        raise UsageError(f"images are cropped to {resized.crop} pixels, not to {size}")
    stated = "crop" in model.weights.metadata
    side = size or (model.weights.number("crop") if stated else kind.input_size)
    if not kind.smallest_input <= side <= kind.largest_input:
        limits = f"{kind.smallest_input} to {kind.largest_input}"
        raise ShapeError(f"{kind.name} takes images of {limits} pixels, not {side}")
    return side


def _ending(model, postprocess):
    """The graph with its batch normalisations folded and its last step, and the output's name."""
    graph = fold_batch_norm(model.graph)
    if model.is_classifier:
        return graph, "probabilities" if postprocess else "logits"
    if postprocess and not isinstance(graph.nodes[-1].op, L2Normalize):
        graph = graph.followed_by("normalized", L2Normalize())
    return graph, "embedding"
