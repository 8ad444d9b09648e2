"""From a float network and images to the same network in bytes."""

from dataclasses import replace

import numpy as np

from rvcnn.graph import INPUT
from rvcnn.images import Preprocess
from rvcnn.kernels import SMALLEST_GATE_STEP
from rvcnn.passes import optimise

from .bias import bias_of, correct, watched
from .calibrations import calibration as calibration_named
from .equalise import choose, folded
from .layout import byte_maps, byte_nodes, reads_pixels
from .params import QuantParams
from .recipe import Quantization, is_depthwise
from .record import Recorder
from .tensor import QuantizedTensor

LARGEST_START = 2**22
"""Steps of a layer's sums that a bias comes to at the most."""


def calibrate(
    model, images, calibration="mse", *, correct_bias=True, ties="even", progress=lambda: None
) -> Quantization:
    """Choose how a network's weights and maps are held as bytes.

    Weights are rounded for each output channel. Maps have a scale for each channel where no reader
    mixes channels, or where that is the better choice although the readers' weights must take it in
    (:mod:`rvcnn.quantization.equalise`); what is summed stays float32. Then biases take up what
    rounding changes on average (:mod:`rvcnn.quantization.bias`).

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
        Called after each image of each of ``passes(model, correct_bias)`` passes.

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
    activations, gated = {}, _hard_swishes(graph)
    for name, how in held.items():
        readers = [n for n in nodes.values() if n.inputs[0] == name]
        weights = [n.params["weight"] for n in readers if not how.per_channel]
        params = choose(choice, values[name], weights)
        if name in gated:
            params = replace(params, scale=np.maximum(params.scale, SMALLEST_GATE_STEP))
        activations[name] = params
    if reads_pixels(graph) and (pixels := _pixels(line)):
        activations[INPUT] = pixels
    weights = {n.name: _rounded(n, activations, ties) for n in nodes.values()}
    biases = {n.name: bias_of(n) for n in nodes.values()}
    real = frozenset(name for name, h in held.items() if h.real)
    quantization = Quantization(weights, biases, activations, real)
    return correct(quantization, recorder) if correct_bias else quantization


def passes(model, correct_bias=True) -> int:
    """How often :func:`calibrate` runs each image."""
    return 2 + (2 + len(watched(optimise(model._layers))) if correct_bias else 0)


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


def _hard_swishes(graph):
    """Nodes whose results the kernels compute in steps that have a least size."""
    return {n.name for n in graph.nodes if getattr(n.op, "activation", "") == "hard_swish"}


def _rounded(node, activations, ties):
    weight, least = node.params["weight"], 0.0
    if (source := activations.get(node.inputs[0])) is not None:
        scale = source.scale
        if source.per_channel and not is_depthwise(node.op):
            weight, scale = folded(weight, scale), 1.0
        least = np.abs(bias_of(node)) / (scale * LARGEST_START)
    return QuantizedTensor.from_weights_per_channel(weight, ties, least)
