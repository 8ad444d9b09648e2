"""Fuse a channel shuffle into the concatenation before it."""

from rvcnn.graph import Graph, Node
from rvcnn.ops import Concat, Interleave, ShuffleChannels


def fuse_shuffle(graph: Graph) -> Graph:
    """Interleave two maps of as many channels whose concatenation is shuffled in two groups."""
    for concat, shuffle in list(graph.chains()):
        if not (isinstance(concat.op, Concat) and isinstance(shuffle.op, ShuffleChannels)):
            continue
        counts = concat.op.channels
        if shuffle.op.groups == len(counts) == 2 and counts[0] == counts[1]:
            graph = graph.fuse(concat, shuffle, Node(shuffle.name, Interleave(), concat.inputs))
    return graph
