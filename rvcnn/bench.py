"""How fast a network runs on this machine, layer by layer, against what the machine can do."""

import math
from collections import defaultdict
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .errors import ShapeError
from .graph import INPUT
from .kernels import BARRIER, Call, Program
from .ops import QuantizedConv2d
from .ops.base import Shape
from .peak import Peak, timed
from .plan import IMAGE
from .team import team_of

PIXELS = (np.full(3, 2 / 255, np.float32), np.full(3, -1, np.float32))
"""Scale and shift that bring uint8 pixels to [-1, 1]."""

IMAGES = 32
"""Images of one measurement of a stream."""

PASSES = 8
"""Passes layer by layer, and images one by one, between two measurements of a stream."""


class Layer(NamedTuple):
    """A step of a plan: one node of the optimised graph, or the input's conversion.

    Attributes
    ----------
    name : str
        The node's.
    kind : str
        The operator's class, or "Input".
    inputs : tuple of tuple
        Shapes (H, W, C) of what it reads.
    output : tuple of int
        Shape of what it writes.
    weights : tuple of tuple
        Shapes of its parameters that have more than one axis.
    calls : tuple of Call
    arithmetic : str
        "int8" where it multiplies bytes, else "fp32".
    map_bytes : int
        Bytes of the maps it reads and writes.
    weight_bytes : int
        Bytes of its weights, without biases.
    """

    name: str
    kind: str
    inputs: tuple[Shape, ...]
    output: Shape
    weights: tuple[tuple[int, ...], ...]
    calls: tuple[Call, ...]
    arithmetic: str
    map_bytes: int
    weight_bytes: int

    @property
    def kernels(self):
        """Names of the kernels it calls, without those that write a border."""
        names = dict.fromkeys(call.kernel.name for call in self.calls)
        return [name for name in names if not name.endswith("_border")]

    @property
    def flops(self):
        """Multiplications and additions of a convolution or product; 0 for other layers."""
        pixels = self.output[0] * self.output[1]
        return 2 * pixels * sum(int(np.prod(shape)) for shape in self.weights)


def layers(plan):
    """The steps of a plan with their sizes.

    Parameters
    ----------
    plan : Plan

    Returns
    -------
    list of Layer
        In order; together they compute what the plan does.
    """
    return [_layer(plan, step) for step in plan.steps]


def _layer(plan, step):
    calls, node = tuple(c for c in step.calls if c is not BARRIER), step.node
    if node is None:
        shape = plan.input_shape
        moved = math.prod(shape) * plan.input_dtype.itemsize + plan.map_bytes(INPUT)
        return Layer(INPUT, "Input", (shape,), shape, (), calls, "fp32", moved, 0)
    weights = [w for w in node.params.values() if w.ndim > 1]
    return Layer(
        node.name,
        type(node.op).__name__,
        tuple(plan.shapes[i] for i in node.inputs),
        plan.shapes[node.name],
        tuple(w.shape for w in weights),
        calls,
        "int8" if isinstance(node.op, QuantizedConv2d) else "fp32",
        sum(plan.map_bytes(name) for name in (*node.inputs, node.name)),
        sum(w.nbytes for w in weights),
    )


class LayerClock:
    """Times the layers of a plan one by one in a workspace of their own.

    Parameters
    ----------
    plan : Plan
    layers : list of Layer
    image : ndarray
        What the plan takes.
    """

    def __init__(self, plan, layers, image):
        self._workspace = plan.workspace()
        buffers = self._workspace.buffers | {IMAGE: np.ascontiguousarray(image)}
        self.programs = [Program(layer.calls, buffers) for layer in layers]
        self._nothing = Program([], buffers)

    def sample(self):
        """Seconds of each layer in one pass through the network, as (layers,) float64.

        What starting an empty program takes is subtracted.
        """
        nothing = min(timed(self._nothing) for _ in range(3))
        return np.maximum([timed(program) - nothing for program in self.programs], 1e-9)


class LayerTime(NamedTuple):
    """A layer, its median time, and what that comes to; None where it does no products."""

    layer: Layer
    microseconds: float
    gflops: float | None
    percent_of_peak: float | None


class Report(NamedTuple):
    """A network's speed on this machine.

    Attributes
    ----------
    model : str
    precision : str
    input_size : int
    layers : list of LayerTime
        On one thread, one layer after another. The network runs its largest maps by bands of rows,
        two layers at a time, so it may take less than their sum.
    image_ms : float
        The whole network, one image on one thread, in one call.
    peak_gflops : float
        What registers alone allow one thread.
    threads : int
    image_ms_threads : float
        One image on that many threads together.
    images_per_second : float
        A stream of images on that many threads.
    peak_gflops_threads : float
        What registers alone allow that many threads together.
    """

    model: str
    precision: str
    input_size: int
    layers: list[LayerTime]
    image_ms: float
    peak_gflops: float
    threads: int
    image_ms_threads: float
    images_per_second: float
    peak_gflops_threads: float


def measure(model, size=None, threads=1, seconds=2.0):
    """Measure a model layer by layer.

    Everything is measured in turns, so that a change of the clock or a busy neighbour meets all
    alike, and given as medians.

    Parameters
    ----------
    model : Model
    size : int, optional
        Side of the square image; by default what the architecture is made for.
    threads : int
    seconds : float
        How long to measure.

    Returns
    -------
    Report

    Raises
    ------
    ShapeError
        If the model takes no image that small.
    """
    kind = model.architecture
    size = size or kind.input_size
    if size < kind.smallest_input:
        raise ShapeError(f"{kind.name} takes images from {kind.smallest_input} pixels up")
    plan = model.plan((size, size), PIXELS)
    parts = layers(plan)
    image = np.random.default_rng(0).integers(0, 256, plan.input_shape, np.uint8)
    team = team_of(threads)
    clock = LayerClock(plan, parts, image)
    peaks = {n: Peak(model.precision, n) for n in {1, threads}}
    samples = defaultdict(list)
    plan.run(image, threads)

    def one_of_many(i):
        plan.run(image)

    end = perf_counter() + seconds
    while len(samples["stream"]) < 3 or perf_counter() < end:
        for _ in range(PASSES):
            samples["peak", 1].append(peaks[1].sample())
            samples["layers"].append(clock.sample())
            samples["image", 1].append(_seconds(plan.run, image))
            samples["image", threads].append(_seconds(plan.run, image, threads))
        if threads > 1:
            samples["peak", threads].append(peaks[threads].sample())
        samples["stream"].append(_seconds(team.each, one_of_many, IMAGES) / IMAGES)
    medians = {key: np.median(values, axis=0) for key, values in samples.items()}
    return _report(model, size, parts, threads, medians)


def _seconds(function, *args):
    start = perf_counter()
    function(*args)
    return perf_counter() - start


def _report(model, size, parts, threads, medians):
    precision, peak = model.precision, float(medians["peak", 1])
    times = []
    for layer, taken in zip(parts, medians["layers"], strict=True):
        gflops = layer.flops / taken / 1e9 if layer.flops else None
        percent = 100 * gflops / peak if gflops and layer.arithmetic == precision else None
        times.append(LayerTime(layer, taken * 1e6, gflops, percent))
    return Report(
        model=model.architecture.name,
        precision=precision,
        input_size=size,
        layers=times,
        image_ms=float(medians["image", 1]) * 1e3,
        peak_gflops=peak,
        threads=threads,
        image_ms_threads=float(medians["image", threads]) * 1e3,
        images_per_second=1 / float(medians["stream"]),
        peak_gflops_threads=float(medians["peak", threads]),
    )
