"""ONNX models: the network's graph and its tensors."""

import functools

import numpy as np

from rvcnn.weights.contents import DTYPES, Contents, Refusal, Stored

_FIRST = {0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72}
"""What a protobuf with a model's fields can begin with."""

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


def matches(buffer: memoryview) -> bool:
    """Whether a file may be an ONNX model; the parser decides."""
    return buffer[0] in _FIRST


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

    network = network_of(buffer, folder)
    try:
        graph, metadata, notes = to_model(network)
    except Refusal as refusal:
        tensors, metadata, notes = network.constants, {}, (str(refusal),)
        metadata = {"inputs": _listed(network.inputs), "outputs": _listed(network.outputs)}
    else:
        tensors = tensors_of(graph)
    return Contents(
        {n: _stored(v) for n, v in tensors.items() if v.dtype in _NAMES}, metadata, notes
    )


def _listed(values):
    return ", ".join(f"{v.name} {v.dtype} {v.shape}" for v in values)


def _stored(array):
    array = np.ascontiguousarray(array)
    data = functools.partial(memoryview, array.reshape(-1).view(np.uint8))
    return Stored(_NAMES[array.dtype], array.shape, data)
