"""Operations on bytes in NumPy, written to be obvious: what their kernels equal bit for bit.

Sums are exact; float32 operations on them are rounded one by one. Maps are (H, W, C), channels
last; scales and zero points are numbers or (C,) arrays.
"""

import numpy as np

from .activation import GATE
from .reference import _sides, conv2d


def quantize(x, scale, zero):
    """Bytes nearest to ``x / scale + zero``, halves to even; NaN becomes 0."""
    inverse, whole = np.float32(1 / np.asarray(scale, np.float64)), np.rint(zero)
    steps = np.asarray(x, np.float32) * inverse + np.float32(zero - whole)
    return _bytes(np.where(np.isnan(steps), -np.inf, steps), np.float32(whole))


def dequantize(q, scale, zero):
    """``(q - zero) * scale`` in float32."""
    return (q.astype(np.float32) - np.float32(zero)) * np.float32(scale)


def quantized_conv2d(
    x, weights, store, border=0, stride=1, padding=0, dilation=1, groups=1, residual=None
):
    """Convolve bytes with int8 weights.

    Parameters
    ----------
    x : (H, W, C) uint8 array
    weights : (N, KH, KW, C / groups) int8 array
    store : Store
        What becomes of the sums.
    border : int or (C,) array
        The bytes that stand for zero round the map.
    residual : (H', W', N) float32 array, optional
        Added to real results.

    Returns
    -------
    (H', W', N) array
        float32 where ``store.real``, else uint8.
    """
    inside = np.pad(np.ones(x.shape, bool), _sides(padding))
    padded = np.where(inside, np.pad(x, _sides(padding)), border)
    sums = conv2d(padded, weights, store.bias, stride, 0, dilation, groups)
    value = sums.astype(np.float32) * store.multiplier
    if store.real:
        if store.mode == GATE:
            sixth, half = np.float32(0.16666667), np.float32(0.5)
            value = value * np.clip(value * sixth + half, np.float32(0), np.float32(1))
        value = np.clip(value, np.float32(store.low), np.float32(store.high))
        return value if residual is None else value + residual
    three, six, low, high, zero = store.shorts.astype(np.int64)
    steps = np.clip(np.rint(value), -(2**15), 2**15 - 1).astype(np.int64)
    if store.mode == GATE:
        gate = np.clip(np.minimum(steps + three, 2**15 - 1), 0, six)
        steps = (steps * gate + 2**14) >> 15
    return np.clip(np.clip(steps, low, high) + zero, 0, 255).astype(np.uint8)


def quantized_depthwise_conv2d(x, weights, store, border=0, stride=1, padding=0):
    """Convolve every channel of bytes with its own filter; ``weights`` is (C, KH, KW)."""
    groups = len(weights)
    return quantized_conv2d(x, weights[..., None], store, border, stride, padding, 1, groups)


def quantized_linear(x, weights, store, residual=None):
    """Bytes (M, K) times int8 weights (N, K): (M, N)."""
    residual = None if residual is None else residual[None]
    return quantized_conv2d(x[None], weights[:, None, None], store, residual=residual)[0]


def quantized_global_avg_pool(x, scale, zero):
    """Real mean of each channel, float32."""
    sums = x.sum((0, 1), dtype=np.int64).astype(np.float32)
    mean = sums / np.float32(x.shape[0] * x.shape[1])
    return (mean - np.float32(zero)) * np.float32(scale)


def quantized_scale(x, factors, x_params, out_params):
    """Bytes times real factors, one a channel, as bytes; parameters are (scale, zero).

    Factors are held in steps of 2**-13, and are below 4; their products are rounded, halves up.
    """
    (x_scale, x_zero), (out_scale, out_zero) = x_params, out_params
    ratio = np.float32(np.float64(x_scale) / out_scale)
    held = np.rint(np.float32(factors) * ratio * np.float32(2**13))
    held = np.clip(held, -(2**15), 2**15 - 1).astype(np.int64)
    steps = ((x.astype(np.int64) - np.int64(x_zero)) * 4 * held + 2**14) >> 15
    return np.clip(steps + np.int64(out_zero), 0, 255).astype(np.uint8)


def lookup(x, table):
    """``table[x]``."""
    return table[x]


def quantized_add(a, b, a_params, b_params, out_params, bounds=(-np.inf, np.inf)):
    """Sum of two maps of bytes as bytes; parameters are (scale, zero), bounds real values."""
    (scale, zero), (low, high) = out_params, bounds
    total = dequantize(a, *a_params) + dequantize(b, *b_params)
    steps = total * np.float32(1 / np.float64(scale))
    low, high = np.float32(max(low / scale, -zero)), np.float32(min(high / scale, 255 - zero))
    return _bytes(np.clip(steps, low, high), np.float32(zero))


def quantized_max_pool(x, kernel, stride, padding=0):
    """Maximum over windows of bytes; padding never wins, as each window holds some of the map."""
    padded = np.pad(x, _sides(padding))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (0, 1))
    return windows[:: stride[0], :: stride[1]].max((3, 4))


def round_steps(x, scale, low, high):
    """Whole multiples of a scale, halves to even; NaN becomes ``low``."""
    steps = np.float32(x) / np.float32(scale)
    steps = np.where(np.isnan(steps), np.float32(low), np.clip(steps, low, high))
    return np.rint(steps) * np.float32(scale)


def _bytes(steps, zero):
    """Steps from the zero point, rounded once; float64 holds the sum exactly."""
    return np.rint(np.clip(steps, -zero, 255 - zero) + np.float64(zero)).astype(np.uint8)
