"""Run a network's layers on bytes, as a quantisation says."""

from dataclasses import replace

import numpy as np

from rvcnn.graph import INPUT, Graph, Node, Stored
from rvcnn.kernels import FUSED_U8
from rvcnn.ops import (
    Activation,
    Add,
    Conv2d,
    Dequantize,
    GlobalAvgPool,
    Linear,
    Quantize,
    QuantizedConv2d,
    QuantizedGlobalAvgPool,
    QuantizedScaleChannels,
    ScaleChannels,
)
from rvcnn.ops.quantized import READS, STORES


def quantise(graph: Graph, quantization) -> Graph:
    """The optimised graph with its int8 layers.

    Parameters
    ----------
    graph : Graph
        After all other passes.
    quantization : rvcnn.quantization.Quantization
        What is held as bytes, and how.
    """
    rewrite = _Rewrite(quantization, graph.outputs)
    for node in graph.nodes:
        rewrite.add(node)
    return replace(graph, nodes=tuple(rewrite.nodes), stored=rewrite.stored)


class _Rewrite:
    """Nodes of the new graph so far, and which of their maps are bytes."""

    def __init__(self, quantization, outputs):
        self.given = quantization
        self.outputs = outputs
        self.nodes = []
        self.stored = {
            name: Stored(p.scale, p.zero_point)
            for name, p in quantization.activations.items()
            if name == INPUT
        }
        self._copies = set()

    def add(self, node):
        """Append what computes a node of the float graph."""
        first = node.inputs[0]
        layer = isinstance(node.op, (Conv2d, Linear)) and node.name in self.given.weights
        if layer and self._is_bytes(first):
            self._convolution(node)
        elif isinstance(node.op, GlobalAvgPool) and first in self.stored:
            self._append(node, QuantizedGlobalAvgPool(), node.inputs, self._reads(first))
        elif isinstance(node.op, ScaleChannels) and first in self.stored and self._keeps(node):
            factors = self._real(node.inputs[1])
            params = self._reads(first) | self._store(node)
            self._append(node, QuantizedScaleChannels(), (first, factors), params)
        else:
            params = self._float_params(node) if layer else node.params
            inputs = tuple(self._real(name) for name in node.inputs)
            self.nodes.append(replace(node, inputs=inputs, params=params))

    def _convolution(self, node):
        op = _as_convolution(node.op)
        x = self._bytes(node.inputs[0])
        weights = self.given.weights[node.name]
        params = self._reads(x) | {
            "weight": weights.values.reshape(op.parameters()["weight"]),
            "weight_scale": weights.scale,
            "bias": self.given.biases[node.name],
        }
        residual = [self._real(name) for name in node.inputs[1:]]
        if op.sum_first or op.activation not in FUSED_U8:
            self._apart(node, op, (x, *residual), params)
            return
        if not residual and self._keeps(node):
            params |= self._store(node)
        self._append(node, QuantizedConv2d(op), (x, *residual), params)

    def _apart(self, node, op, inputs, params):
        """A convolution, then what its kernel cannot do: another activation, or one of a sum."""
        linear = f"{node.name}.linear"
        if op.sum_first:
            summed = replace(op, activation="identity", sum_first=False)
            self.nodes.append(Node(linear, QuantizedConv2d(summed), inputs, params))
            self.nodes.append(Node(node.name, Activation(op.activation, op.slope), (linear,)))
            return
        curve = f"{node.name}.curve" if op.residual else node.name
        bare = replace(op, activation="identity", residual=False)
        self.nodes.append(Node(linear, QuantizedConv2d(bare), inputs[:1], params))
        self.nodes.append(Node(curve, Activation(op.activation, op.slope), (linear,)))
        if op.residual:
            self.nodes.append(Node(node.name, Add(), (curve, inputs[1])))

    def _append(self, node, op, inputs, params):
        self.nodes.append(Node(node.name, op, inputs, params))

    def _keeps(self, node):
        """Whether a node's result is held as bytes."""
        held = node.name in self.given.activations
        return held and node.name not in self.given.float_maps and node.name not in self.outputs

    def _is_bytes(self, name):
        return name in self.stored or name in self.given.activations

    def _bytes(self, name):
        """The map of bytes that holds a map: itself, or a copy."""
        if name in self.stored:
            return name
        return self._copy(
            name, f"bytes:{name}", Quantize(), lambda copy: self._store_as(copy, name)
        )

    def _real(self, name):
        if name not in self.stored:
            return name
        return self._copy(name, f"real:{name}", Dequantize(), lambda copy: self._reads(name))

    def _copy(self, name, copy, op, params):
        if copy not in self._copies:
            self._copies.add(copy)
            self.nodes.append(Node(copy, op, (name,), params(copy)))
        return copy

    def _reads(self, name):
        return dict(zip(READS, map(np.atleast_1d, self.stored[name]), strict=True))

    def _store(self, node):
        return self._store_as(node.name, node.name)

    def _store_as(self, name, params):
        given = self.given.activations[params]
        self.stored[name] = Stored(given.scale, given.zero_point)
        return dict(zip(STORES, map(np.atleast_1d, self.stored[name]), strict=True))

    def _float_params(self, node):
        weight, bias = self.given.float_weight(node), self.given.biases[node.name]
        return {**node.params, "weight": weight, "bias": bias}


def _as_convolution(op):
    """A linear layer as a convolution of one pixel."""
    if isinstance(op, Conv2d):
        return replace(op, bias=True)
    return Conv2d(op.in_features, op.out_features, bias=True, activation=op.activation)
