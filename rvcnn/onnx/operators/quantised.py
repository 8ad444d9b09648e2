"""Integers that stand for floats: ``x = (q - zero_point) * scale``."""

import numpy as np

from rvcnn.errors import ShapeError

from .base import Packing, axis_of, check_size, operators
from .conv import check_weights, correlate
from .integers import IntegerWeights
from .types import convert, dtype_of, is_small_float, limits
from .windows import windows


def _spread(v, x, axis, block_size):
    """A scale or zero point, to broadcast with `x`: one number, one a slice or one a block."""
    if v.size == 1 and v.ndim < 2:
        return v.reshape(())
    axis = axis_of(axis, x.ndim)
    if v.ndim == 1:
        return v.reshape(-1, *(1,) * (x.ndim - axis - 1))
    block = block_size or -(-x.shape[axis] // v.shape[axis])
    return np.take(v, np.arange(x.shape[axis]) // block, axis)


def _stored(values, dtype):
    """Rounded values as integers of a type, the outermost ones for those beyond it."""
    low, high = limits(dtype)
    whole = np.int32 if dtype.itemsize <= 2 else np.int64  # what NaN becomes has zeros below
    return np.clip(values, float(low), float(high)).astype(whole).astype(dtype)


def quantize_linear(
    x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0, precision=0, saturate=1
):
    """``round(x / scale) + zero_point``, halves to even, saturated."""
    if zero_point is not None:
        dtype = zero_point.dtype
    else:
        dtype = dtype_of(output_dtype or 2)
    kind = np.float64 if x.dtype == np.float64 else np.float32
    steps = x.astype(kind, copy=False) / _spread(scale.astype(kind), x, axis, block_size)
    if is_small_float(dtype):
        return convert(steps, dtype, bool(saturate))
    zero = 0 if zero_point is None else _spread(zero_point.astype(kind), x, axis, block_size)
    return _stored(np.rint(steps) + zero, dtype)


def dequantize_linear(x, scale, zero_point=None, *, axis=1, block_size=0, output_dtype=0):
    """``(x - zero_point) * scale``."""
    dtype = dtype_of(output_dtype) if output_dtype else scale.dtype
    whole = np.float32 if x.dtype.itemsize <= 2 else np.int64  # exact for both
    steps = x.astype(whole)
    if zero_point is not None:
        steps = steps - _spread(zero_point.astype(whole), x, axis, block_size)
    kind = np.float64 if scale.dtype == np.float64 else np.float32
    real = steps.astype(kind, copy=False) * _spread(scale.astype(kind), x, axis, block_size)
    return real.astype(dtype, copy=False)


def dynamic_quantize_linear(x):
    """Bytes, scale and zero point for the range of `x`, 0 included."""
    low = np.minimum(x.min(initial=0), np.float32(0))
    high = np.maximum(x.max(initial=0), np.float32(0))
    scale = (high - low) / np.float32(255)
    scale = scale if scale else np.float32(1)
    zero = np.clip(np.rint(-low / scale), 0, 255).astype(np.uint8)
    stored = _stored(np.rint(x / scale) + np.float32(zero), np.dtype(np.uint8))
    return stored, np.float32(scale), zero


def _centred(x, zero_point):
    """``x - zero_point`` in float64, in which sums of products of bytes are exact."""
    if zero_point is None:
        return x.astype(np.float64)
    return x.astype(np.float64) - zero_point.astype(np.float64)


def _integer_conv(x, weights, x_zero, w_zero, group, kernel_shape, **window):
    check_weights(x, weights, group, kernel_shape)
    w = windows(x.shape[2:], weights.shape[2:], **window)
    check_size((len(x), len(weights), *w.out), np.float64)
    if w_zero is not None and w_zero.size > 1:
        w_zero = w_zero.reshape(-1, *(1,) * (weights.ndim - 1))
    x_zero = None if x_zero is None else x_zero.reshape(())
    return correlate(_centred(x, x_zero), _centred(weights, w_zero), w, group)


def conv_integer(
    x,
    weights,
    x_zero=None,
    w_zero=None,
    *,
    kernel_shape=None,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    group=1,
    packed=None,
):
    """Convolution of integers, exactly, as int32. Padding is the zero point."""
    window = dict(strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad)
    if packed is not None and x.ndim == 4 and x.size and x.dtype.itemsize == 1:
        check_weights(x, weights, group, kernel_shape)
        w = windows(x.shape[2:], weights.shape[2:], **window)
        check_size((len(x), len(weights), *w.out), np.float64)
        if group == 1 or packed.weights[0].size * 255 * 128 <= 2**24:
            return packed.sums(*_as_bytes(x, x_zero), w, group)
    return _wrapped(_integer_conv(x, weights, x_zero, w_zero, group, kernel_shape, **window))


def _as_bytes(x, zero):
    """Bytes, and the zero point of them; int8 are 128 less."""
    zero = 0 if zero is None else int(zero.reshape(()))
    if x.dtype == np.uint8:
        return x, zero
    return (x ^ np.int8(-128)).view(np.uint8), zero + 128


def _pack_conv(weights, zero):
    if weights.ndim != 4:
        return None
    return IntegerWeights.of(weights, zero)


def _pack_matmul(weights, zero):
    if weights.ndim != 2:
        return None
    return IntegerWeights.of(np.ascontiguousarray(weights.T)[:, :, None, None], zero)


def _wrapped(sums):
    """Whole numbers as int32, modulo 2 ** 32."""
    return sums.astype(np.int64).astype(np.int32)


def qlinear_conv(
    x,
    x_scale,
    x_zero,
    weights,
    w_scale,
    w_zero,
    y_scale,
    y_zero,
    bias=None,
    *,
    kernel_shape=None,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    group=1,
):
    """Convolution of quantised maps; `bias` counts in steps of ``x_scale * w_scale``."""
    window = dict(strides=strides, dilations=dilations, pads=pads, auto_pad=auto_pad)
    sums = _integer_conv(x, weights, x_zero, w_zero, group, kernel_shape, **window)
    channels = (-1, *(1,) * (x.ndim - 2))
    if bias is not None:
        sums = sums + bias.astype(np.float64).reshape(channels)
    factor = x_scale.reshape(()) * w_scale.reshape(-1) / y_scale.reshape(())
    return _requantised(sums, factor.reshape(channels), y_zero)


def _requantised(sums, factor, zero):
    """Sums in the steps of the result."""
    steps = np.rint(sums.astype(np.float32) * factor.astype(np.float32))
    return _stored(steps + zero.astype(np.float32), zero.dtype)


def _columns(v, x, last):
    """A zero point or scale of a matrix: one, one a row (`last` False) or one a column."""
    if v is None or v.size == 1:
        return None if v is None else v.reshape(())
    if v.ndim == 1:
        return v if last else v[:, None]
    return v


def _integer_matmul(a, b, a_zero, b_zero):
    if a.shape[-1] != b.shape[0 if b.ndim == 1 else -2]:
        raise ShapeError(f"matrices {a.shape} and {b.shape} do not fit")
    left = _centred(a, _columns(a_zero, a, last=False))
    return left @ _centred(b, _columns(b_zero, b, last=True))


def matmul_integer(a, b, a_zero=None, b_zero=None, *, packed=None):
    """Product of matrices of integers, exactly, as int32."""
    fits = a.ndim > 1 and a.shape[-1] == len(b) and a.size and a.dtype.itemsize == 1
    if packed is not None and fits and (a_zero is None or a_zero.size == 1):
        rows, zero = _as_bytes(a, a_zero)
        check_size((*a.shape[:-1], b.shape[1]), np.float64)
        maps = rows.reshape(1, 1, -1, a.shape[-1]).transpose(0, 3, 1, 2)
        w = windows(maps.shape[2:], (1, 1))
        sums = packed.sums(maps, zero, w)
        return sums.transpose(0, 2, 3, 1).reshape(*a.shape[:-1], -1)
    return _wrapped(_integer_matmul(a, b, a_zero, b_zero))


def qlinear_matmul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero):
    """Product of quantised matrices."""
    sums = _integer_matmul(a, b, a_zero, b_zero)
    scales = (v.astype(np.float32) for v in (a_scale, b_scale, y_scale))
    a_scale, b_scale, y_scale = scales
    factor = _columns(a_scale, a, False) * _columns(b_scale, b, True) / _columns(y_scale, a, False)
    zero = _columns(y_zero, a, last=False)
    return _requantised(sums, factor, zero)


OPERATORS = operators(
    {
        "ConvInteger": conv_integer,
        "DequantizeLinear": dequantize_linear,
        "DynamicQuantizeLinear": dynamic_quantize_linear,
        "MatMulInteger": matmul_integer,
        "QLinearConv": qlinear_conv,
        "QLinearMatMul": qlinear_matmul,
        "QuantizeLinear": quantize_linear,
    },
    packing={
        "ConvInteger": Packing((1, 3), _pack_conv),
        "MatMulInteger": Packing((1, 3), _pack_matmul),
    },
)
