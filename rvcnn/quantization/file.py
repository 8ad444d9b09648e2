"""A quantisation as the tensors and the metadata of a weights file.

For each node with int8 weights ``NAME.weight`` (I8), ``NAME.weight_scale`` and ``NAME.bias``
(F32); for each map held as bytes ``NAME.output_scale`` (F32) and ``NAME.output_zero`` (U8; F32 for
the pixels); for each other node its float parameters, ``NAME.PARAMETER``. Names are the optimised
graph's. The metadata has ``precision`` "int8" and ``float_maps``, names with commas between.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rvcnn.errors import RvcnnError, WeightsError
from rvcnn.graph import Graph
from rvcnn.passes import optimise
from rvcnn.weights import save_weights

from .params import QuantParams
from .recipe import Quantization
from .tensor import QuantizedTensor

INT8 = {"precision": "int8"}
"""Metadata that says what a file is."""

_ENDINGS = {
    "weight_scale": "f4",
    "output_scale": "f4",
    "output_zero": "u1 f4",
}


def is_int8(metadata: Mapping[str, str]) -> bool:
    """Whether a weights file's metadata says that it holds a quantised network."""
    return metadata.get("precision") == "int8"


def to_tensors(quantization: Quantization, graph: Graph) -> tuple[dict, dict]:
    """Tensors and metadata that hold a network in bytes.

    Parameters
    ----------
    quantization : Quantization
    graph : Graph
        The optimised graph that it is of, for what stays float32.

    Returns
    -------
    tensors : dict of str to ndarray
    metadata : dict of str to str
        To be put beside what the float weights say.
    """
    tensors = {}
    for name, weight in quantization.weights.items():
        tensors[f"{name}.weight"] = weight.values
        tensors[f"{name}.weight_scale"] = weight.scale
        tensors[f"{name}.bias"] = quantization.biases[name]
    for name, params in quantization.activations.items():
        zero = params.zero_point
        tensors[f"{name}.output_scale"] = params.scale
        tensors[f"{name}.output_zero"] = zero if zero.dtype.kind == "f" else zero.astype(np.uint8)
    for node in graph.nodes:
        if node.name not in quantization.weights:
            tensors |= {f"{node.name}.{key}": value for key, value in node.params.items()}
    return tensors, {**INT8, "float_maps": ",".join(sorted(quantization.float_maps))}


def digest(quantization: Quantization) -> str:
    """Hexadecimal sha256 of all that a quantisation decides."""
    tensors, metadata = to_tensors(quantization, Graph((), ()))
    found = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def save(path, model, quantization: Quantization) -> None:
    """Write a weights file that holds a model's network in bytes.

    Parameters
    ----------
    path : path-like
        Written whole or not at all.
    model : Model
        What was calibrated.
    quantization : Quantization

    Raises
    ------
    OSError
        If it cannot be written.
    """
    tensors, metadata = to_tensors(quantization, optimise(model._layers))
    save_weights(path, tensors, {**model.weights.metadata, **metadata})


def from_tensors(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str], source="the file"):
    """Read back what :func:`to_tensors` gave.

    Parameters
    ----------
    tensors : mapping of str to ndarray
        In the types they were written in.
    metadata : mapping of str to str
    source : str
        What messages call the file.

    Returns
    -------
    quantization : Quantization
    floats : dict of str to ndarray
        Parameters of the other nodes.

    Raises
    ------
    WeightsError
        If tensors are missing, of the wrong type, or hold what cannot be.
    """
    if not is_int8(metadata):
        raise WeightsError(f"{source} holds no int8 weights; `rvcnn quantize` makes such a file")
    try:
        return _read(dict(tensors), metadata)
    except KeyError as error:
        raise WeightsError(f"{source}: tensor {error.args[0]!r} is missing") from None
    except RvcnnError as error:
        raise WeightsError(f"{source}: {error}") from None


def restore(graph: Graph, weights) -> tuple[Graph, Quantization]:
    """What a weights file of bytes makes of an architecture.

    Parameters
    ----------
    graph : Graph
        As the architecture states it, without weights.
    weights : Weights

    Returns
    -------
    graph : Graph
        Optimised, with the float32 weights that the bytes stand for.
    quantization : Quantization

    Raises
    ------
    WeightsError
        If the file does not hold what that network needs.
    """
    quantization, floats = from_tensors(weights.tensors, weights.metadata, weights.source)
    _check_size(graph, weights)
    blank = {key: np.zeros(shape, np.float32) for key, shape in graph.parameters().items()}
    graph = optimise(graph.bind(blank))
    nodes = []
    for node in graph.nodes:
        if node.name not in quantization.weights:
            params = {key: floats.pop(f"{node.name}.{key}", None) for key in node.params}
            for key, value in params.items():
                _check_float(f"{node.name}.{key}", value, node.params[key].shape, weights.source)
            node = replace(node, params=params)
        nodes.append(node)
    if floats:
        raise WeightsError(f"{weights.source} does not fit the network: {', '.join(floats)}")
    try:
        return quantization.bind(replace(graph, nodes=tuple(nodes))), quantization
    except WeightsError as error:
        raise WeightsError(f"{weights.source} does not fit the network: {error}") from None


def _check_size(graph, weights):
    """Refuse metadata that claims more weights than there are, before memory is taken for them."""
    shapes = graph.parameters().values()
    claimed = sum(math.prod(shape) for shape in shapes if len(shape) > 1)
    held = sum(tensor.size for tensor in weights.tensors.values())
    if claimed > held:
        raise WeightsError(
            f"{weights.source} does not fit the network: it holds {held} values, not {claimed}"
        )


def _check_float(key, value, shape, source):
    if value is None:
        raise WeightsError(f"{source} does not fit the network: {key} is missing")
    if value.dtype != np.float32 or value.shape != shape:
        held = f"{value.dtype} {value.shape}"
        raise WeightsError(f"{source}: {key} is {held} instead of float32 {shape}")


def _read(tensors, metadata):
    for key, tensor in tensors.items():
        wanted = _ENDINGS.get(key.rpartition(".")[2])
        if wanted and tensor.dtype.str[1:] not in wanted:
            raise WeightsError(f"tensor {key!r} has dtype {tensor.dtype}")
    held = [k.removesuffix(".output_scale") for k in tensors if k.endswith(".output_scale")]
    rounded = [k.removesuffix(".weight_scale") for k in tensors if k.endswith(".weight_scale")]
    activations = {name: _params(tensors, name) for name in held}
    weights, biases = {}, {}
    for name in rounded:
        scale = tensors.pop(f"{name}.weight_scale")
        weights[name] = QuantizedTensor(tensors.pop(f"{name}.weight"), scale)
        biases[name] = tensors.pop(f"{name}.bias")
        if biases[name].dtype != np.float32 or not np.isfinite(biases[name]).all():
            raise WeightsError(f"{name}.bias is not finite float32")
    real = frozenset(filter(None, metadata.get("float_maps", "").split(",")))
    return Quantization(weights, biases, activations, real), tensors


def _params(tensors, name):
    return QuantParams(tensors.pop(f"{name}.output_scale"), tensors.pop(f"{name}.output_zero"))
