"""Maps of other sizes: pixels repeated or interpolated, and channels spread over pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import elementwise, interpolate, reference

from .base import Op, Sides


def _phase(out, y, x, block):
    """Every so many rows and columns of a map, from (y, x) on: a map of its own."""
    height, width = out.height // block[0], out.width // block[1]
    offset = out.offset + y * out.row + x * out.pixel
    rows, pixels = out.row * block[0], out.pixel * block[1]
    return out._replace(offset=offset, height=height, width=width, row=rows, pixel=pixels)


@dataclass(frozen=True)
class Crop(Op):
    """A map without some of its outer rows and columns.

    Attributes
    ----------
    sides : tuple of tuple
        Pixels that are cut off: ((above, below), (left, right)).
    """

    sides: Sides

    def infer(self, x):
        size = [n - sum(cut) for n, cut in zip(x[:2], self.sides, strict=True)]
        if min(size) < 1:
            raise ShapeError(f"nothing is left of {x} without {self.sides}")
        return (*size, x[2])

    def reference(self, params, x):
        (top, bottom), (left, right) = self.sides
        return x[top : x.shape[0] - bottom, left : x.shape[1] - right]

    def lower(self, params, out, x):
        (top, _), (left, _) = self.sides
        inner = x._replace(offset=x.at(top, left).offset, height=out.height, width=out.width)
        return elementwise.copy(out, inner)


@dataclass(frozen=True)
class Repeat(Op):
    """Every pixel as a block of so many rows and columns: enlargement by the nearest pixel."""

    block: tuple[int, int]

    def infer(self, x):
        return (x[0] * self.block[0], x[1] * self.block[1], x[2])

    def reference(self, params, x):
        return x.repeat(self.block[0], 0).repeat(self.block[1], 1)

    def lower(self, params, out, x):
        places = [(i, j) for i in range(self.block[0]) for j in range(self.block[1])]
        return [
            call for i, j in places for call in elementwise.copy(_phase(out, i, j, self.block), x)
        ]


Way = Literal["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]


def _half_pixel(at, n, m, scale):
    return (at + 0.5) / scale - 0.5


def _pytorch_half_pixel(at, n, m, scale):
    return _half_pixel(at, n, m, scale) if m > 1 else np.zeros_like(at)


def _align_corners(at, n, m, scale):
    return at * (n - 1) / (m - 1) if m > 1 else np.zeros_like(at)


def _asymmetric(at, n, m, scale):
    return at / scale


WAYS: Mapping[Way, Callable] = {
    "half_pixel": _half_pixel,
    "pytorch_half_pixel": _pytorch_half_pixel,
    "align_corners": _align_corners,
    "asymmetric": _asymmetric,
}
"""Where each of ``m`` results lies among ``n`` values, ``scale`` times as many, as ONNX has it."""


@dataclass(frozen=True)
class Bilinear(Op):
    """So many times the rows and columns, by bilinear interpolation.

    Attributes
    ----------
    scale : tuple of float
    way : str
        Of ``WAYS``.
    """

    scale: tuple[float, float]
    way: Way

    def infer(self, x):
        # A scale may be a quotient of sizes, or a decimal number, rounded to float32.
        size = [int(n * s * (1 + 2e-7)) for n, s in zip(x[:2], self.scale, strict=True)]
        if min(size) < 1:
            raise ShapeError(f"nothing is left of {x} at {self.scale} times its size")
        return (*size, x[2])

    def places(self, x, out):
        """Rows and columns of a map of ``x`` where those of one of ``out`` lie."""
        sides = zip(x[:2], out[:2], self.scale, strict=True)
        return [
            WAYS[self.way](np.arange(m, dtype=np.float32), n, m, np.float32(s)) for n, m, s in sides
        ]

    def reference(self, params, x):
        return reference.bilinear(x, *self.places(x.shape, self.infer(x.shape)))

    def lower(self, params, out, x):
        places = self.places((x.height, x.width), (out.height, out.width))
        return interpolate.bilinear(out, x, *places)


@dataclass(frozen=True)
class DepthToSpace(Op):
    """Groups of channels as the pixels of a block: the first group is the block's first pixel."""

    block: tuple[int, int]

    def infer(self, x):
        parts = self.block[0] * self.block[1]
        if x[2] % parts:
            raise ShapeError(f"an input of {x} has no {parts} equal groups of channels")
        return (x[0] * self.block[0], x[1] * self.block[1], x[2] // parts)

    def reference(self, params, x):
        h, w, _ = x.shape
        y = x.reshape(h, w, *self.block, -1).transpose(0, 2, 1, 3, 4)
        return y.reshape(h * self.block[0], w * self.block[1], -1)

    def lower(self, params, out, x):
        calls, step = [], out.channels
        for i in range(self.block[0]):
            for j in range(self.block[1]):
                first = x.offset + (i * self.block[1] + j) * step
                group = x._replace(offset=first, channels=step)
                calls += elementwise.copy(_phase(out, i, j, self.block), group)
        return calls
