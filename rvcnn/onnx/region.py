"""A part of a network that becomes one of rvcnn's graphs: from one value to any number of others.

A value (N, C, H, W) is the (H, W, C) map of each of N images, and so is one whose elements lie in
that order, as (N, H, W, C) or the tokens (N, T, C). What only moves elements, pads, or is
a function of each element by itself is held back until a layer needs the result, and then becomes
one node, or part of the layer.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.graph import INPUT, Graph, Node, Stored
from rvcnn.kernels.channels import shuffled
from rvcnn.ops import (
    Activation,
    BatchNorm,
    ClipCurve,
    ConstantMap,
    Crop,
    Dequantize,
    Lookup,
    Op,
    ShuffleChannels,
    SliceChannels,
    TakeChannels,
    TakePixels,
)

from .curves import IDENTITY, Curve

NO_PAD = ((0, 0), (0, 0))


MOVED = 1 << 24
"""Most elements whose places are followed through reshapes and transpositions."""

MOST_PIXELS = 1 << 16
"""Most pixels that are taken one by one."""


class Apart(Exception):
    """What cannot be said in rvcnn's graph; it runs on arrays."""


class Reading(NamedTuple):
    """What the bytes of a map stand for.

    Attributes
    ----------
    table : ndarray
        (256,) float32: the real value of each; or uint8: another byte.
    line : Stored or None
        Scale and zero point, where real values are those of a line.
    through : ndarray or None
        (256,) uint8: what stands for ``line`` is that of each byte, not the byte.
    """

    table: np.ndarray
    line: Stored | None = None
    through: np.ndarray | None = None


def line_of(stored):
    """Bytes read as real values."""
    values = np.arange(256, dtype=np.float32) - np.float32(stored.zero)
    return Reading(values * np.float32(stored.scale), stored)


@dataclass(frozen=True, eq=False)
class Term:
    """What a value is: a map, and what is still to be done to it: one thing at most.

    Only a line may be due beside a move, after which it is the same line.

    Attributes
    ----------
    region : Region
    map : str
        A node of the region's graph, or ``INPUT``.
    curve : Curve
        A function of each element.
    pad : tuple of tuple
        Zeros (or ``fill``) round the map.
    fill : float
    moved : ndarray or None
        For every element of the value, its place in the (N, C, H, W) array of the map.
    reading : Reading or None
        What the bytes of the map stand for, where they stand for real values.
    last : bool
        Whether the value's elements lie as in (N, H, W, C), its last axis being the channels.
    scores : Scores or None
        What it is instead of a map: see :mod:`~rvcnn.onnx.tokens`.
    held : tuple or None
        Of a value of wider integers, whose real values the map holds: their type, scale and zero
        point.
    """

    region: "Region"
    map: str
    curve: Curve = IDENTITY
    pad: tuple = NO_PAD
    fill: float = 0.0
    moved: np.ndarray | None = None
    reading: Reading | None = None
    last: bool = False
    scores: Any = None
    held: tuple | None = None

    @property
    def has_vectors(self):
        """Whether its curve is another one for each channel."""
        return bool(np.ndim(self.curve.scale) or np.ndim(self.curve.shift))

    @property
    def is_plain(self):
        """Whether it is the map itself, in some shape."""
        if any(due is not None for due in (self.moved, self.scores, self.reading)):
            return False
        return self.pad == NO_PAD and self.curve.is_identity

    @property
    def is_vector(self):
        """Whether its map is one pixel, which lies the same way in either order."""
        return self.region.shapes[self.map][:2] == (1, 1)


