"""Networks that weights files bring along: a graph as text among the metadata, read as data."""

import json
import math
from dataclasses import fields

from rvcnn import ops
from rvcnn.errors import ShapeError, WeightsError
from rvcnn.graph import INPUT, Graph, Node
from rvcnn.kernels.activation import ACTIVATIONS
from rvcnn.ops.base import Sides

from .registry import Architecture

NAME = "imported"
"""The architecture that a file names whose metadata has a ``graph``."""

OUTPUT, POOLED = "output", "pooled"
"""Layers of an imported network: the last, and the one that made a vector of a map, if any."""

OPS = {
    op.__name__: op
    for op in (
        *(ops.Activation, ops.Add, ops.AvgPool, ops.BatchNorm, ops.Bilinear, ops.ClipCurve),
        *(ops.Concat, ops.Conv2d, ops.Crop, ops.DepthToSpace, ops.GlobalAvgPool),
        *(ops.Interleave, ops.L2Normalize, ops.Linear, ops.MaxPool, ops.Multiply, ops.Repeat),
        ops.RoundSteps,
        *(ops.ScaleChannels, ops.ShuffleChannels, ops.SliceChannels, ops.TakeChannels, ops.Tanh),
        *(ops.Attention, ops.ConcatPixels, ops.ConstantMap, ops.LayerNorm, ops.TakePixels),
    )
}
"""Operators that a file may name."""

LARGEST = 1 << 20
"""Largest number among an operator's attributes."""

MOST = 1 << 26
"""Elements of the largest map at the network's own input size."""


def to_text(graph: Graph) -> str:
    """A graph without its parameters as JSON."""
    nodes = [
        [
            node.name,
            type(node.op).__name__,
            list(node.inputs),
            {f.name: getattr(node.op, f.name) for f in fields(node.op)},
        ]
        for node in graph.nodes
    ]
    return json.dumps({"nodes": nodes, "outputs": graph.outputs}, separators=(",", ":"))


def from_text(text: str) -> Graph:
    """The graph that :func:`to_text` wrote, without parameters.

    Raises
    ------
    WeightsError
        If the text is no graph of rvcnn's operators.
    """
    try:
        data = json.loads(text)
        nodes, outputs, names = [], tuple(data["outputs"]), {INPUT}
        for name, kind, inputs, given in data["nodes"]:
            if not isinstance(name, str) or name in names or not inputs or not set(inputs) <= names:
                raise ValueError(f"layer {name!r:.80} and its inputs")
            names.add(name)
            nodes.append(Node(name, _operator(kind, given), tuple(inputs)))
        if not outputs or not set(outputs) <= names - {INPUT}:
            raise ValueError("its outputs")
        graph = Graph(tuple(nodes), outputs)
        graph.parameters()
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise WeightsError(f"a damaged graph among the metadata: {str(error)[:200]}") from None
    return graph


def _operator(kind, given):
    op = OPS[kind]
    known = {f.name: f for f in fields(op)}
    return op(**{name: _READERS[known[name].type](value) for name, value in given.items()})


def _check(holds, value):
    if not holds:
        raise ValueError(f"an attribute {value!r:.80}")


def _count(value):
    _check(type(value) is int and 0 <= value <= LARGEST, value)
    return value


def _counts(value):
    return tuple(map(_count, value))


def _pair(value):
    _check(len(value) == 2 and min(map(_count, value)) >= 1, value)
    return tuple(value)


def _number(value):
    _check(type(value) in (int, float) and not math.isnan(value), value)
    return float(value)


def _flag(value):
    _check(type(value) is bool, value)
    return value


def _name(value):
    _check(value == "identity" or value in ACTIVATIONS, value)
    return value


def _scales(value):
    _check(len(value) == 2 and all(0 < _number(v) <= LARGEST for v in value), value)
    return tuple(map(float, value))


def _way(value):
    _check(value in ops.WAYS, value)
    return value


def _sides(value):
    if value == "same":
        return value
    _check(len(value) == 2 and all(len(side) == 2 for side in value), value)
    return tuple(_counts(side) for side in value)


_READERS = {
    int: _count,
    float: _number,
    bool: _flag,
    str: _name,
    ops.Way: _way,
    tuple[int, int]: _pair,
    tuple[float, float]: _scales,
    tuple[int, ...]: _counts,
    Sides: _sides,
    Sides | str: _sides,
}
"""By the type of an operator's attribute."""


def imported(metadata) -> Architecture:
    """The architecture of weights that bring their graph along.

    Parameters
    ----------
    metadata : mapping of str to str
        ``graph``, ``input_size``, and ``any_size`` where other sizes than that may be run.

    Raises
    ------
    WeightsError
        If the metadata lacks one of them, or a map would not fit into any memory.
    """
    graph = from_text(metadata.get("graph", ""))
    size = metadata.get("input_size", "")
    if not size.isascii() or not size.isdecimal() or not 0 < int(size[:9]) <= 1 << 14:
        raise WeightsError(f"an imported network's input_size cannot be {size!r:.40}")
    size = int(size)
    try:
        shapes = graph.shapes((size, size, 3))
    except (ShapeError, ArithmeticError, TypeError, ValueError) as error:
        raise WeightsError(f"a damaged graph among the metadata: {error}") from None
    scratch = (node.op.scratch(*(shapes[name] for name in node.inputs)) for node in graph.nodes)
    sizes = (math.prod(shape) if min(shape) > 0 else MOST + 1 for shape in shapes.values())
    if max(*sizes, *scratch) > MOST:
        raise WeightsError("a graph among the metadata with maps too large for any memory")
    is_free = metadata.get("any_size") == "true"
    return Architecture(
        NAME,
        lambda **_: graph,
        graph.outputs[0],
        input_size=size,
        **({"smallest_input": 1} if is_free else {"smallest_input": size, "largest_input": size}),
    )
