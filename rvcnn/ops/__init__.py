"""Operators of the graph: shapes, reference and lowering of each in one place."""

from .base import Op, Shape
from .channels import Concat, Interleave, ShuffleChannels, SliceChannels
from .conv import Conv2d, Linear
from .elementwise import Activation, Add, BatchNorm, ScaleChannels
from .pool import GlobalAvgPool, L2Normalize, MaxPool
from .quantized import (
    Dequantize,
    Quantize,
    QuantizedConv2d,
    QuantizedGlobalAvgPool,
    QuantizedScaleChannels,
)

__all__ = [
    "Activation",
    "Add",
    "BatchNorm",
    "Concat",
    "Conv2d",
    "Dequantize",
    "GlobalAvgPool",
    "Interleave",
    "L2Normalize",
    "Linear",
    "MaxPool",
    "Op",
    "Quantize",
    "QuantizedConv2d",
    "QuantizedGlobalAvgPool",
    "QuantizedScaleChannels",
    "ScaleChannels",
    "Shape",
    "ShuffleChannels",
    "SliceChannels",
]
