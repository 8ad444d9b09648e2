"""From a graph and an input size to a flat program of kernel calls over one arena."""

import functools
import math
from collections import deque
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .arena import Lifetime, arrange
from .bands import banded, pays
from .graph import INPUT, Graph, Node
from .kernels import (
    BARRIER,
    At,
    Call,
    Map,
    Program,
    divide,
    elementwise,
    elementwise_u8,
    fetch_ahead,
    gathered,
    room,
)
from .ops.base import NO_BORDER, Shape
from .team import team_of

ARENA, BYTES, IMAGE = "arena", "bytes", "image"
"""Buffers of a plan: the arena as float32, the same as uint8, and what is run."""

SCRATCH = "scratch"
"""With a node's name: the memory that its step alone uses."""

SLACK = 64
"""Bytes after a map of bytes that a kernel may read."""


class Step(NamedTuple):
    """What computes one map.

    Attributes
    ----------
    node : Node or None
        None for the input's conversion.
    calls : list of Call and BARRIER
        Buffers are symbols.
    """

    node: Node | None
    calls: list


class Layout:
    """How a map lies in the arena: dense rows, with a border where a reader wants one.

    The border right of a row is the border left of the next, so one gap serves both. It holds what
    stands for zero.

    Parameters
    ----------
    shape : tuple of int
        (H, W, C).
    border : tuple
        Pixels (above, below), (left, right).
    stored : Stored, optional
        How bytes hold its values; without it they are float32.
    """

    def __init__(self, shape, border, stored=None):
        self.height, self.width, self.channels = shape
        (self.top, self.bottom), (self.left, right) = border
        self.gap = max(self.left, right)
        self.row = (self.width + self.gap) * self.channels
        self.before = self.top * self.row + self.left * self.channels
        self.length = self.before + (self.height + self.bottom) * self.row
        self.stored = stored
        self.itemsize = 1 if stored else 4
        self.size = self.length * self.itemsize + (SLACK if stored else 0)

    def map(self, offset):
        """The map of a buffer at this offset of the arena."""
        return Map(
            BYTES if self.stored else ARENA,
            offset // self.itemsize + self.before,
            self.height,
            self.width,
            self.channels,
            self.row,
            self.channels,
        )

    def border(self, offset):
        """Calls that write the border, if there is one."""
        if not (self.before or self.gap or self.bottom):
            return []
        after = self.length - self.before - self.height * self.row
        if self.stored:
            zero = np.broadcast_to(np.rint(self.stored.zero), self.channels).astype(np.uint8)
            before, after = self.before // self.channels, after // self.channels
            sizes = (self.channels, before, self.height, self.width, self.gap, after)
            return [Call(elementwise_u8.u8_fill_border(), (At(BYTES, offset), zero, *sizes))]
        length, gap = self.width * self.channels, self.gap * self.channels
        args = (At(ARENA, offset // 4), self.before, self.height, length, gap, after)
        return [Call(elementwise.f32_zero_border(), args)]


class Plan:
    """A network made ready for one input size: immutable, shared by any number of threads.

    Parameters
    ----------
    graph : Graph
        Bound to its weights.
    input_shape : tuple of int
        (H, W, 3).
    pixels : tuple of ndarray, optional
        Scale and shift of each channel: the plan then takes uint8 pixels, and
        ``pixel * scale + shift`` is the network's input. Without it, it takes float32. A graph
        whose input is stored as bytes takes those pixels as they are.

    Attributes
    ----------
    steps : tuple of Step
        The input's conversion, then one step a node that is no view.
    arena_size : int
        Bytes of one workspace.
    outputs : list of Map
        Where each of the graph's outputs lies in the arena.
    """

    def __init__(self, graph: Graph, input_shape: Shape, pixels=None):
        self.input_shape = tuple(input_shape)
        self.input_dtype = np.dtype(np.float32 if pixels is None else np.uint8)
        self.shapes = graph.shapes(self.input_shape)
        self._holders = _holders(graph)
        nodes = [node for node in graph.nodes if not node.op.is_view]
        layouts = self._layouts(graph)
        self._itemsizes = {n: layouts[holder].itemsize for n, holder in self._holders.items()}
        offsets, self.arena_size = arrange(self._lifetimes(nodes, graph.outputs, layouts))
        maps = {name: layout.map(offsets[name]) for name, layout in layouts.items()}
        for node in graph.nodes:
            if node.op.is_view:
                maps[node.name] = node.op.view(maps[node.inputs[0]])
        image = Map(IMAGE, 0, *self.input_shape, np.prod(self.input_shape[1:]), input_shape[2])
        steps = [Step(None, _load(maps[INPUT], image, pixels, graph.stored.get(INPUT)))]
        for node in nodes:
            inputs = (maps[i] for i in node.inputs)
            own = offsets.get((SCRATCH, node.name))
            more = {} if own is None else {"scratch": At(ARENA, own // 4)}
            steps.append(Step(node, node.op.lower(node.params, maps[node.name], *inputs, **more)))
        for step, name in zip(steps, layouts, strict=True):
            step.calls[:0] = layouts[name].border(offsets[name])
        calls = gathered([step.calls for step in steps])
        self.steps = tuple(map(Step, (step.node for step in steps), calls))
        self.outputs = [maps[name] for name in graph.outputs]
        self._idle = {}

    def _layouts(self, graph):
        """Layout of every map that is no view: the widest border that any reader wants."""
        borders = dict.fromkeys(self._holders.values(), NO_BORDER)
        for node in graph.nodes:
            first = self._holders[node.inputs[0]]
            wanted = node.op.border(self.shapes[node.inputs[0]])
            borders[first] = tuple(
                tuple(map(max, mine, yours))
                for mine, yours in zip(borders[first], wanted, strict=True)
            )
        return {
            name: Layout(self.shapes[name], border, graph.stored.get(name))
            for name, border in borders.items()
        }

    def _lifetimes(self, nodes, outputs, layouts):
        """From the step that writes a map to the last that reads it; outputs live to the end."""
        first = {INPUT: 0} | {node.name: i for i, node in enumerate(nodes, 1)}
        last = dict(first)
        for i, node in enumerate(nodes, 1):
            last.update((self._holders[name], i) for name in node.inputs)
        for i, (dense, depthwise) in enumerate(pairwise(nodes), 1):
            if pays(dense, depthwise, self.shapes):
                held = (self._holders[name] for name in dense.inputs)
                last.update((name, max(last[name], i + 1)) for name in held)
        last.update((self._holders[name], len(nodes) + 1) for name in outputs)
        lives = {n: Lifetime(layouts[n].size, first[n], last[n]) for n in layouts}
        for i, node in enumerate(nodes, 1):
            if size := node.op.scratch(*(self.shapes[n] for n in node.inputs)):
                lives[SCRATCH, node.name] = Lifetime(4 * size, i, i)
        return lives

    def map_bytes(self, name):
        """Bytes of a map without its border."""
        return math.prod(self.shapes[name]) * self._itemsizes[name]

    def kernels(self):
        """The distinct kernels this plan calls."""
        calls = [call for step in self.steps for call in step.calls if call is not BARRIER]
        return list({call.kernel.name: call.kernel for call in calls}.values())

    def calls(self, threads=1):
        """The program for so many threads, its buffers still symbols.

        One thread goes through large maps by bands of rows, and asks for weights ahead of their
        use; several divide the larger calls.
        """
        if threads == 1:
            return fetch_ahead(banded(self.steps, self.shapes))
        calls = []
        for step in self.steps:
            for stage in _stages(step.calls):
                calls += [BARRIER, *_in_step([divide(call, threads) for call in stage])]
        return calls

    def workspace(self, threads=1):
        """Memory for one run at a time, on one or several threads."""
        return Workspace(self, threads)

    def run(self, image, threads=1):
        """Results for one image.

        Parameters
        ----------
        image : ndarray
            (H, W, 3), C-contiguous, of the plan's shape and dtype.
        threads : int
            Threads that compute this image together; the result does not depend on it.

        Returns
        -------
        list of ndarray
            An (H, W, C) copy of each output: float32, or uint8 where it is stored so.
        """
        idle = self._idle.setdefault(threads, deque())
        try:
            workspace = idle.pop()
        except IndexError:
            workspace = self.workspace(threads)
        results = workspace.run(image)
        idle.append(workspace)
        return results


def _holders(graph):
    """The map in whose memory each map lies: its own, or a view's input's."""
    holders = {INPUT: INPUT}
    for node in graph.nodes:
        holders[node.name] = holders[node.inputs[0]] if node.op.is_view else node.name
    return holders


def _load(out, image, pixels, stored):
    """Calls that bring what is run into the input's map."""
    if stored:
        if pixels is None:
            return elementwise_u8.quantize(out, image, *stored)
        return elementwise_u8.copy(out, image)
    if pixels is None:
        return elementwise.copy(out, image)
    return elementwise.normalise_u8(out, image, *pixels)


def _stages(calls):
    """Calls between barriers."""
    stages = [[]]
    for call in calls:
        if call is BARRIER:
            stages.append([])
        else:
            stages[-1].append(call)
    return stages


def _in_step(pieces):
    """One list of several lists' elements, so that any part of it has its share of each list."""
    placed = [((i + 0.5) / len(p), piece) for p in pieces for i, piece in enumerate(p)]
    return [piece for _, piece in sorted(placed, key=lambda pair: pair[0])]


class Workspace:
    """The memory of one run: the arena and the program that points into it."""

    def __init__(self, plan, threads=1):
        block = room(plan.arena_size)
        self.buffers = {ARENA: block.view(np.float32), BYTES: block}
        self._plan = plan
        self._program = Program(plan.calls(threads), self.buffers)
        self._results = [self._map(m) for m in plan.outputs]
        if threads == 1:
            self._start = self._program.run
        else:
            self._start = functools.partial(team_of(threads).run, *self._program.together())

    def run(self, image):
        """As :meth:`Plan.run`; not for two threads at once."""
        plan = self._plan
        if image.shape != plan.input_shape or image.dtype != plan.input_dtype:
            raise ValueError(
                f"this plan takes {plan.input_dtype} {plan.input_shape}, "
                f"not {image.dtype} {image.shape}"
            )
        image = np.ascontiguousarray(image)
        self._program.point(IMAGE, image)
        self._start()
        return [result.copy() for result in self._results]

    def _map(self, m):
        """A map as an array (H, W, C) in the arena."""
        buffer = self.buffers[m.buffer]
        steps = (m.row, m.pixel, 1)
        return np.lib.stride_tricks.as_strided(
            buffer[m.offset :],
            (m.height, m.width, m.channels),
            [step * buffer.itemsize for step in steps],
        )
