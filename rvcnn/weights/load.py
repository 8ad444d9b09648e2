"""From a file to weights: read, translate the names, see what the tensors tell, convert."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rvcnn.errors import WeightsError

from .contents import FLOATS, Refusal, Stored, shown, zeros
from .core import Weights
from .identify import identify
from .layouts import Translation, translate
from .readers import map_file, read

IGNORED = (".num_batches_tracked", "n_averaged")
"""Endings of keys that inference has no use for."""


class WeightsFile(NamedTuple):
    """A file of which nothing has been converted.

    Attributes
    ----------
    source : str
    format : str
    layout : str
        Whose names its tensors had; empty if they were not translated.
    sha256 : str
        Digest of the file's bytes.
    tensors : mapping of str to Stored
        By rvcnn's names.
    metadata : mapping of str to str
        The file's own, and what its tensors and their names imply.
    notes : tuple of str
    """

    source: str
    format: str
    layout: str
    sha256: str
    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str]
    notes: tuple[str, ...]


def load_weights(path, entry=None) -> Weights:
    """Read a weights file of any kind that rvcnn knows, found by its content.

    The file is mapped into memory while it is read; what becomes of it later does not matter.

    Parameters
    ----------
    path : path-like
        safetensors, a PyTorch checkpoint (of any version), NumPy's .npz, or an ONNX model.
    entry : str, optional
        Of a checkpoint with several sets of weights, the one to take.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, asks for anything to be run, or holds something other than
        floating-point tensors.
    """
    return _named(path, _load, entry)


def open_weights(path, entry=None) -> WeightsFile:
    """Find what a weights file holds; parameters and errors as :func:`load_weights`."""
    return _named(path, _open, entry)


def _named(path, work, entry):
    """Call ``work``; put the file's name before the reason why it is refused.

    The error is raised once the refusal is gone, and with it all that held the file open.
    """
    try:
        return work(Path(path), entry)
    except Refusal as refusal:
        reason = str(refusal)
    raise WeightsError(f"{path}: {reason}")


def _load(path, entry):
    file = _open(path, entry)
    if "inputs" in file.metadata:
        raise Refusal(file.notes[0])
    if file.metadata.get("precision") == "int8":
        tensors = {key: tensor.array() for key, tensor in file.tensors.items()}
        return Weights(tensors, file.metadata, file.source, file.sha256, file.notes)
    tensors = {}
    for key, tensor in file.tensors.items():
        if tensor.dtype not in FLOATS:
            raise Refusal(
                f"tensor {shown(key)} has dtype {tensor.dtype}, not one of {', '.join(FLOATS)}"
            )
        tensors[key] = tensor.float32()
    return Weights(tensors, file.metadata, file.source, file.sha256, file.notes)


def _open(path, entry):
    buffer = map_file(path)
    kind, contents = read(buffer, entry, path.absolute().parent)
    keys = [key for key in contents.tensors if not key.endswith(IGNORED)]
    is_whole = "graph" in contents.metadata or "inputs" in contents.metadata
    translation = Translation({key: key for key in keys}) if is_whole else translate(keys)
    if len(translation.names) < len(keys):
        raise Refusal("two of its tensors have the same name in rvcnn's layout")
    tensors = {}
    for key, name in translation.names.items():
        tensor = contents.tensors[name]
        for ending, count in translation.dimensions.items():
            if key.endswith(ending):
                tensor = tensor.with_sides(count)
        tensors[key] = tensor
    added = [layer for layer in translation.without_bias if _lacks_bias(layer, tensors)]
    for layer in added:
        tensors[f"{layer}.bias"] = zeros(tensors[f"{layer}.weight"].shape[0])
    said = (f"{layer} has no bias there: zeros" for layer in added)
    metadata = {**translation.facts, **contents.metadata}
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    facts, notes = ({}, ()) if is_whole else identify(shapes, metadata)
    return WeightsFile(
        str(path),
        kind,
        translation.layout,
        _digest((buffer, *contents.outside)),
        tensors,
        {**facts, **metadata},
        (*contents.notes, *translation.notes, *said, *notes),
    )


def _lacks_bias(layer, tensors):
    """Whether there is a layer's matrix alone; one of no elements may claim any number of rows."""
    weight = tensors.get(f"{layer}.weight")
    is_matrix = weight is not None and len(weight.shape) == 2 and weight.size > 0
    return is_matrix and f"{layer}.bias" not in tensors


def _digest(files):
    """Of a file's bytes, and of those files that belong to it."""
    digest = hashlib.sha256()
    for data in files:
        digest.update(data)
    return digest.hexdigest()
