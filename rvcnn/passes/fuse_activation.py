"""Fuse an activation into the convolution or linear layer before it."""

from dataclasses import replace

from rvcnn.graph import Graph, Node
from rvcnn.ops import Activation, Conv2d, Linear


def fuse_activation(graph: Graph) -> Graph:
    """Let every convolution and linear layer apply the activation that alone follows it."""
    for layer, activation in list(graph.chains()):
        if not (isinstance(layer.op, (Conv2d, Linear)) and isinstance(activation.op, Activation)):
            continue
        if layer.op.is_bare:
            op = replace(layer.op, activation=activation.op.name, slope=activation.op.slope)
            fused = Node(activation.name, op, layer.inputs, layer.params)
            graph = graph.fuse(layer, activation, fused)
    return graph