class Region:
    """Nodes of a graph that grows from one value.

    Parameters
    ----------
    source : str
        The value that is the graph's input.
    shape : tuple of int
        Its shape: (N, C, H, W) or (N, C).

    Attributes
    ----------
    nodes : list of graph.Node
        With their parameters.
    shapes : dict of str to tuple of int
        (H, W, C) of every map.
    stored : dict of str to Stored
        Maps that are held as bytes.
    read : set of str
        Maps of bytes of which it is known what they stand for.
    """

    def __init__(self, source, shape, stored=None):
        self.source = source
        self.images, channels, *size = shape
        self.shapes = {INPUT: (*(size or (1, 1)), channels)}
        self.nodes = []
        self.stored = {} if stored is None else {INPUT: stored}
        self.read = set()
        self._made, self._placed, self._copies = {}, {}, {}

    def add(self, name, op: Op, *inputs, **params) -> Term:
        """Append a node; its result as a term.

        Raises
        ------
        Apart
            If the operator does not take such maps.
        """
        if {key: value.shape for key, value in params.items()} != op.parameters():
            raise Apart("parameters of other shapes")
        if self.stored.keys() & inputs:
            raise Apart("bytes")
        return self._appended(name, op, inputs, params)

    def add_bytes(self, name, op: Op, *inputs, stored=None, **params) -> Term:
        """Append a node that reads or stores bytes; its result as a term.

        Parameters
        ----------
        name : str
        op : Op
        *inputs : str
        stored : Stored, optional
            What the bytes of the result stand for; without it, it is of real values.
        **params : ndarray
            As the operator takes them.

        Raises
        ------
        Apart
            If the operator does not take such maps.
        """
        term = self._appended(name, op, inputs, params)
        if stored is not None:
            self.stored[term.map] = stored
        return term

    def _appended(self, name, op, inputs, params):
        name = f"{name}/" if name == INPUT else name  # an ONNX value may be called so too
        if name in self.shapes:
            raise Apart(f"two layers called {name}")
        try:
            shape = op.infer(*(self.shapes[i] for i in inputs))
        except ShapeError as error:
            raise Apart(str(error)) from None
        self.nodes.append(Node(name, op, inputs, params))
        self.shapes[name] = shape
        return Term(self, name)

    def constant(self, name, value) -> Term:
        """A map (H, W, C) of numbers."""
        height, width, channels = value.shape
        numbers = np.array(value, np.float32).reshape(-1)
        return self.add(name, ConstantMap((height, width), channels), INPUT, value=numbers)

    def lined(self, term: Term) -> Term:
        """The same value as a term whose bytes are themselves, or those of a line if they can."""
        if term.reading is None:
            return term
        table, line, through = term.reading
        if table.dtype == np.uint8:
            return replace(term, map=self._looked_up(term.map, table, line), reading=None)
        if through is None:
            return term
        return replace(term, map=self._looked_up(term.map, through, line), reading=line_of(line))

    def real(self, term: Term) -> Term:
        """The same value as a term of real values, or of bytes that are themselves."""
        term = self.lined(term)
        if term.reading is None:
            return term
        table, line, _ = term.reading
        if line is None:
            return replace(term, map=self._looked_up(term.map, table), reading=None)
        key = term.map, line
        if key not in self._copies:
            name, (scale, zero) = f"{term.map}/real {len(self._copies)}", np.atleast_1d(*line)
            made = self.add_bytes(name, Dequantize(), term.map, in_scale=scale, in_zero=zero)
            self._copies[key] = made.map
        return replace(term, map=self._copies[key], reading=None)

    def _looked_up(self, name, table, stored=None):
        """The map of a function of each byte of another."""
        key = name, table.tobytes()
        if key not in self._copies:
            copy = f"{name}/table {len(self._copies)}"
            made = self.add_bytes(copy, Lookup(), name, stored=stored, table=table)
            self._copies[key] = made.map
        return self._copies[key]

    def known(self) -> Term:
        """The region's source as a term."""
        return Term(self, INPUT)

    def made(self, name, term) -> Term:
        """The term of a value, or the node that it has become."""
        return self._made.get((name, term.map, term.reading is None), term)

    def whole(self, name):
        """Shape (N, C, H, W) of a map over all images."""
        height, width, channels = self.shapes[name]
        return (self.images, channels, height, width)

    def settle(self, name, term: Term, shape) -> Term:
        """The term with nothing left to be done: its value's elements lie as its map's do.

        Parameters
        ----------
        name : str
            Of the value, and so of the node.
        term : Term
        shape : tuple of int
            The value's.

        Raises
        ------
        Apart
            If that takes more than rvcnn's operators.
        """
        key = name, term.map, term.reading is None
        if key not in self._made:
            self._made[key] = self._settled(name, term, shape)
        return self._made[key]

    def _settled(self, name, term, shape):
        if term.scores is not None:
            raise Apart("scores by themselves")
        term = self.placed(name, term, shape)
        if term.pad != NO_PAD:
            raise Apart("padding by itself")
        if term.curve.is_identity:
            return replace(term, curve=IDENTITY)
        return replace(self._bent(name, term), last=term.last)

    def _bent(self, name, term):
        curve = term.curve
        if curve.is_line:
            channels = self.shapes[term.map][2]
            scale, shift = (np.broadcast_to(v, channels) for v in (curve.scale, curve.shift))
            zero, one = np.zeros(channels, np.float32), np.ones(channels, np.float32)
            params = dict(weight=np.float32(scale), bias=np.float32(shift))
            statistics = dict(running_mean=zero, running_var=one)
            return self.add(name, BatchNorm(channels, 0.0), term.map, **params, **statistics)
        known = curve.activation()
        if known is not None:
            return self.add(name, Activation(known, curve.slope), term.map)
        if curve.name:
            raise Apart(curve.name)
        numbers = map(float, (curve.scale, curve.shift, curve.low, curve.high))
        return self.add(name, ClipCurve(*numbers, curve.gate), term.map)

    def placed(self, name, term: Term, shape) -> Term:
        """The term with its elements where they belong, but for the rest as :meth:`settle` does."""
        if term.moved is None:
            return term
        key = name, term.map, term.reading is None
        if key not in self._placed:
            own = name if term.curve.is_identity else f"{name}/taken"
            taken = self._taken(own, term, shape)
            kept = {"curve": term.curve, "reading": term.reading, "held": term.held}
            self._placed[key] = replace(taken, **kept)
        return self._placed[key]

    def _taken(self, name, term, shape):
        found, size, last = self.lies(term, shape)
        return replace(self.take(name, term.map, *found, size), last=last)

    def lies(self, term, shape):
        """How channels and pixels of a map make a value whose elements were moved.

        Returns
        -------
        found : tuple of ndarray
            Channels and pixels, as :meth:`take` has them.
        size : tuple of int
        last : bool
            Whether the value's last axis is the channels.

        Raises
        ------
        Apart
            If they do not.
        """
        order = self.order(term)
        if not order.size:
            raise Apart("no elements")
        if len(shape) in (2, 3, 4) and shape[0] == self.images:
            found = self.parted(order.reshape(shape[1], -1), term.map)
            if found is not None:
                return found, (*(1,) * (4 - len(shape)), *shape[2:]), False
        tokens = order.reshape(-1, shape[-1])
        found = self.parted(tokens.T, term.map)
        if found is None:
            raise Apart("elements moved between pixels")
        whole = len(shape) == 4 and shape[0] == self.images
        return found, shape[1:3] if whole else (1, len(tokens)), True

    def parted(self, places, source):
        """Channels and pixels of a map whose elements (C, P) have these places; None if none has.

        Places are those in the map's (C, H, W).
        """
        pixels = self.shapes[source][0] * self.shapes[source][1]
        channels, taken = places[:, 0] // pixels, places[0] % pixels
        fits = np.array_equal(places, channels[:, None] * pixels + taken)
        return (channels, taken) if fits else None

    def take(self, name, source, channels, pixels, size) -> Term:
        """A map of ``size`` of some channels and pixels of another, in an order."""
        found, size = self.shapes[source], tuple(size)
        ops = (_take(channels, found[2]), _take_pixels(pixels, size, found[:2]))
        ops = [op for op in ops if op is not None]
        term = Term(self, source)
        for i, op in enumerate(ops, 1):
            own, x = name if i == len(ops) else f"{name}/channels", term.map
            if isinstance(op, SliceChannels) and x in self.stored:
                term = self.add_bytes(own, op, x, stored=self.stored[x])
            else:
                term = self.add(own, op, x)
        return term

    def order(self, term):
        """For each element of a value's first image, its place among the map's (C, H, W).

        Raises
        ------
        Apart
            If elements pass from image to image.
        """
        height, width, channels = self.shapes[term.map]
        size = channels * height * width
        if term.moved is None:
            return np.arange(size)
        if term.moved.size % self.images:
            raise Apart("images put together")
        places = term.moved.reshape(self.images, -1)
        if not np.array_equal(places, places[0] + np.arange(self.images)[:, None] * size):
            raise Apart("elements moved between images")
        return places[0]

    def is_in_order(self, term):
        """Whether a value whose elements were moved has all of them in the map's order."""
        if term.moved is None or term.moved.size != np.prod(self.whole(term.map)):
            return False
        order = self.order(term)
        return bool(np.array_equal(order, np.arange(len(order))))

    def places(self, term, shape):
        """Where the elements of a value of this shape come from, as ``Term.moved`` has it."""
        if term.moved is not None:
            return term.moved
        if np.prod(shape) > MOVED:
            raise Apart("too many elements to follow")
        whole = self.whole(term.map)
        places = np.arange(np.prod(whole)).reshape(whole)
        return (places.transpose(0, 2, 3, 1) if term.last else places).reshape(shape)

    def moved(self, term: Term, places) -> Term:
        """A value whose elements have these places, as ``Term.moved`` has them, of a term's map."""
        images, channels, *size = self.whole(term.map)
        is_whole = places.size == images * channels * np.prod(size)
        in_rows = size[0] == 1 or places.shape[1:3] == tuple(size)
        in_rows = in_rows and places.ndim > (2 if size == [1, 1] else 1)
        if is_whole and in_rows and places.shape[-1:] == (channels,):
            lying = places.reshape(images, *size, channels).transpose(0, 3, 1, 2)
            if np.array_equal(lying.reshape(-1), np.arange(places.size)):
                return replace(term, moved=None, last=True)
        return replace(term, moved=places, last=False)

    def graph(self, outputs) -> Graph:
        """The graph of the nodes that the outputs need."""
        return Graph(tuple(self.nodes), tuple(outputs), self.stored).cut(outputs)


