"""Constant folding: what follows from constants and known shapes is worked out once."""

from dataclasses import replace

from .network import Network, Node
from .order import reads
from .shapes import Facts, infer

SMALL = 1 << 16
"""Bytes of a constant that is kept beside those of the file though only folding made it."""


def fold(network: Network, inputs=None, dtypes=None) -> tuple[Network, Facts]:
    """The network without nodes whose results are known, and without those nobody needs.

    Parameters
    ----------
    network : Network
    inputs, dtypes : mapping, optional
        See :func:`~rvcnn.onnx.shapes.infer`.

    Returns
    -------
    network : Network
    facts : Facts
    """
    network = _without_copies(network)
    facts = infer(network, inputs or {}, dtypes)
    left = [n for n in network.nodes if not all(o in facts.values for o in n.outputs if o)]
    needed, kept = {value.name for value in network.outputs}, []
    for node in reversed(left):
        if needed.intersection(node.outputs):
            needed |= reads(node)
            kept.append(node)
    constants = {name: value for name, value in facts.values.items() if name in needed}
    return replace(network, nodes=tuple(reversed(kept)), constants=constants), facts


def _without_copies(network):
    """The network without nodes that hand on their input, but for those that name an output."""
    outputs, names, kept = {value.name for value in network.outputs}, {}, []
    for node in network.nodes:
        node = replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))
        if _is_copy(node) and node.outputs[0] not in outputs:
            names[node.outputs[0]] = node.inputs[0]
        else:
            kept.append(node)
    return replace(network, nodes=tuple(kept))


def _is_copy(node: Node):
    if node.domain or not node.inputs or not node.outputs:
        return False
    if node.op == "Dropout":
        return len([o for o in node.outputs if o]) == 1 and len([i for i in node.inputs if i]) < 3
    return node.op == "Identity"
