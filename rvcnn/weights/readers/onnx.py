"""ONNX models: the network's graph and its tensors."""

import functools

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.weights.contents import DTYPES, Contents, Refusal, Stored

_VERSION = 0x08
"""What a model begins with: the key of the format's version, its first field."""

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


def matches(buffer: memoryview) -> bool:
    """Whether a file may be an ONNX model; the parser decides."""
    return buffer[0] == _VERSION


def read(buffer: memoryview, entry: str | None = None, folder=None) -> Contents:
    """Find the tensors of a network; its graph is among the metadata if it makes vectors of images.

    Parameters
    ----------
    buffer : memoryview
    entry : None
        Of no meaning here.
    folder : Path, optional
        Where tensors outside the file may lie.
    """
    from rvcnn.onnx.model import tensors_of, to_model
    from rvcnn.onnx.read import network_of
    from rvcnn.onnx.session import check_operators

    network, outside = network_of(buffer, folder)
    check_operators(network)
    try:
        graph, metadata, notes = to_model(network)
    except ShapeError as error:
        raise Refusal(str(error)) from None
    except Refusal as refusal:
        tensors, metadata, notes = network.constants, {}, (str(refusal),)
        metadata = {"inputs": _listed(network.inputs), "outputs": _listed(network.outputs)}
    else:
        tensors = tensors_of(graph)
    stored = {name: _stored(value) for name, value in tensors.items() if value.dtype in _NAMES}
    return Contents(stored, metadata, notes, outside)


def _listed(values):
    return ", ".join(f"{v.name} {v.dtype} {v.shape}" for v in values)


def _stored(array):
    array = np.ascontiguousarray(array)
    data = functools.partial(memoryview, array.reshape(-1).view(np.uint8))
    return Stored(_NAMES[array.dtype], array.shape, data)
