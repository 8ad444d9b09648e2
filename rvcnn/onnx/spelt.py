"""What networks spell out in primitive operators, as the one operator that it is.

A function of one value is known by its values: the operators from a value to a result are worked
out in float64 on points where no two of the known functions agree.
"""

from dataclasses import replace

import numpy as np

from .network import Network, Node
from .operators import OPERATORS
from .shapes import MALFORMED, Facts

ELEMENTWISE = {"Add", "Div", "Erf", "Mul", "Neg", "Pow", "Sigmoid", "Sub", "Tanh"}
"""Operators of which functions are spelt."""

CURVED = {"Erf", "Sigmoid", "Tanh"}

LONGEST = 16
"""Operators of the longest spelling."""

POINTS = np.linspace(-4.0, 4.0, 41)


def _known():
    half = 0.5 * POINTS
    inner = POINTS + 0.044715 * POINTS**3
    erf = OPERATORS["Erf"].run({}, 13, POINTS * 0.5**0.5)[0]
    return (
        ("Gelu", {}, half * (1 + erf)),
        ("Gelu", {"approximate": "tanh"}, half * (1 + np.tanh((2 / np.pi) ** 0.5 * inner))),
        ("Swish", {"alpha": 1.702}, POINTS / (1 + np.exp(-1.702 * POINTS))),
    )


def joined(network: Network, facts: Facts) -> Network:
    """The network with an operator in the place of each spelling of it.

    Parameters
    ----------
    network : Network
        Folded for the inputs' shapes.
    facts : Facts
        Of all its values; takes in those that are new.
    """
    return _Joining(network, facts).joined()


