"""Fuse an activation into the convolution or linear layer before it."""

from dataclasses import replace

from rvcnn.graph import Graph, Node
from rvcnn.ops import Activation, Conv2d, Linear


def fuse_activation(graph: Graph) -> Graph:
    """Let every convolution and linear layer apply the activation that alone follows it.

    After a sum that is fused into a convolution, it is applied to that.
    """
    for layer, activation in list(graph.chains()):
        if not (isinstance(layer.op, (Conv2d, Linear)) and isinstance(activation.op, Activation)):
            continue
        if layer.op.activation == "identity":
            op = replace(layer.op, activation=activation.op.name, slope=activation.op.slope)
            if getattr(op, "residual", False):
                op = replace(op, sum_first=True)
            fused = Node(activation.name, op, layer.inputs, layer.params)
            graph = graph.fuse(layer, activation, fused)
    return graph
