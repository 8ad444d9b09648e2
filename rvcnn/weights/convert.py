"""Foreign weights into a file of rvcnn's: complete, checked, and written whole or not at all."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from rvcnn.errors import UsageError, WeightsError
from rvcnn.images import Preprocess
from rvcnn.model import create_model
from rvcnn.models import ARCHITECTURES
from rvcnn.paths import check_output, replacing

from .core import Weights
from .layouts import OWN
from .load import load_weights
from .write import save_weights

_IMAGENET = {
    "mean": "0.485,0.456,0.406",
    "std": "0.229,0.224,0.225",
    "resize": "256",
    "crop": "224",
    "interpolation": "bilinear",
}

PRESETS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "torchvision": {"padding": "symmetric", "bn_eps": "1e-05", **_IMAGENET},
        "timm": {
            "padding": "symmetric",
            "bn_eps": "1e-05",
            **_IMAGENET,
            "interpolation": "bicubic",
        },
        "timm-tf": {
            "padding": "same",
            "bn_eps": "0.001",
            **_IMAGENET,
            "mean": "0.5,0.5,0.5",
            "std": "0.5,0.5,0.5",
        },
        "d-li14": {"padding": "symmetric", "bn_eps": "1e-05", **_IMAGENET},
        "megvii": {  # bytes as they are, in OpenCV's order
            "padding": "symmetric",
            "bn_eps": "1e-05",
            **_IMAGENET,
            "mean": "0,0,0",
            "std": ",".join([repr(1 / 255)] * 3),
            "channel_order": "bgr",
        },
    }
)
"""How other projects' networks are run, which their files do not say."""

EXCEPTIONS: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {
        ("torchvision", "mobilenetv3_small"): {"bn_eps": "0.001"},
        ("torchvision", "mobilenetv3_large"): {"bn_eps": "0.001"},
        ("torchvision", "efficientnet_b0"): {"interpolation": "bicubic"},
    }
)
"""Where a preset differs for an architecture."""

REQUIRED = (
    "architecture",
    "padding",
    "bn_eps",
    "mean",
    "std",
    "resize",
    "crop",
    "interpolation",
    "num_classes",
)
"""Keys without which nobody can run a file."""

OF_OURS = ("padding", "bn_eps")
"""Those of ``REQUIRED`` that a network's own graph says."""

OPTIONAL = (
    "embedding",
    "embedding_dim",
    "embedding_from",
    "normalize",
    "squeeze",
    "width",
    "activation",
    "conv5",
    "shuffle",
    "channel_order",
    "license",
    "source",
    "source_sha256",
)


def import_weights(path, target, *, preset=None, entry=None, **metadata) -> Weights:
    """Read weights of any kind and write them as a safetensors file that says how to run them.

    Parameters
    ----------
    path : path-like
        What :func:`load_weights` reads.
    target : path-like
        The file to write, which appears whole or not at all.
    preset : str, optional
        One of ``PRESETS``: metadata for what the file does not say.
    entry : str, optional
        See :func:`load_weights`.
    **metadata
        Values that win over the file's and the preset's; None means not given.

    Returns
    -------
    Weights
        What was written; ``notes`` say how it was found.

    Raises
    ------
    UsageError
        An unknown preset or key.
    WeightsError
        A file that cannot be read, does not fit its architecture, or of which nobody said how to
        run it; the message names every key that is missing.
    """
    if preset is not None and preset not in PRESETS:
        raise UsageError(f"unknown preset {preset!r}; there are {', '.join(PRESETS)}")
    unknown = metadata.keys() - {*REQUIRED, *OPTIONAL}
    if unknown:
        raise UsageError(f"no such metadata: {', '.join(sorted(unknown))}")
    target = Path(target)
    check_output(target, ".safetensors")
    weights = load_weights(path, entry)
    given = {key: str(value) for key, value in metadata.items() if value is not None}
    architecture = {**weights.metadata, **given}.get("architecture")
    _check_settings(architecture, given)
    complete = {
        **_embedding(weights),
        **PRESETS.get(preset, {}),
        **EXCEPTIONS.get((preset, architecture), {}),
        **weights.metadata,
        **given,
        "key_layout": OWN,
    }
    required = (key for key in REQUIRED if "graph" not in complete or key not in OF_OURS)
    missing = [key for key in required if key not in complete]
    if missing:
        options = ", ".join(f"--{key.replace('_', '-')}" for key in missing)
        raise WeightsError(
            f"{weights.source} does not say its {', '.join(missing)}: give {options}, or --preset "
            f"with one of {', '.join(PRESETS)}"
        )
    Preprocess.from_metadata(complete)
    return write_checked(replace(weights, metadata=complete), target)


def _check_settings(architecture, given):
    """Refuse what would be written down and not listened to."""
    if given.get("normalize", "true") not in ("true", "false"):
        raise UsageError(f"normalize is true or false, not {given['normalize']!r}")
    if architecture not in ARCHITECTURES:
        return
    own = ARCHITECTURES[architecture].settings
    every = {key for known in ARCHITECTURES.values() for key in known.settings}
    foreign = sorted(given.keys() & every - own.keys())
    if foreign:
        raise UsageError(
            f"{architecture} has no {', '.join(foreign)} to choose; "
            + (f"it has {', '.join(own)}" if own else "it has one form only")
        )


def _embedding(weights):
    """Where an embedding is taken from if nobody says: the network's own head, else the pooling."""
    if "embed.weight" not in weights.tensors:
        return {"embedding": "pooled"}
    width = len(weights.tensors["embed.weight"])
    return {"embedding": "embed", "embedding_dim": str(width)}


def write_checked(weights, target):
    """Write beside the target, make a model of what was written, then move it over."""
    with replacing(target) as part:
        save_weights(part, weights.tensors, weights.metadata)
        try:
            create_model(weights=part, num_classes=0)
            written = create_model(weights=part).weights
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(part), weights.source)) from None
    return replace(written, source=str(target), notes=weights.notes)
