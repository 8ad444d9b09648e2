"""Fuse the interleaving of two maps into the convolution that makes the second."""

from rvcnn.graph import Graph, Node
from rvcnn.ops import Conv2d, Interleave, InterleavedConv2d


def fuse_interleave(graph: Graph) -> Graph:
    """Let a pointwise convolution store its results between the channels of the other map."""
    for conv, turns in list(graph.chains()):
        if not (isinstance(conv.op, Conv2d) and isinstance(turns.op, Interleave)):
            continue
        even, odd = turns.inputs
        if odd == conv.name != even and InterleavedConv2d.takes(conv.op):
            inputs = (*conv.inputs, even)
            fused = Node(turns.name, InterleavedConv2d(conv.op), inputs, conv.params)
            graph = graph.fuse(conv, turns, fused)
    return graph
