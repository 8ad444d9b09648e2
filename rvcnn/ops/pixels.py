"""Pixels put together and in another order, and maps of numbers."""

import math
from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import Map, elementwise, pixels

from .base import Op


@dataclass(frozen=True)
class TakePixels(Op):
    """Some pixels, in an order.

    Attributes
    ----------
    order : tuple of int
        For every pixel of the result, the input's, both in raster order; none for all as they are.
    size : tuple of int
        Rows and columns of the result.
    """

    order: tuple[int, ...]
    size: tuple[int, int]

    def _order(self, x):
        return self.order or range(x[0] * x[1])

    def infer(self, x):
        order = self._order(x)
        if len(order) != math.prod(self.size) or not 0 <= min(order) <= max(order) < x[0] * x[1]:
            raise ShapeError(f"an input of {x} has not the pixels that are taken")
        return (*self.size, x[2])

    def reference(self, params, x):
        return x.reshape(-1, x.shape[2])[list(self._order(x.shape))].reshape(*self.size, -1)

    def lower(self, params, out, x):
        order = self._order((x.height, x.width))
        return pixels.move(out, x, range(len(order)), order)


@dataclass(frozen=True)
class ConcatPixels(Op):
    """The pixels of several maps one after another, in one row.

    Attributes
    ----------
    counts : tuple of int
        Pixels of each map.
    """

    counts: tuple[int, ...]

    def infer(self, *inputs):
        found = tuple(x[0] * x[1] for x in inputs)
        if found != self.counts or len({x[2] for x in inputs}) != 1:
            raise ShapeError(f"expected maps of {self.counts} pixels, got {inputs}")
        return (1, sum(self.counts), inputs[0][2])

    def reference(self, params, *inputs):
        return np.concatenate([x.reshape(-1, x.shape[2]) for x in inputs])[None]

    def lower(self, params, out, *inputs):
        calls, first = [], 0
        for x in inputs:
            count = x.height * x.width
            calls += pixels.move(out, x, range(first, first + count), range(count))
            first += count
        return calls


@dataclass(frozen=True)
class ConstantMap(Op):
    """A map of numbers, whatever its input."""

    size: tuple[int, int]
    channels: int

    def parameters(self):
        return {"value": (math.prod(self.size) * self.channels,)}

    def infer(self, x):
        return (*self.size, self.channels)

    def reference(self, params, x):
        return np.float64(params["value"]).reshape(*self.size, -1)

    def lower(self, params, out, x):
        value = np.ascontiguousarray(params["value"], np.float32)
        return elementwise.copy(out, Map.of(value.reshape(*self.size, self.channels)))
