"""The network as data: nodes in the order they run, each with its operator and its inputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from .errors import ShapeError
from .ops.base import Op, Shape

INPUT = "input"
"""Name of a graph's input wherever a node's name can stand."""


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator.

    Attributes
    ----------
    name : str
        The layer's name in the weights file, and a cut's name.
    op : Op
    inputs : tuple of str
        Names of earlier nodes, or ``INPUT``.
    params : mapping of str to ndarray
        The operator's parameters once weights are bound; empty before.
    """

    name: str
    op: Op
    inputs: tuple[str, ...]
    params: Mapping[str, np.ndarray] = field(default_factory=dict)


class Stored(NamedTuple):
    """How a map of bytes holds real values: ``(q - zero) * scale``, numbers or one a channel."""

    scale: np.ndarray
    zero: np.ndarray


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order.

    Attributes
    ----------
    nodes : tuple of Node
    outputs : tuple of str
        Names of those whose results are wanted.
    stored : mapping of str to Stored
        Maps that are held as uint8; the others are float32.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    stored: Mapping[str, Stored] = field(default_factory=dict)

    def shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """Shape (H, W, C) of every node's result.

        Raises
        ------
        ShapeError
            Naming the layer that its input does not fit.
        """
        shapes = {INPUT: tuple(input_shape)}
        for node in self.nodes:
            try:
                shapes[node.name] = node.op.infer(*(shapes[i] for i in node.inputs))
            except ShapeError as error:
                raise ShapeError(f"layer {node.name}: {error}") from None
        return shapes

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter by its key in a weights file."""
        return {
            f"{node.name}.{name}": shape
            for node in self.nodes
            for name, shape in node.op.parameters().items()
        }

    def multiply_adds(self, input_shape: Shape) -> int:
        """Multiplications of the convolutions and products, for one image."""
        shapes = self.shapes(input_shape)
        return sum(
            shapes[node.name][0] * shapes[node.name][1] * int(np.prod(shape))
            for node in self.nodes
            for shape in node.op.parameters().values()
            if len(shape) > 1
        )

    def bind(self, tensors: Mapping[str, np.ndarray]) -> "Graph":
        """Give every node its parameters from a weights file's tensors."""
        return replace(
            self,
            nodes=tuple(
                replace(n, params={p: tensors[f"{n.name}.{p}"] for p in n.op.parameters()})
                for n in self.nodes
            ),
        )

    def cut(self, outputs) -> "Graph":
        """Only what the named layers need; a module's name stands for its last layer.

        Raises
        ------
        ShapeError
            Naming the layers that do not exist.
        """
        names = tuple(self.layer(name) for name in outputs)
        needed, kept = set(names), []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                kept.append(node)
        return replace(self, nodes=tuple(reversed(kept)), outputs=names)

    def layer(self, name) -> str:
        """Name of the last layer of a module, or of the layer itself.

        Raises
        ------
        ShapeError
            Naming the layers that there are.
        """
        for node in reversed(self.nodes):
            if node.name == name or node.name.startswith(f"{name}."):
                return node.name
        known = ", ".join(dict.fromkeys(n.name.split(".block")[0] for n in self.nodes))
        raise ShapeError(f"no layer {name!r}; layers are {known}")

    def followed_by(self, name, op: Op) -> "Graph":
        """One more layer after the only output, which it replaces."""
        node = Node(name, op, self.outputs)
        return replace(self, nodes=(*self.nodes, node), outputs=(name,))

    def consumers(self, name) -> list[Node]:
        """Nodes that read a node's result."""
        return [node for node in self.nodes if name in node.inputs]

    def fuse(self, first: Node, last: Node, fused: Node) -> "Graph":
        """Put ``fused`` in the place of ``last`` and drop ``first``, whose only reader that was."""
        return replace(
            self,
            nodes=tuple(fused if n is last else n for n in self.nodes if n is not first),
        )

    def chains(self):
        """Pairs (node, its one reader), for nodes whose result nobody else needs."""
        for node in self.nodes:
            readers = self.consumers(node.name)
            if len(readers) == 1 and node.name not in self.outputs:
                yield node, readers[0]
