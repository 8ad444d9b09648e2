"""Sequences (N, C, W) as maps of one row (N, C, 1, W), so that all that maps have serves them."""

from dataclasses import replace

import numpy as np

from .network import Network, Node
from .order import reads
from .raised import FOLLOWERS, LEADERS
from .region import Apart
from .shapes import MALFORMED, Facts


def as_maps(network: Network, facts: Facts) -> Network:
    """The network with what is round its convolutions and poolings of sequences as of maps.

    Parameters
    ----------
    network : Network
    facts : Facts
        Of all its values; those of the new ones are added.
    """
    if not any(_is_sequence(n, facts) for node in network.nodes for n in node.inputs):
        return network
    return _Rows(network, facts).network()


def _is_sequence(name, facts):
    is_known = name in facts.shapes and name not in facts.values
    return is_known and len(facts.shapes[name]) == 3 and facts.dtypes[name] == np.float32


class _Rows:
    """The nodes so far, and the map of each sequence that has become one."""

    def __init__(self, network, facts):
        self._given, self._facts = network, facts
        self._maps, self._nodes = {}, []
        self._taken = {*facts.shapes, *(name for node in network.nodes for name in node.outputs)}

    def network(self):
        """The network over maps."""
        for node in self._given.nodes:
            try:
                self._add(node)
            except (Apart, *MALFORMED):
                self._nodes.append(node)
        wanted = {value.name for value in self._given.outputs}
        kept = []
        for node in reversed(self._nodes):
            if wanted.intersection(node.outputs):
                wanted |= reads(node)
                kept.append(node)
        return replace(self._given, nodes=tuple(reversed(kept)))

    def _add(self, node):
        """Append what a node is over maps, and what makes sequences of its results.

        Raises
        ------
        Apart
            If it stays one over sequences.
        """
        facts = self._facts
        read = [name for name in node.inputs if name and name not in facts.values]
        leads = node.kind in LEADERS
        rule = LEADERS.get(node.kind) or FOLLOWERS.get(node.kind)
        if rule is None or not read or not all(_is_sequence(name, facts) for name in read):
            raise Apart(node.kind)
        if not (leads or self._maps.keys() >= set(read)):
            raise Apart("a layer that no map reaches")
        constants = {i: facts.values[n] for i, n in enumerate(node.inputs) if n in facts.values}
        attributes, changed = rule(node, constants)
        inputs = [self._map(n) if n in read else n for n in node.inputs]
        for i, value in changed.items():
            inputs += [""] * (i + 1 - len(inputs))
            inputs[i] = self._new(f"{node.outputs[0]}/{i}")
            facts.know(inputs[i], value)
        results = {n: self._like(n) for n in node.outputs if n and len(facts.shapes[n]) == 3}
        outputs = tuple(results.get(name, name) for name in node.outputs)
        made = Node(node.name, node.op, node.domain, tuple(inputs), outputs, attributes)
        self._nodes.append(made)
        self._nodes += [_step("Squeeze", new, old) for old, new in results.items()]
        self._maps |= results

    def _map(self, name):
        if name not in self._maps:
            self._maps[name] = self._like(name)
            self._nodes.append(_step("Unsqueeze", name, self._maps[name]))
        return self._maps[name]

    def _like(self, name):
        """The name of a new value: this one as a map."""
        new = self._new(f"{name}/row")
        images, channels, width = self._facts.shapes[name]
        self._facts.expect(new, (images, channels, 1, width), self._facts.dtypes[name])
        return new

    def _new(self, name):
        while name in self._taken:
            name += "/"
        self._taken.add(name)
        return name


def _step(op, source, result):
    return Node(result, op, "", (source,), (result,), {"axes": (2,)})
