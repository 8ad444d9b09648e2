"""Which maps and weights of a graph are held as bytes, by what its operators are."""

from typing import NamedTuple

from rvcnn.graph import INPUT, Graph, Node
from rvcnn.kernels.requantise import FUSED_U8
from rvcnn.ops import Conv2d, GlobalAvgPool, Linear, ScaleChannels

from .recipe import is_depthwise


class Held(NamedTuple):
    """How a map is held as bytes.

    Attributes
    ----------
    per_channel : bool
        Whether each channel has parameters of its own, as no reader mixes channels.
    real : bool
        Whether it is stored as float32 besides: what reads it, or what makes it, cannot do without.
    """

    per_channel: bool
    real: bool


def excitations(graph: Graph) -> frozenset[str]:
    """Nodes that compute the factors of a ScaleChannels: small vectors, which stay float32."""
    nodes = {node.name: node for node in graph.nodes}
    found, todo = set(), [n.inputs[1] for n in graph.nodes if isinstance(n.op, ScaleChannels)]
    while todo:
        name = todo.pop()
        if name in nodes and name not in found:
            found.add(name)
            if not isinstance(nodes[name].op, GlobalAvgPool):
                todo += nodes[name].inputs
    return frozenset(found)


def byte_nodes(graph: Graph) -> dict[str, Node]:
    """Nodes whose weights are held as int8, by name: excitations too, which compute in float32."""
    return {n.name: n for n in graph.nodes if _multiplies_bytes(n.op)}


def byte_maps(graph: Graph) -> dict[str, Held]:
    """Maps that are held as bytes, in the graph's order.

    Those that a product or a depthwise convolution reads; those that a pool or a channel scale
    reads, if what makes them stores bytes.
    """
    excited, held = excitations(graph), {}
    for node in graph.nodes:
        if node.name in excited:
            continue
        readers = graph.consumers(node.name)
        products = [n for n in readers if _multiplies_bytes(n.op) and n.name not in excited]
        products = [n for n in products if n.inputs[0] == node.name]
        others = [n for n in readers if isinstance(n.op, (ScaleChannels, GlobalAvgPool))]
        source = held.get(node.inputs[0])
        stores = _stores_bytes(node.op)
        if isinstance(node.op, ScaleChannels):
            stores = source is not None and not source.real
        if products or (others and stores):
            mixed = any(not is_depthwise(n.op) for n in products)
            needed = node.name in graph.outputs or any(
                n not in products and n not in others or node.name in n.inputs[1:] for n in readers
            )
            held[node.name] = Held(not mixed, needed or not stores)
    return held


def reads_pixels(graph: Graph) -> bool:
    """Whether every reader of the input can take an image's bytes."""
    readers = graph.consumers(INPUT)
    return all(_multiplies_bytes(n.op) and not is_depthwise(n.op) for n in readers)


def _multiplies_bytes(op):
    if isinstance(op, Conv2d):
        return op.groups == 1 or is_depthwise(op)
    return isinstance(op, Linear)


def _stores_bytes(op):
    fused = getattr(op, "activation", None) in FUSED_U8
    return _multiplies_bytes(op) and fused and not getattr(op, "residual", False)
