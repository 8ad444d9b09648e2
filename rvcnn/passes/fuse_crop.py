"""Leave out the pixels of a convolution that are cut off after it."""

from dataclasses import replace

from rvcnn.graph import Graph, Node
from rvcnn.ops import Conv2d, Crop


def fuse_crop(graph: Graph) -> Graph:
    """Let a convolution have less padding where that leaves out what a crop cuts off.

    Causal convolutions are written so: padded on both sides, their last results dropped.
    """
    for conv, crop in list(graph.chains()):
        if not (isinstance(conv.op, Conv2d) and isinstance(crop.op, Crop)):
            continue
        if conv.op.residual or conv.op.padding == "same":
            continue
        padding = tuple(
            tuple(pad - cut * stride for pad, cut in zip(pads, cuts, strict=True))
            for pads, cuts, stride in zip(
                conv.op.padding, crop.op.sides, conv.op.stride, strict=True
            )
        )
        if min(map(min, padding)) >= 0:
            op = replace(conv.op, padding=padding)
            graph = graph.fuse(conv, crop, Node(crop.name, op, conv.inputs, conv.params))
    return graph
