"""Fuse what makes bytes of real values into the layer that computes these."""

from dataclasses import replace

import numpy as np

from rvcnn.graph import Graph, Node
from rvcnn.kernels import FUSED_U8, SMALLEST_GATE_STEP
from rvcnn.kernels.requantise import BOUNDS
from rvcnn.ops import (
    Activation,
    Add,
    Concat,
    Dequantize,
    Lookup,
    Quantize,
    QuantizedAdd,
    QuantizedConcat,
    QuantizedConv2d,
    QuantizedScaleChannels,
    ScaleChannels,
)
from rvcnn.ops.quantized import READS

LARGEST_FACTOR = 3.99
"""Factors of ``QuantizedScaleChannels``, in steps of the result, are below 4."""


def fuse_quantize(graph: Graph) -> Graph:
    """Let layers store bytes whose results are read as bytes alone."""
    graph = _with_activations(graph)
    for layer, last in list(graph.chains()):
        if isinstance(last.op, Quantize):
            fused = _stored(graph, layer, last)
            graph = graph if fused is None else graph.fuse(layer, last, fused)
    return _float_depthwise(graph.cut(graph.outputs))


def _with_activations(graph):
    """Activations in the layers on bytes before them."""
    for layer, last in list(graph.chains()):
        if not isinstance(last.op, Activation):
            continue
        name, op = last.op.name, layer.op
        if isinstance(op, QuantizedConv2d) and op.conv.is_bare and name in FUSED_U8:
            fused = QuantizedConv2d(replace(op.conv, activation=name))
            graph = graph.fuse(layer, last, Node(last.name, fused, layer.inputs, layer.params))
    return graph


def _stored(graph, layer, last):
    """The node that stores the bytes of a layer's result, if there is one."""
    makers = {node.name: node for node in graph.nodes}
    inputs = [makers.get(name) for name in layer.inputs]
    if isinstance(layer.op, QuantizedConv2d):
        return _convolution(layer, last)
    if isinstance(layer.op, Add):
        return _sum("identity", inputs, last)
    if isinstance(layer.op, Activation) and layer.op.name in BOUNDS:
        (added,) = inputs
        if added and isinstance(added.op, Add) and len(graph.consumers(added.name)) == 1:
            return _sum(layer.op.name, [makers.get(name) for name in added.inputs], last)
    if isinstance(layer.op, Concat):
        return _concat(layer.op, inputs, last)
    if isinstance(layer.op, ScaleChannels):
        return _scale(inputs, layer.inputs[1], last)
    return None


def _convolution(layer, last):
    op = layer.op.conv
    too_fine = op.activation == "hard_swish" and last.params["out_scale"] < SMALLEST_GATE_STEP
    if op.residual or "out_scale" in layer.params or too_fine:
        return None
    return Node(last.name, layer.op, layer.inputs, {**layer.params, **last.params})


def _sum(activation, inputs, last):
    if not all(node and isinstance(node.op, Dequantize) for node in inputs):
        return None
    params = {key: np.concatenate([node.params[key] for node in inputs]) for key in READS}
    sources = tuple(node.inputs[0] for node in inputs)
    return Node(last.name, QuantizedAdd(activation), sources, {**params, **last.params})


def _table(node):
    """The real values of a node's bytes, if it makes some of bytes."""
    if node is not None and isinstance(node.op, Lookup) and node.params["table"].dtype == "f4":
        return node.params["table"]
    if node is not None and isinstance(node.op, Dequantize):
        return node.op.reference(node.params, np.arange(256, dtype=np.uint8))
    return None


def _concat(op, inputs, last):
    tables = [_table(node) for node in inputs]
    if any(table is None for table in tables):
        return None
    tables = np.stack([last.op.reference(last.params, table) for table in tables])
    sources = tuple(node.inputs[0] for node in inputs)
    return Node(last.name, QuantizedConcat(op.channels), sources, {"tables": tables})


def _scale(inputs, factors, last):
    """A product with factors that are known to be small enough."""
    node, known = inputs[0], _table(inputs[1])
    if known is None or not isinstance(node.op, Dequantize):
        return None
    ratio = node.params["in_scale"] / last.params["out_scale"]
    if not np.abs(known * ratio).max() <= LARGEST_FACTOR:
        return None
    sources = (node.inputs[0], factors)
    return Node(last.name, QuantizedScaleChannels(), sources, {**node.params, **last.params})


def _float_depthwise(graph):
    """Convolutions of single channels that store no bytes, on real values: faster so."""
    nodes = []
    for node in graph.nodes:
        if not isinstance(node.op, QuantizedConv2d) or "out_scale" in node.params:
            nodes.append(node)
            continue
        if node.op.conv.groups == 1:
            nodes.append(node)
            continue
        copy = f"{node.name}/of"
        reads = {key: node.params[key] for key in READS}
        nodes.append(Node(copy, Dequantize(), node.inputs[:1], reads))
        nodes.append(Node(node.name, node.op.conv, (copy, *node.inputs[1:]), _real(node)))
    return replace(graph, nodes=tuple(nodes))


def _real(node):
    """The real values of a convolution's weights and bias."""
    scale = np.float32(node.params["weight_scale"]).reshape(-1, 1, 1, 1)
    return {
        "weight": node.params["weight"] * scale,
        "bias": np.float32(node.params["bias"]),
    }
