"""Products of integers whose steps are found while the network runs, as products of real values.

``MatMulInteger(DynamicQuantizeLinear(x), w) * (scale of x * scale of w)`` is the product of x, in
the steps that it was rounded to, by the real weights: what follows it is one layer with it.
"""

from dataclasses import replace

import numpy as np

from .network import Network, Node
from .shapes import MALFORMED, Facts

REAL = {"ConvInteger": "Conv", "MatMulInteger": "MatMul"}


def real_products(network: Network, facts: Facts) -> Network:
    """The network with products of real values in the place of those of integers.

    Parameters
    ----------
    network : Network
        Folded for the inputs' shapes.
    facts : Facts
        Of all its values; takes in those that are new.
    """
    makers = {name: node for node in network.nodes for name in node.outputs if name}
    nodes = []
    for node in network.nodes:
        try:
            found = _product(node, makers, facts)
        except MALFORMED:
            found = None
        nodes += found or [node]
    return replace(network, nodes=tuple(nodes))


def _product(node, makers, facts):
    """The nodes that make what a node does, if it gives sums of products their unit; else None."""
    if node.kind != "Mul":
        return None
    for sums, unit in (node.inputs, node.inputs[::-1]):
        cast = makers.get(sums)
        if cast is None or cast.kind != "Cast" or cast.attributes.get("to") != 1:
            continue
        integer = makers.get(cast.inputs[0])
        if integer is None or integer.kind not in REAL or len(integer.inputs) < 3:
            continue
        given = makers.get(integer.inputs[0])
        if given is None or given.kind != "DynamicQuantizeLinear":
            continue
        scale = _scale(unit, given.outputs[1], makers, facts)
        if scale is not None and integer.inputs[2] == given.outputs[2]:
            return _real(node, integer, given, scale, facts)
    return None


def _scale(unit, of_input, makers, facts):
    """The constant that a unit is the input's scale times; None if it is something else."""
    if unit == of_input:
        return np.float32(1)
    node = makers.get(unit)
    if node is None or node.kind != "Mul" or of_input not in node.inputs:
        return None
    (other,) = (name for name in node.inputs if name != of_input)
    return facts.values.get(other)


def _real(node, integer, given, scale, facts):
    name, real = f"{node.outputs[0]}/weights", f"{node.outputs[0]}/rounded"
    weights = facts.values.get(integer.inputs[1])
    zero = integer.inputs[3] if len(integer.inputs) > 3 else ""
    shape = facts.shapes[node.outputs[0]]
    rank = len(shape)
    if weights is None or (zero and facts.values.get(zero) is None):
        return None
    if {name, real} & facts.shapes.keys():
        return None
    is_conv = integer.op == "ConvInteger"
    outputs = 0 if is_conv else 1
    if not is_conv and weights.ndim != 2:
        return None
    laid = [-1 if i == outputs else 1 for i in range(weights.ndim)]
    along = (1,) * (rank - scale.ndim) + scale.shape
    axis = 1 if is_conv else rank - 1
    if scale.size > 1 and along != tuple(n if i == axis else 1 for i, n in enumerate(shape)):
        return None
    whole = weights.astype(np.float32)
    if zero:
        whole -= facts.values[zero].astype(np.float32).reshape(laid)
    facts.know(name, whole * scale.astype(np.float32).reshape(laid))
    facts.expect(real, facts.shapes[given.inputs[0]], np.dtype(np.float32))
    attributes = integer.attributes
    return [
        Node(node.name, "DequantizeLinear", "", given.outputs, (real,)),
        Node(node.name, REAL[integer.op], "", (real, name), node.outputs, attributes),
    ]
