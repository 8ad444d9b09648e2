"""From a file to weights: read, translate the names, see what the tensors tell, convert."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rvcnn.errors import WeightsError

from .contents import FLOATS, Refusal, Stored, shown
from .core import Weights
from .identify import identify
from .layouts import translate
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

    Parameters
    ----------
    path : path-like
        safetensors, a PyTorch checkpoint (of any version), or NumPy's .npz.
    entry : str, optional
        Of a checkpoint with several sets of weights, the one to take.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, asks for anything to be run, or holds something other than
        floating-point tensors.
    """
    file = open_weights(path, entry)
    tensors = {}
    for key, tensor in file.tensors.items():
        if tensor.dtype not in FLOATS:
            raise WeightsError(
                f"{file.source}: tensor {shown(key)} has dtype {tensor.dtype}, not one of "
                f"{', '.join(FLOATS)}"
            )
        with _named(file.source):
            tensors[key] = tensor.float32()
    return Weights(tensors, file.metadata, file.source, file.sha256, file.notes)


def open_weights(path, entry=None) -> WeightsFile:
    """Find what a weights file holds; parameters and errors as :func:`load_weights`."""
    path = Path(path)
    buffer = map_file(path)
    with _named(path):
        kind, contents = read(buffer, entry)
    keys = [key for key in contents.tensors if not key.endswith(IGNORED)]
    translation = translate(keys)
    if len(translation.names) < len(keys):
        raise WeightsError(f"{path}: two of its tensors have the same name in rvcnn's layout")
    tensors = {}
    for key, name in translation.names.items():
        tensor = contents.tensors[name]
        for ending, count in translation.dimensions.items():
            if key.endswith(ending):
                tensor = tensor.with_sides(count)
        tensors[key] = tensor
    metadata = {**translation.facts, **contents.metadata}
    facts, notes = identify({key: t.shape for key, t in tensors.items()}, metadata)
    return WeightsFile(
        str(path),
        kind,
        translation.layout,
        hashlib.sha256(buffer).hexdigest(),
        tensors,
        {**facts, **metadata},
        (*contents.notes, *translation.notes, *notes),
    )


class _named:
    """Put a file's name before the reason why it is refused."""

    def __init__(self, source):
        self._source = source

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, Refusal):
            raise WeightsError(f"{self._source}: {error}") from None
