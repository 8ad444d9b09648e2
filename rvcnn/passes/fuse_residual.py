"""Fuse the sum of a residual block into the convolution that ends it."""

from dataclasses import replace

from rvcnn.graph import Graph, Node
from rvcnn.ops import Add, Conv2d


def fuse_residual(graph: Graph) -> Graph:
    """Let a dense convolution add the block's input as it stores its result."""
    for conv, add in list(graph.chains()):
        if not (isinstance(conv.op, Conv2d) and isinstance(add.op, Add)):
            continue
        if add not in graph.nodes:  # the other convolution that it sums has taken it in
            continue
        others = [name for name in add.inputs if name != conv.name]
        if len(others) == 1 and conv.op.groups == 1 and not conv.op.residual:
            op = replace(conv.op, residual=True)
            fused = Node(add.name, op, (*conv.inputs, *others), conv.params)
            graph = graph.fuse(conv, add, fused)
    return graph
