"""Branches whose condition is known take the place of their `If`."""

from dataclasses import replace

import numpy as np

from .network import Network, Node

IF = "If"


def inline(network: Network, values) -> Network:
    """The network with the branch that is taken for every `If` whose condition is among ``values``.

    Names inside a branch get the `If`'s name before them; exporters use them in both branches.
    """
    nodes, constants = [], dict(network.constants)
    for node in network.nodes:
        condition = values.get(node.inputs[0]) if node.kind == IF and node.inputs else None
        if condition is None or condition.size != 1:
            nodes.append(node)
            continue
        which = "then_branch" if bool(np.reshape(condition, ())) else "else_branch"
        branch = node.attributes.get(which)
        if not isinstance(branch, Network) or len(branch.outputs) != len(node.outputs):
            nodes.append(node)
            continue
        prefix = f"{node.name}/{node.outputs[0]}/{which}/"
        constants |= {prefix + name: value for name, value in branch.constants.items()}
        nodes += _renamed(branch, prefix)
        own = _own(branch)
        for inner, outer in zip(branch.outputs, node.outputs, strict=True):
            source = prefix + inner.name if inner.name in own else inner.name
            nodes.append(Node(outer, "Identity", "", (source,), (outer,)))
    return replace(network, nodes=tuple(nodes), constants=constants)


def _own(branch):
    return branch.constants.keys() | {name for node in branch.nodes for name in node.outputs}


def _renamed(branch, prefix, hidden=frozenset()):
    """A branch's nodes, its own values' names with the prefix, in branches inside it too."""
    own = _own(branch) - {""} if not hidden else hidden

    def name(old):
        return prefix + old if old in own else old

    return [
        replace(
            node,
            name=prefix + node.name,
            inputs=tuple(map(name, node.inputs)),
            outputs=tuple(map(name, node.outputs)),
            attributes={
                key: _captured(value, prefix, own) if isinstance(value, Network) else value
                for key, value in node.attributes.items()
            },
        )
        for node in branch.nodes
    ]


def _captured(graph, prefix, names):
    """A graph inside a branch, which may read the branch's values by their old names."""
    names = names - _own(graph)
    nodes = _renamed(graph, prefix, names) if names else graph.nodes
    outputs = tuple(
        v._replace(name=prefix + v.name) if v.name in names else v for v in graph.outputs
    )
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


def operators(network: Network) -> set[str]:
    """Kinds of all nodes, those of branches too."""
    kinds = set()
    for node in network.nodes:
        kinds.add(node.kind)
        for value in node.attributes.values():
            for graph in value if isinstance(value, tuple) else (value,):
                if isinstance(graph, Network):
                    kinds |= operators(graph)
    return kinds
