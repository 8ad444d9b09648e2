"""Fold a batch normalisation into the convolution or layer normalisation before it."""

from dataclasses import replace

from rvcnn.graph import Graph, Node
from rvcnn.ops import BatchNorm, Conv2d, LayerNorm


def fold_batch_norm(graph: Graph) -> Graph:
    """Scale the weights and shift the bias of every layer that a BatchNorm follows.

    Computed in float64 and rounded once. Where several follow one another, all are.
    """
    folded = _fold_first(graph)
    while len(folded.nodes) < len(graph.nodes):
        graph, folded = folded, _fold_first(folded)
    return folded


def _fold_first(graph):
    """Fold the first of what follows each layer."""
    for layer, norm in list(graph.chains()):
        if not (isinstance(layer.op, (Conv2d, LayerNorm)) and isinstance(norm.op, BatchNorm)):
            continue
        is_norm = isinstance(layer.op, LayerNorm)
        if not is_norm and not layer.op.is_bare:
            continue
        scale, shift = norm.op.line(norm.params)
        weight = layer.params["weight"]
        params = {
            "weight": (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype("float32"),
            "bias": (layer.params.get("bias", 0.0) * scale + shift).astype("float32"),
        }
        op = layer.op if is_norm else replace(layer.op, bias=True)
        graph = graph.fuse(layer, norm, Node(norm.name, op, layer.inputs, params))
    return graph
