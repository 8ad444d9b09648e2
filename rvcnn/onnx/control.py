"""Control flow: graphs among a node's attributes run node by node, as often as the node says."""

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rvcnn.errors import RvcnnError, ShapeError, WeightsError
from rvcnn.weights.contents import shown

from .network import Network, Node, Value
from .operators import OPERATORS
from .operators.base import axis_of, check_size

MOST_TURNS = 1 << 20
"""How often a loop may run its body."""


def results(
    node: Node, values: Mapping[str, np.ndarray], opset: int, packed: Any = None
) -> tuple[np.ndarray, ...]:
    """Results of one node.

    Parameters
    ----------
    node : Node
    values : mapping of str to ndarray
        What the node, and graphs among its attributes, may read.
    opset : int
    packed : object, optional
        The node's weights, packed by its operator.

    Raises
    ------
    RvcnnError
        Naming the node.
    """
    inputs = [values[name] if name else None for name in node.inputs]
    try:
        if node.kind in CONTROL:
            return _controlled(node, inputs, values, opset)
        operator = OPERATORS[node.kind]
        count = len(node.outputs)
        return operator.run(node.attributes, opset, *inputs, outputs=count, packed=packed)
    except RvcnnError as error:
        raise type(error)(f"node {shown(node.name)}: {error}") from None


def _controlled(node, inputs, values, opset):
    def body(name):
        graph = node.attributes.get(name)
        if not isinstance(graph, Network):
            raise WeightsError(f"{node.op} without its graph {name}: export the model again")
        return lambda *given: _evaluate(graph, given, values, opset), graph

    try:
        made = CONTROL[node.kind](body, inputs, node.attributes, opset)
    except RvcnnError:
        raise
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ShapeError(
            f"{node.op}: inputs and results do not fit its graph ({error}): export the model again"
        ) from error
    if len(made) < len(node.outputs):
        raise ShapeError(f"{node.op}: a graph with {len(made)} results for {len(node.outputs)}")
    return made


def _evaluate(graph, given, outer, opset):
    """Results of a graph, which may also read the values around it."""
    names = [value.name for value in graph.inputs]
    if len(names) != len(given):
        raise ShapeError(f"{len(given)} values for a graph that takes {len(names)}")
    values = ChainMap(dict(zip(names, given, strict=True)), graph.constants, outer)
    for node in graph.nodes:
        values.update(zip(node.outputs, results(node, values, opset), strict=False))
    return [values[value.name] for value in graph.outputs]


Body = Callable[[str], tuple[Callable, Network]]
"""From an attribute's name to the graph as a function, and the graph."""


def _if(body: Body, inputs, attributes, opset):
    """One of two graphs."""
    (condition,) = inputs
    branch, _ = body("then_branch" if condition.reshape(()) else "else_branch")
    return tuple(branch())


def _loop(body: Body, inputs, attributes, opset):
    """A graph that is given its last results again, until it or the count says that it is over."""
    turn, graph = body("body")
    count, going, *carried = inputs
    count = None if count is None else int(count.reshape(()))
    going = going is None or bool(going.reshape(()))
    kept, rows, at = len(carried), [], 0
    while going and (count is None or at < count):
        if at == MOST_TURNS:
            raise WeightsError(f"a loop of more than {MOST_TURNS} turns")
        going, *made = turn(np.array(at, np.int64), np.array(True), *carried)
        carried, going, at = made[:kept], bool(going.reshape(())), at + 1
        rows.append(made[kept:])
    return (*carried, *_collected(rows, graph.outputs[1 + kept :]))


def _collected(rows, outputs, axes=None, backwards=None):
    """What each turn made, along a new axis."""
    collected = []
    for i, value in enumerate(outputs):
        parts = [row[i] for row in rows]
        if backwards and backwards[i]:
            parts.reverse()
        if parts:
            axis = axis_of(axes[i], parts[0].ndim + 1) if axes else 0
            check_size((len(parts), *parts[0].shape), parts[0].dtype)
            collected.append(np.stack(parts, axis))
        else:
            collected.append(_nothing(value))
    return collected


def _nothing(value: Value):
    """No values, of the shape that a graph states for each."""
    shape = [side if isinstance(side, int) else 0 for side in value.shape or ()]
    return np.zeros(check_size((0, *shape)), value.dtype or np.float32)


def _scan(body: Body, inputs, attributes, opset):
    """A graph for each slice of some inputs, which is given its last states again."""
    if opset < 9:
        raise WeightsError("Scan of operator set 8: export the model with a newer one")
    turn, graph = body("body")
    count = attributes["num_scan_inputs"]
    if not 0 < count <= len(inputs):
        raise ShapeError(f"Scan over {count} of {len(inputs)} inputs")
    kept = len(inputs) - count
    states, scanned = inputs[:kept], inputs[kept:]
    made = graph.outputs[kept:]
    axes = attributes.get("scan_input_axes") or (0,) * count
    backwards = attributes.get("scan_input_directions") or (0,) * count
    slices = []
    for x, axis, reverse in zip(scanned, axes, backwards, strict=True):
        x = np.moveaxis(x, axis_of(axis, x.ndim), 0)
        slices.append(x[::-1] if reverse else x)
    rows = []
    for given in zip(*slices, strict=True):
        results = turn(*states, *map(np.asarray, given))
        states = results[:kept]
        rows.append(results[kept:])
    out_axes = attributes.get("scan_output_axes") or (0,) * len(made)
    out_backwards = attributes.get("scan_output_directions") or (0,) * len(made)
    return (*states, *_collected(rows, made, out_axes, out_backwards))


CONTROL = {"If": _if, "Loop": _loop, "Scan": _scan}
"""Operators that hold graphs."""
