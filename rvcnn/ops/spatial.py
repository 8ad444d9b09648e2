"""Larger maps: pixels repeated, and channels spread over pixels."""

from dataclasses import dataclass

from rvcnn.errors import ShapeError
from rvcnn.kernels import elementwise

from .base import Op


def _phase(out, y, x, block):
    """Every so many rows and columns of a map, from (y, x) on: a map of its own."""
    height, width = out.height // block[0], out.width // block[1]
    offset = out.offset + y * out.row + x * out.pixel
    rows, pixels = out.row * block[0], out.pixel * block[1]
    return out._replace(offset=offset, height=height, width=width, row=rows, pixel=pixels)


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
