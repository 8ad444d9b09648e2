"""Operators of the graph: shapes, reference and lowering of each in one place."""

from .base import Op, Shape
from .bytes import Lookup, QuantizedAdd, QuantizedConcat, QuantizedMaxPool
from .channels import Concat, Interleave, ShuffleChannels, SliceChannels, TakeChannels
from .conv import Conv2d, InterleavedConv2d, Linear
from .elementwise import (
    Activation,
    Add,
    BatchNorm,
    ClipCurve,
    Multiply,
    RoundSteps,
    ScaleChannels,
    Tanh,
)
from .pixels import ConcatPixels, ConstantMap, TakePixels
from .pool import AvgPool, GlobalAvgPool, L2Normalize, MaxPool
from .quantized import (
    Dequantize,
    Quantize,
    QuantizedConv2d,
    QuantizedGlobalAvgPool,
    QuantizedScaleChannels,
)
from .spatial import WAYS, Bilinear, Crop, DepthToSpace, Repeat, Way
from .tokens import Attention, LayerNorm

__all__ = [
    "Activation",
    "Add",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "Bilinear",
    "ClipCurve",
    "Concat",
    "ConcatPixels",
    "ConstantMap",
    "Conv2d",
    "Crop",
    "DepthToSpace",
    "Dequantize",
    "GlobalAvgPool",
    "Interleave",
    "InterleavedConv2d",
    "L2Normalize",
    "LayerNorm",
    "Linear",
    "Lookup",
    "MaxPool",
    "Multiply",
    "Op",
    "Quantize",
    "QuantizedAdd",
    "QuantizedConcat",
    "QuantizedConv2d",
    "QuantizedGlobalAvgPool",
    "QuantizedMaxPool",
    "QuantizedScaleChannels",
    "Repeat",
    "RoundSteps",
    "ScaleChannels",
    "Shape",
    "ShuffleChannels",
    "SliceChannels",
    "TakeChannels",
    "TakePixels",
    "Tanh",
    "WAYS",
    "Way",
]
