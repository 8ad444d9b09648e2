"""Compute kernels: ordinary Python functions on SIMD registers, compiled by Numba.

The functions here work on arrays. ``rvcnn.kernels.reference`` has each in plain NumPy, float64;
``rvcnn.kernels.reference_u8`` those on bytes, bit for bit.
"""

from . import neighbours, pruning
from ._ahead import fetch_ahead
from ._divide import cut, divide, rows_axis
from ._jit import FAMILIES
from ._memory import gathered, room
from ._program import BARRIER, At, Call, Map, Program, run
from ._target import assembly, cache_dir, dot, lanes, target, user_cache
from .activation import ACTIVATIONS
from .conv import Window
from .functional import (
    activation,
    add,
    attention,
    avg_pool,
    batch_norm,
    bilinear,
    conv2d,
    conv_3x3_winograd,
    depthwise_conv2d,
    dot_products,
    dot_products_s8,
    global_avg_pool,
    gru,
    interleave,
    interleave_linear,
    l2_normalize,
    layer_norm,
    linear,
    lstm,
    max_pool,
    multiply,
    scale_shift,
    squeeze_excite,
    take_channels,
    tanh,
)
from .functional_u8 import (
    dequantize,
    lookup,
    quantize,
    quantized_add,
    quantized_conv2d,
    quantized_depthwise_conv2d,
    quantized_global_avg_pool,
    quantized_linear,
    quantized_max_pool,
    quantized_scale,
    round_steps,
)
from .requantise import FUSED_U8, SMALLEST_GATE_STEP, Store
from .winograd_filters import WinogradFilterCache

__all__ = [
    "BARRIER",
    "FAMILIES",
    "ACTIVATIONS",
    "FUSED_U8",
    "At",
    "Call",
    "Map",
    "SMALLEST_GATE_STEP",
    "Program",
    "Store",
    "Window",
    "WinogradFilterCache",
    "activation",
    "add",
    "assembly",
    "attention",
    "avg_pool",
    "batch_norm",
    "bilinear",
    "cache_dir",
    "conv2d",
    "conv_3x3_winograd",
    "cut",
    "depthwise_conv2d",
    "dequantize",
    "divide",
    "dot",
    "dot_products",
    "dot_products_s8",
    "fetch_ahead",
    "gathered",
    "global_avg_pool",
    "gru",
    "interleave",
    "interleave_linear",
    "l2_normalize",
    "lanes",
    "layer_norm",
    "linear",
    "lookup",
    "lstm",
    "neighbours",
    "pruning",
    "max_pool",
    "multiply",
    "quantize",
    "quantized_add",
    "quantized_conv2d",
    "quantized_depthwise_conv2d",
    "quantized_global_avg_pool",
    "quantized_linear",
    "quantized_max_pool",
    "quantized_scale",
    "room",
    "round_steps",
    "rows_axis",
    "run",
    "scale_shift",
    "squeeze_excite",
    "take_channels",
    "tanh",
    "target",
    "user_cache",
]
