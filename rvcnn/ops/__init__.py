"""Operators of the graph: shapes, reference and lowering of each in one place."""

from .base import Op, Shape
from .conv import Conv2d, Linear
from .elementwise import Activation, Add, BatchNorm, ScaleChannels
from .pool import GlobalAvgPool, L2Normalize

__all__ = [
    "Activation",
    "Add",
    "BatchNorm",
    "Conv2d",
    "GlobalAvgPool",
    "L2Normalize",
    "Linear",
    "Op",
    "ScaleChannels",
    "Shape",
]
