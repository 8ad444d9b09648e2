"""What a network in bytes is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rvcnn.errors import WeightsError
from rvcnn.graph import INPUT, Graph
from rvcnn.kernels import SMALLEST_GATE_STEP

from .params import QuantParams
from .tensor import QuantizedTensor


@dataclass(frozen=True, eq=False)
class Quantization:
    """How the nodes of an optimised graph run in bytes; all names are that graph's.

    Attributes
    ----------
    weights : mapping of str to QuantizedTensor
        By node, of the float weights' shape. A node that is absent keeps its float weights; one
        whose input map has no entry in ``activations`` computes in float32 with what
        ``dequantize`` gives. Where a dense node's input has a scale for each channel, they hold
        ``weight[n, c] * scale[c]``.
    biases : mapping of str to ndarray
        By the nodes of ``weights``, (N,) float32.
    activations : mapping of str to QuantParams
        By map: a node's result, or ``INPUT`` for an image's pixels.
    float_maps : frozenset of str
        Maps that are stored as float32 although they have an entry: what reads bytes reads a copy.
    """

    weights: Mapping[str, QuantizedTensor]
    biases: Mapping[str, np.ndarray]
    activations: Mapping[str, QuantParams]
    float_maps: frozenset[str]

    def float_weight(self, node):
        """Float32 weights that a node's bytes stand for."""
        weight = self.weights[node.name].dequantize()
        params = self.activations.get(node.inputs[0])
        if params is not None and params.per_channel and not is_depthwise(node.op):
            weight /= params.scale.reshape(1, -1, *[1] * (weight.ndim - 2))
        return weight

    def bind(self, graph: Graph) -> Graph:
        """The graph with the weights and biases that the bytes stand for, in float32.

        Raises
        ------
        WeightsError
            If names or shapes are not the graph's.
        """
        self._check(graph)
        nodes = []
        for node in graph.nodes:
            params = dict(node.params)
            if node.name in self.weights:
                params["weight"] = self.float_weight(node)
            if node.name in self.biases:
                params["bias"] = self.biases[node.name]
            nodes.append(replace(node, params=params))
        return replace(graph, nodes=tuple(nodes))

    def _check(self, graph):
        shapes = {node.name: node.op.parameters() for node in graph.nodes}
        named = {*self.weights, *self.biases, *self.activations, *self.float_maps} - {INPUT}
        if unknown := sorted(named - set(shapes)):
            raise WeightsError(f"the network has no layers {', '.join(unknown)}")
        if missing := sorted(set(self.weights) ^ set(self.biases)):
            raise WeightsError(f"weights or biases of {', '.join(missing)} are missing")
        for node in graph.nodes:
            params = self.activations.get(node.name)
            gated = getattr(node.op, "activation", "") == "hard_swish"
            if gated and params and np.min(params.scale) < SMALLEST_GATE_STEP:
                least = np.min(params.scale)
                raise WeightsError(f"{node.name} is held in steps of {least:.3g}, too small to run")
        for name, tensor in self.weights.items():
            wanted = shapes[name].get("weight")
            given, bias = tensor.values.shape, self.biases[name].shape
            if given != wanted:
                raise WeightsError(f"{name}.weight is {given} instead of {wanted}")
            if bias != given[:1]:
                raise WeightsError(f"{name}.bias is {bias} instead of {given[:1]}")


def is_depthwise(op):
    """Whether an operator is a convolution of each channel alone."""
    groups = getattr(op, "groups", 1)
    return groups > 1 and groups == op.in_channels == op.out_channels
