"""Networks to measure: weights files, what a network computes, and its input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

import rvcnn
from rvcnn.models import ARCHITECTURES

METADATA = {
    "padding": "symmetric",
    "bn_eps": "0.001",
    "num_classes": "1000",
    "embedding": "embed",
    "embedding_dim": "512",
    "mean": "0.485,0.456,0.406",
    "std": "0.229,0.224,0.225",
    "resize": "256",
    "crop": "224",
    "interpolation": "bilinear",
}


def write_random_weights(architecture: str, path: Path, seed: int = 0) -> None:
    """Write untrained weights whose BatchNorm statistics are those of no identity.

    The variances are small enough for the output to depend on the input through all layers, and
    large enough for maps not to grow from block to block, which would magnify what rounding does.
    """
    graph = ARCHITECTURES[architecture].build(
        padding="symmetric", bn_eps=1e-3, num_classes=1000, embedding_dim=512
    )
    rng = np.random.default_rng(seed)
    draw = {
        "weight": lambda shape: rng.uniform(0.8, 1.2, shape),
        "bias": lambda shape: rng.normal(0, 0.1, shape),
        "running_mean": lambda shape: rng.normal(0, 0.1, shape),
        "running_var": lambda shape: rng.uniform(0.5, 1.5, shape),
    }
    tensors = {}
    for key, shape in graph.parameters().items():
        if len(shape) > 1:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        else:
            values = draw[key.rpartition(".")[2]](shape)
        tensors[key] = values.astype(np.float32)
    save_file(tensors, path, METADATA | {"architecture": architecture})


def load(weights: str, output: str, threads: int = 1, precision: str = "fp32") -> rvcnn.model.Model:
    """The network of a weights file: ``output`` is "logits" or "embedding"."""
    model = rvcnn.create_model(
        weights=weights,
        num_classes=None if output == "logits" else 0,
        threads=threads,
        precision=precision,
    )
    if model.is_classifier != (output == "logits"):
        raise SystemExit(f"{weights} has no classifier: ask for --output embedding")
    return model


def metadata(weights: str) -> dict[str, str]:
    """What a weights file says about itself."""
    with safe_open(weights, "numpy") as file:
        return file.metadata()


def images(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Pictures of :func:`pictures`, as float32 in [-1, 1]."""
    return pictures(count, size, seed) / np.float32(127.5) - 1


def pictures(count: int, size: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures with some noise, as (count, size, size, 3) bytes."""
    rng = np.random.default_rng(seed)
    result = np.empty((count, size, size, 3), np.uint8)
    for i in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
        result[i] = (smooth + rng.normal(0, 8, smooth.shape)).clip(0, 255)
    return result
