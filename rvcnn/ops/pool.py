"""Pooling and normalisation of what it leaves."""

from dataclasses import dataclass

from rvcnn.errors import ShapeError
from rvcnn.kernels import Window, pool, reference, vector

from .base import Op, Shape, Sides, same_sides


@dataclass(frozen=True)
class GlobalAvgPool(Op):
    """Mean of each channel: (H, W, C) to (1, 1, C)."""

    def infer(self, x):
        return (1, 1, x[2])

    def reference(self, params, x):
        return reference.global_avg_pool(x).reshape(1, 1, -1)

    def lower(self, params, out, x):
        return pool.global_avg_pool(out, x)


@dataclass(frozen=True)
class MaxPool(Op):
    """Maximum over windows; the padding never wins.

    Attributes
    ----------
    kernel, stride : tuple of int
        Rows, columns.
    padding : tuple of tuple, or "same"
        As :class:`Conv2d`'s.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: Sides | str = ((0, 0), (0, 0))

    def window(self, shape: Shape) -> Window:
        """The window over an input of this shape."""
        padding = self.padding
        if padding == "same":
            padding = same_sides(shape, self.kernel, self.stride)
        return Window(self.kernel, self.stride, padding)

    def infer(self, x):
        size = self.window(x).out_size(*x[:2])
        if min(size) < 1:
            raise ShapeError(f"an input of {x[0]} x {x[1]} is too small for {self.kernel}")
        return (*size, x[2])

    def reference(self, params, x):
        window = self.window(x.shape)
        return reference.max_pool(x, window.kernel, window.stride, window.padding)

    def lower(self, params, out, x):
        return pool.pool(out, x, self.window((x.height, x.width, x.channels)))


@dataclass(frozen=True)
class AvgPool(MaxPool):
    """Mean over windows.

    Attributes
    ----------
    kernel, stride : tuple of int
        Rows, columns.
    padding : tuple of tuple, or "same"
        As :class:`Conv2d`'s.
    include_pad : bool
        Whether padding counts, as zeros.
    """

    include_pad: bool = True

    def reference(self, params, x):
        window = self.window(x.shape)
        return reference.avg_pool(x, window.kernel, window.stride, window.padding, self.include_pad)

    def lower(self, params, out, x):
        window = self.window((x.height, x.width, x.channels))
        return pool.pool(out, x, window, True, self.include_pad)


@dataclass(frozen=True)
class L2Normalize(Op):
    """A (1, 1, C) map scaled to unit length."""

    def infer(self, x):
        if x[:2] != (1, 1):
            raise ShapeError(f"expected a vector (1, 1, C), got {x}")
        return x

    def reference(self, params, x):
        return reference.l2_normalize(x.reshape(-1)).reshape(1, 1, -1)

    def lower(self, params, out, x):
        return vector.l2_normalize(out.at(), x.at(), x.channels)
