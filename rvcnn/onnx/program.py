"""A network made ready for inputs of given shapes: steps on arrays and on rvcnn's plans."""

import threading

import numpy as np

from rvcnn import ops
from rvcnn.graph import INPUT
from rvcnn.ops.base import NO_BORDER
from rvcnn.passes import finish, fuse_quantize, optimise
from rvcnn.plan import Plan

from .control import results
from .fold import fold
from .lower import Part, lower
from .operators import OPERATORS
from .order import reads


class Program:
    """A network for inputs of given shapes; safe to share between threads.

    Parameters
    ----------
    network : Network
    shapes : mapping of str to tuple of int
        Of all inputs.
    dtypes : mapping of str to dtype
    threads : int
        Threads that compute one image together.
    """

    def __init__(self, network, shapes, dtypes, threads=1):
        folded, facts = fold(network, shapes, dtypes)
        steps = lower(folded, facts)
        self._steps = [
            PlanStep(step, facts.shapes[step.source], threads)
            if isinstance(step, Part)
            else NodeStep(step, facts.values, network.opset)
            for step in steps
        ]
        self._outputs = [value.name for value in network.outputs]
        wanted = {name for step in steps for name in _reads(step)} | set(self._outputs)
        self._constants = {n: v for n, v in facts.values.items() if n in wanted}
        self._done = _last_reads(steps, self._outputs)

    @property
    def plans(self):
        """The plans among the steps."""
        return [step.plan for step in self._steps if isinstance(step, PlanStep)]

    @property
    def nodes(self):
        """The nodes that run on arrays."""
        return [step.node for step in self._steps if isinstance(step, NodeStep)]

    def run(self, given):
        """Outputs for inputs by name."""
        values = self._constants | given
        for step, done in zip(self._steps, self._done, strict=True):
            values.update(step.run(values))
            for name in done:
                values.pop(name, None)
        return [values[name] for name in self._outputs]


class NodeStep:
    """A node that runs on arrays."""

    def __init__(self, node, constants, opset):
        self.node = node
        self._opset = opset
        operator = OPERATORS.get(node.kind)
        self._packed = operator and operator.packed(node.inputs, constants)

    def run(self, values):
        """Results by the values' names."""
        made = results(self.node, values, self._opset, self._packed)
        return dict(zip(self.node.outputs, made, strict=False))


class PlanStep:
    """A part of a network as a plan: (N, C, H, W) arrays in and out, an image at a time.

    Vectors (N, C) are the pixels of one image where no layer looks beyond a pixel.
    """

    def __init__(self, part, shape, threads):
        images, channels, *size = shape
        self._source = part.source
        self._shapes, self._dtypes = part.shapes, part.dtypes
        self._is_one = not size and all(_is_pointwise(node.op) for node in part.graph.nodes)
        self._last = frozenset() if self._is_one else part.last
        graph = finish(fuse_quantize(optimise(part.graph)))
        shape = (*(size or (1, images if self._is_one else 1)), channels)
        self.plan = Plan(graph, shape, () if INPUT in graph.stored else None)
        places = {name: i for i, name in enumerate(graph.outputs)}
        self._places = {name: places[m] for name, m in part.results.items()}
        self._threads = threads

    def run(self, values):
        """Results by the values' names."""
        image = self.plan.input_shape
        results = {
            name: np.empty(shape, self._dtypes[name]) for name, shape in self._shapes.items()
        }
        source = values[self._source]
        if source.dtype == np.int8:
            source = source ^ np.int8(-128)
        images = _as_bytes(self._images(source))
        count = image[1] if self._is_one else len(images)
        made = {name: _as_bytes(value.reshape(count, -1)) for name, value in results.items()}
        if self._is_one:
            made = {name: value.T[None] for name, value in made.items()}
        for i, x in enumerate(images):
            pixels = _channels_last(x.reshape(image[2], *image[:2]))
            maps = self.plan.run(pixels, self._threads)
            for name, place in self._places.items():
                lying = maps[place] if name in self._last else maps[place].transpose(2, 0, 1)
                made[name][i] = lying.reshape(made[name].shape[1:])
        for value in results.values():
            if value.dtype == np.int8:
                value ^= np.int8(-128)
        return results

    def _images(self, value):
        """A value's images, (C, ...) each."""
        return value.reshape(len(value), -1).T[None] if self._is_one else value


FEW = 4
"""Channels that NumPy interleaves faster one by one than by a transposition."""


def _channels_last(x):
    """(C, H, W) as a contiguous (H, W, C) array."""
    if len(x) > FEW:
        return np.ascontiguousarray(x.transpose(1, 2, 0))
    pixels = np.empty((*x.shape[1:], len(x)), x.dtype)
    for channel, values in enumerate(x):
        pixels[..., channel] = values
    return pixels


def _as_bytes(value):
    """Integers of a byte without regard for their sign."""
    return value.view(np.uint8) if value.dtype == np.int8 else value


def _is_pointwise(op):
    """Whether each pixel that a layer makes depends on that pixel alone."""
    if isinstance(op, ops.QuantizedConv2d):
        op = op.conv
    if isinstance(op, ops.Conv2d):
        return op.kernel == op.stride == (1, 1) and op.padding == NO_BORDER
    return isinstance(op, _POINTWISE)


_POINTWISE = (
    *(ops.Activation, ops.Add, ops.BatchNorm, ops.ClipCurve, ops.Concat, ops.Multiply, ops.Tanh),
    ops.LayerNorm,
    *(ops.ShuffleChannels, ops.SliceChannels, ops.TakeChannels),
    *(ops.Dequantize, ops.Lookup, ops.Quantize, ops.QuantizedAdd, ops.QuantizedConcat),
)


def _reads(step):
    return {step.source} if isinstance(step, Part) else reads(step)


def _last_reads(steps, outputs):
    """For each step, the values that nobody reads after it."""
    seen, last = set(outputs), []
    for step in reversed(steps):
        made = step.results if isinstance(step, Part) else step.outputs
        touched = _reads(step) | {name for name in made if name}
        last.append(touched - seen)
        seen |= touched
    return last[::-1]


class Programs:
    """The programs that were asked for last, by the inputs' shapes.

    Parameters
    ----------
    network : Network
    threads : int
    kept : int
    """

    def __init__(self, network, threads=1, kept=8):
        self._network, self._threads, self._kept = network, threads, kept
        self._programs = {}
        self._lock = threading.Lock()

    def of(self, given) -> Program:
        """The program for arrays by name."""
        key = tuple((name, array.shape, array.dtype.str) for name, array in given.items())
        with self._lock:
            if key not in self._programs:
                shapes = {name: array.shape for name, array in given.items()}
                dtypes = {name: array.dtype for name, array in given.items()}
                self._programs[key] = Program(self._network, shapes, dtypes, self._threads)
            self._programs[key] = self._programs.pop(key)
            while len(self._programs) > self._kept:
                del self._programs[next(iter(self._programs))]
            return self._programs[key]
