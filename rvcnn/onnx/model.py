"""A network that goes from an image to a vector as one graph of rvcnn's."""

from dataclasses import replace

import numpy as np

from rvcnn.graph import INPUT, Graph
from rvcnn.models.imported import NAME, OUTPUT, POOLED, to_text
from rvcnn.ops import AvgPool, GlobalAvgPool, MaxPool
from rvcnn.weights.contents import Refusal, shown

from .fold import fold
from .lower import Part, lower
from .network import Network, Node

USUAL_SIZE = 224
"""Pixels of a side of a network that does not say."""

POOLINGS = (AvgPool, GlobalAvgPool, MaxPool)
"""What may make the vector that stands for an image; a token that is taken is on its way to it."""

SETTINGS = (
    *("mean", "std", "resize", "crop", "interpolation", "channel_order"),
    *("embedding", "normalize", "license", "source"),
)
"""What rvcnn takes from an ONNX file's own metadata."""


def to_model(network: Network) -> tuple[Graph, dict[str, str], tuple[str, ...]]:
    """The graph of a network, the metadata of its weights file, and notes.

    Parameters
    ----------
    network : Network
        One input (N, 3, H, W) or (N, H, W, 3), one output (N, D); a softmax at the end is left out.

    Returns
    -------
    graph : Graph
        With parameters; its last layer is ``output``, and the pooling of the last map ``pooled``.
    metadata : dict of str to str
    notes : tuple of str

    Raises
    ------
    Refusal
        Saying why the network is none from an image to a vector.
    """
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        raise Refusal(_reason(f"{len(network.inputs)} inputs, {len(network.outputs)} outputs"))
    size, is_open = _size(network)
    graph, notes = _graph(network, size)
    shapes = graph.shapes((size, size, 3))
    *pixels, width = shapes[graph.outputs[0]]
    if pixels != [1, 1]:
        raise Refusal(_reason(f"its output is a map of {shapes[graph.outputs[0]]}"))
    graph = _named(graph, shapes)
    text = to_text(graph)
    any_size = is_open and text == to_text(_named(_graph(network, size + 64)[0], shapes))
    has_pooled = any(node.name == POOLED for node in graph.nodes)
    metadata = {
        "architecture": NAME,
        "graph": text,
        "input_size": str(size),
        "any_size": str(any_size).lower(),
        "num_classes": str(width),
        "embedding": POOLED if has_pooled else OUTPUT,
        **({} if any_size else {"crop": str(size)}),
        **{key: network.metadata[key] for key in SETTINGS if key in network.metadata},
    }
    return graph, metadata, notes


def _reason(why):
    return f"no network from one image to one vector ({why}): run it with rvcnn.onnx.load"


def _size(network):
    """Pixels of the image's sides, and whether that is only a suggestion."""
    shape = network.inputs[0].shape
    if shape is None or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise Refusal(_reason(f"its input is {shown(shape)}"))
    sides = shape[2:] if shape[1] == 3 else shape[1:3]
    fixed = [side for side in sides if isinstance(side, int)]
    if len(set(fixed)) > 1:
        raise Refusal(_reason(f"its images are {sides[0]} x {sides[1]} pixels, no square"))
    if fixed:
        return fixed[0], False
    crop = network.metadata.get("crop", "")
    return int(crop) if crop.isdecimal() and 0 < int(crop) < 1 << 14 else USUAL_SIZE, True


def _graph(network, size):
    (given,) = network.inputs
    is_first = given.shape[1] == 3
    shape = (1, 3, size, size) if is_first else (1, size, size, 3)
    folded, facts = fold(network, {given.name: shape})
    steps = list(lower(folded, facts))
    notes = ()
    if not is_first and steps and _is(steps[0], "Transpose", given.name):
        turned = steps.pop(0)
        if tuple(turned.attributes.get("perm", ())) != (0, 3, 1, 2):
            raise Refusal(_reason("its input is turned"))
        given = given._replace(name=turned.outputs[0])
    if len(steps) == 2 and isinstance(steps[0], Part) and steps[1].kind == "Softmax":
        if len(facts.shapes[steps[1].outputs[0]]) == 2:
            steps.pop()
            notes = ("its softmax is left out: the output is what it read",)
    if len(steps) != 1 or not isinstance(steps[0], Part) or steps[0].source != given.name:
        apart = sorted({step.kind for step in steps if isinstance(step, Node)})
        raise Refusal(_reason(f"{', '.join(map(shown, apart)) or 'nothing'} runs apart"))
    if any(node.name in steps[0].graph.stored for node in steps[0].graph.nodes):
        raise Refusal(_reason("its layers are quantised"))
    return steps[0].graph, notes


def _is(step, kind, source):
    return isinstance(step, Node) and step.kind == kind and step.inputs[0] == source


def _named(graph, shapes):
    """The graph with the last layer called output, and the last map's pooling pooled."""
    nodes = {node.name: node for node in graph.nodes}
    (last,) = graph.outputs
    names, name = {last: OUTPUT}, last
    while name != INPUT and len(nodes[name].inputs) == 1:
        (before,) = nodes[name].inputs
        if shapes[name][:2] == (1, 1) != shapes[before][:2]:
            if isinstance(nodes[name].op, POOLINGS):
                names.setdefault(name, POOLED)
            break
        name = before
    taken = {OUTPUT, POOLED} & nodes.keys() - names.keys()
    names |= {name: f"{name}/" for name in taken}

    def renamed(name):
        return names.get(name, name)

    changed = tuple(
        replace(n, name=renamed(n.name), inputs=tuple(map(renamed, n.inputs))) for n in graph.nodes
    )
    return Graph(changed, (OUTPUT,))


def tensors_of(graph: Graph) -> dict[str, np.ndarray]:
    """The graph's parameters by their keys in a weights file."""
    return {
        f"{node.name}.{key}": value for node in graph.nodes for key, value in node.params.items()
    }