def _crop(first, size, whole):
    """The operator that takes pixels from ``first`` on; None if it takes all."""
    edges = zip(first, size, whole, strict=True)
    sides = tuple((before, n - before - length) for before, length, n in edges)
    return None if sides == NO_PAD else Crop(sides)


def _take_pixels(pixels, size, found):
    """The operator that makes a map of ``size`` of these pixels; None if it has them so."""
    every = np.arange(found[0] * found[1])
    if np.array_equal(pixels, every):
        return None if size == found else TakePixels((), size)
    top, left = divmod(int(pixels[0]), found[1])
    inside = every.reshape(found)[top : top + size[0], left : left + size[1]]
    if np.array_equal(pixels, inside.reshape(-1)):
        return _crop((top, left), size, found)
    if len(pixels) > MOST_PIXELS:
        raise Apart("too many pixels to take")
    return TakePixels(tuple(int(p) for p in pixels), size)


def _take(order, channels):
    """The operator that takes channels in this order; None if it takes all as they are."""
    first, count = int(order[0]), len(order)
    if np.array_equal(order, np.arange(first, first + count)):
        return None if count == channels else SliceChannels(first, first + count)
    for groups in range(2, channels if count == channels else 0):
        if channels % groups == 0 and np.array_equal(order, shuffled(channels, groups)):
            return ShuffleChannels(groups)
    return TakeChannels(tuple(int(c) for c in order))
