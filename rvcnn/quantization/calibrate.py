"""From a float network and images to the same network in bytes."""

from dataclasses import replace

import numpy as np

from rvcnn.graph import INPUT
from rvcnn.images import Preprocess
from rvcnn.passes import optimise

from .calibrations import calibration as calibration_named
from .equalise import choose, folded
from .layout import byte_maps, byte_nodes, reads_pixels
from .params import QuantParams
from .recipe import Quantization, is_depthwise
from .record import Recorder
from .tensor import QuantizedTensor


def calibrate(
    model, images, calibration="mse", *, correct_bias=True, ties="even", progress=lambda: None
) -> Quantization:
    """Choose how a network's weights and maps are held as bytes.

    Weights are rounded for each output channel. Maps have a scale for each channel where no reader
    mixes channels, or where that is the better choice although the readers' weights must take it in
    (:mod:`rvcnn.quantization.equalise`); what is summed stays float32. Then each bias takes up what
    rounding changes in its layer's results on average.

    Parameters
    ----------
    model : Model
        In float32. Its whole network is taken, with every head.
    images : ndarray
        (N, H, W, 3) uint8, resized and cropped; a few hundred of the kind to be embedded.
    calibration : str
        A name of :data:`~rvcnn.quantization.CALIBRATIONS`.
    correct_bias : bool
    ties : {"even", "pi"}
        Where weights halfway between two values go.
    progress : callable
        Called after each image of each of ``passes(correct_bias)`` passes.

    Returns
    -------
    Quantization

    Raises
    ------
    UsageError
        An unknown calibration, or values that are not finite.
    ShapeError
        Images of another shape or type.
    """
    choice = calibration_named(calibration)
    graph = optimise(model._layers)
    line = pixel_line(model)
    recorder = Recorder(graph, images, line, progress)
    nodes, held = byte_nodes(graph), byte_maps(graph)
    values = recorder.histograms(list(held))
    activations = {}
    for name, how in held.items():
        readers = [n for n in nodes.values() if n.inputs[0] == name]
        weights = [n.params["weight"] for n in readers if not how.per_channel]
        activations[name] = choose(choice, values[name], weights)
    if reads_pixels(graph) and (pixels := _pixels(line)):
        activations[INPUT] = pixels
    weights = {n.name: _rounded(n, activations, ties) for n in nodes.values()}
    biases = {n.name: _bias(n) for n in nodes.values()}
    real = frozenset(name for name, h in held.items() if h.real)
    quantization = Quantization(weights, biases, activations, real)
    return _corrected(quantization, nodes, recorder) if correct_bias else quantization


def passes(correct_bias=True) -> int:
    """How often :func:`calibrate` runs each image."""
    return 3 if correct_bias else 2


def pixel_line(model):
    """Scale and shift of each channel from an image's bytes to the network's input."""
    settings = Preprocess.from_metadata(model.weights.metadata)
    mean, std = np.asarray(settings.mean), np.asarray(settings.std)
    return 1 / (255 * std), -mean / std


def _pixels(line):
    """Parameters of the pixels themselves, unless their mean is no pixel's value."""
    scale, shift = line
    zero = -shift / scale
    return QuantParams(scale, zero) if ((zero >= 0) & (zero <= 255)).all() else None


def _rounded(node, activations, ties):
    weight = node.params["weight"]
    source = activations.get(node.inputs[0])
    if source is not None and source.per_channel and not is_depthwise(node.op):
        weight = folded(weight, source.scale)
    return QuantizedTensor.from_weights_per_channel(weight, ties)


def _bias(node):
    return node.params.get("bias", np.zeros(len(node.params["weight"]), np.float32))


def _corrected(quantization, nodes, recorder):
    """Move into each bias what its layer's sums lose on average.

    A convolution is linear, so the mean of its results over images is its result of the mean map.
    """
    means = recorder.means({n.inputs[0] for n in nodes.values()}, quantization.activations)
    biases = dict(quantization.biases)
    for name in biases:
        node = nodes[name]
        plain = {"activation": "identity", "residual": False}
        known = {k: v for k, v in plain.items() if hasattr(node.op, k)}
        op = replace(node.op, **known)
        exact, rounded = means[node.inputs[0]]
        held = {"weight": quantization.float_weight(node), "bias": biases[name]}
        lost = op.reference(node.params, exact) - op.reference(held, rounded)
        biases[name] = (biases[name] + lost.mean((0, 1))).astype(np.float32)
    return replace(quantization, biases=biases)