class _Joining:
    def __init__(self, network, facts):
        self.network, self.facts = network, facts
        self.makers = {name: node for node in network.nodes for name in node.outputs if name}

    def joined(self):
        """The network; what nobody reads any more is left to the lowering, which drops it."""
        nodes = []
        for node in self.network.nodes:
            found = None
            if node.domain == "" and len(node.outputs) == 1:
                try:
                    found = self._norm(node) or self._unit(node) or self._function(node)
                except MALFORMED:
                    found = None
            nodes += found or [node]
        return replace(self.network, nodes=tuple(nodes))

    def _constant(self, name):
        return self.facts.values.get(name)

    def _made(self, name, op):
        node = self.makers.get(name)
        return node if node is not None and node.kind == op else None

    def _is_float(self, name):
        return self.facts.dtypes.get(name) == np.float32

    def _axis(self, node):
        """The one axis of a mean or norm that keeps its dimension, or None."""
        axes = node.attributes.get("axes")
        if axes is None and len(node.inputs) > 1:
            axes = self._constant(node.inputs[1])
        shape = self.facts.shapes.get(node.inputs[0])
        if axes is None or shape is None or np.size(axes) != 1:
            return None
        return int(np.ravel(axes)[0]) % len(shape) if node.attributes.get("keepdims", 1) else None

    # --- normalisation ----------------------------------------------------------------------------

    def _norm(self, node):
        """``(x - mean) / sqrt(variance + epsilon)``, with the line that follows it or without."""
        found = self._standard(node)
        if found is None:
            return None
        source, axis, epsilon = found
        shape = self.facts.shapes[source]
        rank, name = len(shape), node.outputs[0]
        if not self._is_float(source) or self.facts.shapes.get(name) != shape:
            return None
        one = f"{name}/one"
        self.facts.know(one, np.ones(shape[axis], np.float32))
        attributes = {"axis": -1, "epsilon": epsilon}
        if axis == rank - 1:
            return [Node(node.name, "LayerNormalization", "", (source, one), (name,), attributes)]
        turn = [i for i in range(rank) if i != axis] + [axis]
        turned, normal = f"{name}/turned", f"{name}/normal"
        for new in (turned, normal):
            self.facts.expect(new, [shape[i] for i in turn], np.dtype(np.float32))
        back = tuple(int(i) for i in np.argsort(turn))
        return [
            Node(node.name, "Transpose", "", (source,), (turned,), {"perm": tuple(turn)}),
            Node(node.name, "LayerNormalization", "", (turned, one), (normal,), attributes),
            Node(node.name, "Transpose", "", (normal,), (name,), {"perm": back}),
        ]

    def _standard(self, node):
        """Value, axis and epsilon of a normalisation that a node ends, or None."""
        if node.op != "Div" or len(node.inputs) != 2:
            return None
        root = self._made(node.inputs[1], "Sqrt")
        total = root and self._made(root.inputs[0], "Add")
        centred = self._made(node.inputs[0], "Sub")
        middle = centred and self._made(centred.inputs[1], "ReduceMean")
        if total is None or middle is None or middle.inputs[0] != centred.inputs[0]:
            return None
        for variance, epsilon in (total.inputs, total.inputs[::-1]):
            spread, epsilon = self._made(variance, "ReduceMean"), self._constant(epsilon)
            if spread is None or epsilon is None or epsilon.size != 1:
                continue
            axis = self._axis(middle)
            if axis is None or self._axis(spread) != axis:
                continue
            if self._is_square(spread.inputs[0], centred):
                return centred.inputs[0], axis, float(epsilon.reshape(()))
        return None

    def _is_square(self, name, centred):
        """Whether a value is the square of a centred one, which exporters may compute twice."""
        node = self.makers.get(name)
        if node is None or node.kind not in ("Pow", "Mul"):
            return False
        if node.op == "Pow":
            power = self._constant(node.inputs[1])
            if power is None or power.size != 1 or float(power.reshape(())) != 2:
                return False
        elif node.inputs[0] != node.inputs[1]:
            return False
        maker = self._made(node.inputs[0], "Sub")
        return maker is centred or (maker is not None and maker.inputs == centred.inputs)

    def _unit(self, node):
        """``x / |x|`` of vectors, the norm held above a small number or not."""
        if node.op != "Div" or len(node.inputs) != 2:
            return None
        x, name = node.inputs
        expanded = self._made(name, "Expand")
        clipped = self._made(expanded.inputs[0] if expanded else name, "Clip")
        if clipped is not None:
            low = clipped.attributes.get("min")
            low = self._constant(clipped.inputs[1]) if low is None else low
            above = clipped.attributes.get("max") is None and not any(clipped.inputs[2:])
            if low is None or not above or not 0 <= float(np.reshape(low, ())) <= 1e-12:
                return None
        norm = (clipped or expanded).inputs[0] if clipped or expanded else name
        norm = self._made(norm, "ReduceL2")
        shape = self.facts.shapes.get(x)
        if norm is None or norm.inputs[0] != x or not self._is_float(x) or len(shape) != 2:
            return None
        if self._axis(norm) != 1:
            return None
        return [Node(node.name, "LpNormalization", "", (x,), node.outputs, {"axis": 1, "p": 2})]

    # --- functions of one value -------------------------------------------------------------------

    def _function(self, node):
        """A known function that a node ends, spelt in operators whose constants are numbers."""
        if node.op != "Mul" or not self._is_float(node.outputs[0]):
            return None
        steps, sources = self._spelling(node)
        if not steps or len(sources) != 1 or not CURVED & {step.op for step in steps}:
            return None
        (source,) = sources
        if self.facts.shapes.get(source) != self.facts.shapes.get(node.outputs[0]):
            return None
        result = self._worked_out(steps, source, node.outputs[0])
        for op, attributes, values in _known():
            if np.allclose(result, values, 1e-5, 1e-6):
                return [Node(node.name, op, "", (source,), node.outputs, attributes)]
        return None

    def _spelling(self, node):
        """Elementwise nodes that lead to one, in order, and the values they begin with.

        The value that more than one of the nodes reads, and none of them makes, is the source: what
        makes it is not gone into.
        """
        best = ([], set())
        steps, waiting = {}, [node]
        while waiting and len(steps) < LONGEST:
            step = waiting.pop(0)
            constants = map(self._constant, step.inputs)
            if id(step) in steps or any(c is not None and c.size != 1 for c in constants):
                continue
            steps[id(step)] = step
            chosen = list(steps.values())
            made = {step.outputs[0] for step in chosen}
            read = {name for step in chosen for name in step.inputs}
            open_ = {name for name in read - made if self._constant(name) is None}
            if len(open_) == 1 and CURVED & {step.op for step in chosen}:
                best = (chosen, open_)
            makers = [self.makers.get(name) for name in step.inputs]
            waiting += [m for m in makers if m is not None and m.kind in ELEMENTWISE]
        order = {id(n): i for i, n in enumerate(self.network.nodes)} if best[0] else {}
        return sorted(best[0], key=lambda step: order[id(step)]), best[1]

    def _worked_out(self, steps, source, name):
        values = {source: POINTS}
        for step in steps:
            given = (
                values[n] if n in values else np.float64(self._constant(n).reshape(()))
                for n in step.inputs
            )
            results = OPERATORS[step.op].run(
                step.attributes, self.network.opset, *map(np.asarray, given)
            )
            values[step.outputs[0]] = results[0]
        return values[name]
