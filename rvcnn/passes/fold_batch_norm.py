"""Fold a batch normalisation into the convolution before it."""

from dataclasses import replace

from rvcnn.graph import Graph, Node
from rvcnn.ops import BatchNorm, Conv2d


def fold_batch_norm(graph: Graph) -> Graph:
    """Scale the weights and shift the bias of every convolution that a BatchNorm follows.

    Computed in float64 and rounded once. Where several follow one another, all are.
    """
    folded = _fold_first(graph)
    while len(folded.nodes) < len(graph.nodes):
        graph, folded = folded, _fold_first(folded)
    return folded


def _fold_first(graph):
    """Fold the first of what follows each convolution."""
    for conv, norm in list(graph.chains()):
        if not (isinstance(conv.op, Conv2d) and isinstance(norm.op, BatchNorm)):
            continue
        if not conv.op.is_bare:
            continue
        scale, shift = norm.op.line(norm.params)
        params = {
            "weight": (conv.params["weight"] * scale[:, None, None, None]).astype("float32"),
            "bias": (conv.params.get("bias", 0.0) * scale + shift).astype("float32"),
        }
        fused = Node(norm.name, replace(conv.op, bias=True), conv.inputs, params)
        graph = graph.fuse(conv, norm, fused)
    return graph
