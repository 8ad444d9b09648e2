"""Biases that take up what rounding changes on average.

First each layer by itself: what its sums lose through its own weights and its own input. Then, in
order, the layers whose sums are kept as real numbers: what has come together up to there.
"""

from dataclasses import replace

import numpy as np

from rvcnn.graph import Graph
from rvcnn.passes import quantise

from .layout import byte_maps, byte_nodes, excitations
from .recipe import Quantization
from .record import Recorder


def bias_of(node):
    """A node's bias; zeros where it has none."""
    return node.params.get("bias", np.zeros(len(node.params["weight"]), np.float32))


def correct(quantization: Quantization, recorder: Recorder) -> Quantization:
    """The quantisation with other biases.

    Parameters
    ----------
    quantization : Quantization
        With the float network's biases.
    recorder : Recorder
        Of the float network.
    """
    return _together(_each(quantization, recorder), recorder)


def watched(graph: Graph) -> list[str]:
    """Layers whose sums can be seen in the network of bytes: linear, and kept as real numbers."""
    held, small = byte_maps(graph), excitations(graph)
    return [
        name
        for name, node in byte_nodes(graph).items()
        if node.op.activation == "identity" and name not in small
        if name not in held or held[name].real
    ]


def _each(quantization, recorder):
    """Each layer by itself.

    A convolution is linear, so the mean of its results over images is its result of the mean map.
    """
    nodes = byte_nodes(recorder.graph)
    means = recorder.means({n.inputs[0] for n in nodes.values()}, quantization.activations)
    biases = {}
    for name, node in nodes.items():
        plain = {"activation": "identity", "residual": False, "sum_first": False}
        op = replace(node.op, **{k: v for k, v in plain.items() if hasattr(node.op, k)})
        exact, rounded = means[node.inputs[0]]
        bias = quantization.biases[name]
        held = {"weight": quantization.float_weight(node), "bias": bias}
        lost = op.reference(node.params, exact) - op.reference(held, rounded)
        biases[name] = (bias + lost.mean((0, 1))).astype(np.float32)
    return replace(quantization, biases=biases)


def _together(quantization, recorder):
    """What is left in the network of bytes, from the first layer to the last."""
    names = watched(recorder.graph)
    wanted = recorder.channel_means(names)
    for name in names:
        graph = quantise(recorder.graph, quantization)
        end = 1 + next(i for i, node in enumerate(graph.nodes) if node.name == name)
        upto = replace(graph, nodes=graph.nodes[:end], outputs=(name,))
        lost = wanted[name] - recorder.of(upto).channel_means([name])[name]
        bias = (quantization.biases[name] + lost).astype(np.float32)
        quantization = replace(quantization, biases={**quantization.biases, name: bias})
    return quantization
