"""Constant folding: what follows from constants and known shapes is worked out once."""

from dataclasses import replace

from .branches import inline
from .network import Network, Node
from .order import reads
from .shapes import Facts, infer


def fold(network: Network, inputs=None, dtypes=None) -> tuple[Network, Facts]:
    """The network without nodes whose results are known, and without those nobody needs.

    What makes real values of constants stays, so that layers can take the constants themselves.

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
    while True:
        network = _without_copies(network)
        facts = infer(network, inputs or {}, dtypes)
        flat = inline(network, facts.values)
        if flat.nodes == network.nodes:
            break
        network = flat
    left = [
        node
        for node in network.nodes
        if not all(o in facts.values and o not in facts.quantised for o in node.outputs if o)
    ]
    needed, kept = {value.name for value in network.outputs}, []
    for node in reversed(left):
        if needed.intersection(node.outputs):
            needed |= reads(node)
            kept.append(node)
    constants = {name: value for name, value in facts.values.items() if name in needed}
    return replace(network, nodes=tuple(reversed(kept)), constants=constants), facts


def _without_copies(network):
    """The network without nodes that hand on their input, but for those that name an output."""
    outputs = {value.name for value in network.outputs}
    captured = {name for node in network.nodes for name in reads(node) - {*node.inputs}}
    made = {name for node in network.nodes for name in node.outputs}
    names, moved, kept = {}, {}, []
    for node in network.nodes:
        node = replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))
        if not _is_copy(node) or captured.intersection((*node.inputs, *node.outputs)):
            kept.append(node)
            continue
        source, copy = node.inputs[0], node.outputs[0]
        if copy not in outputs:
            names[copy] = source
        elif source in made and source not in outputs and source not in moved:
            moved[source] = copy  # the maker writes the output itself
        else:
            kept.append(node)
    return replace(network, nodes=tuple(_read_as(node, moved) for node in kept))


def _read_as(node, names):
    """A node with other names for what it reads and makes."""
    inputs, outputs = (tuple(names.get(n, n) for n in side) for side in (node.inputs, node.outputs))
    return replace(node, inputs=inputs, outputs=outputs)


def _is_copy(node: Node):
    if node.domain or not node.inputs or not node.outputs:
        return False
    if node.op == "Dropout":
        return len([o for o in node.outputs if o]) == 1 and len([i for i in node.inputs if i]) < 3
    return node.op == "Identity"
