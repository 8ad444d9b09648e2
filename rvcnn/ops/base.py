"""What every operator answers."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import At, Call, Map

Shape = tuple[int, int, int]
"""Rows, columns, channels of one image's map."""

Sides = tuple[tuple[int, int], tuple[int, int]]
"""Pixels (above, below), (left, right)."""

NO_BORDER: Sides = ((0, 0), (0, 0))


def same_sides(shape: Shape, kernel, stride, dilation=(1, 1)) -> Sides:
    """TensorFlow's padding: ``ceil(size / stride)`` outputs, the odd pixel below and right."""
    sides = []
    for size, k, s, d in zip(shape[:2], kernel, stride, dilation, strict=True):
        total = max((-(-size // s) - 1) * s + (k - 1) * d + 1 - size, 0)
        sides.append((total // 2, total - total // 2))
    return tuple(sides)


def alike(verb: str, a: Shape, b: Shape) -> Shape:
    """The shape of two maps, which must be one; the verb is what cannot be done with others."""
    if a != b:
        raise ShapeError(f"cannot {verb} maps of {a} and {b}")
    return a


class Op(ABC):
    """One kind of layer: a frozen dataclass of attributes with these methods.

    Attributes
    ----------
    is_view : bool
        Whether its result lies in its input's memory: :meth:`view` says where, and a plan does
        not run it.
    """

    is_view = False

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters."""
        return {}

    @abstractmethod
    def infer(self, *inputs: Shape) -> Shape:
        """Shape of the result; ShapeError says what does not fit."""

    def border(self, shape: Shape) -> Sides:
        """Border of zeros that :meth:`lower` wants round its first input."""
        return NO_BORDER

    def scratch(self, *inputs: Shape) -> int:
        """float32 values of memory of its own that :meth:`lower` wants, if any."""
        return 0

    @abstractmethod
    def reference(self, params: Mapping[str, np.ndarray], *inputs: np.ndarray) -> np.ndarray:
        """The result in plain NumPy, float64."""

    def view(self, x: Map) -> Map:
        """Where the result lies, if it is a view."""
        raise NotImplementedError

    @abstractmethod
    def lower(
        self, params: Mapping[str, np.ndarray], out: Map, *inputs: Map, scratch: At | None = None
    ) -> list[Call]:
        """Kernel calls that compute the result, with the memory that :meth:`scratch` wants."""
