"""Operations on bytes as functions of arrays: maps are (H, W, C) uint8, channels last.

A byte q stands for ``(q - zero_point) * scale``. As in ``functional``, each call checks its
arguments, packs the weights and runs once. ``rvcnn.kernels.reference_u8`` gives the same bits.
"""

import numpy as np

from . import conv, elementwise_u8, lookup_u8, pool_u8, steps, sum_u8
from ._program import At, Map, run
from .functional import _array, _output, _window
from .requantise import LONGEST


def _of_type(x, name, dtype):
    x = np.asarray(x, order="C")
    if x.dtype != dtype:
        raise ValueError(f"{name} must be {np.dtype(dtype).name}, not {x.dtype}")
    return x


def _bytes(x, dimensions, name, dtype=np.uint8):
    x = _of_type(x, name, dtype)
    if x.ndim != dimensions or 0 in x.shape:
        raise ValueError(f"{name} must have {dimensions} dimensions, none empty: {x.shape}")
    return x


def _params(scale, zero, channels):
    """Scale and zero point as float64, each a number or (C,)."""
    scale, zero = np.asarray(scale, np.float64), np.asarray(zero, np.float64)
    for value in (scale, zero):
        if value.shape not in ((), (1,), (channels,)):
            raise ValueError(f"one number or ({channels},) is wanted, not {value.shape}")
    if not ((scale > 0) & (scale < np.inf)).all():
        raise ValueError("scales must be positive and finite")
    if not ((zero >= 0) & (zero <= 255)).all():
        raise ValueError("zero points lie from 0 to 255")
    return scale, zero


def _values(function, x, dtype, scale, zero):
    """Run an operation on each value of an array whose last axis is channels."""
    channels = x.shape[-1] if x.ndim else 1
    params = _params(scale, zero, channels)
    out = np.empty(x.shape, dtype)
    if x.size:
        run(function(*(Map.of(a.reshape(-1, 1, channels)) for a in (out, x)), *params))
    return out


def quantize(x, scale, zero_point=0):
    """Bytes nearest to ``x / scale + zero_point``, halves to even; NaN becomes 0.

    Parameters
    ----------
    x : (..., C) array
        Converted to float32.
    scale, zero_point : float or (C,) array
        Scales are positive, zero points from 0 to 255; they need not be whole.

    Returns
    -------
    (..., C) uint8 array
    """
    x = np.asarray(x, np.float32, order="C")
    return _values(elementwise_u8.quantize, x, np.uint8, scale, zero_point)


def dequantize(q, scale, zero_point=0):
    """``(q - zero_point) * scale`` in float32, of a (..., C) uint8 array."""
    q = _of_type(q, "q", np.uint8)
    return _values(elementwise_u8.dequantize, q, np.float32, scale, zero_point)


def quantized_conv2d(
    x, weights, store, border=0, stride=1, padding=0, dilation=1, groups=1, residual=None
):
    """Convolution of bytes with int8 weights.

    Parameters
    ----------
    x : (H, W, C) uint8 array
    weights : (N, KH, KW, C / groups) int8 array
        Of at most 32,768 values an output channel.
    store : Store
        What becomes of the sums: ``Store.of(weights, ...)`` makes it of scales and zero points.
    border : int or (C,) array
        The bytes that stand for zero round the map: its zero point.
    stride, padding, dilation, groups
        As for ``conv2d``.
    residual : (H', W', N) array, optional
        Added to real results.

    Returns
    -------
    (H', W', N) array
        float32 where ``store.real``, else uint8.
    """
    x, weights = _bytes(x, 3, "x"), _bytes(weights, 4, "weights", np.int8)
    channels = len(weights)
    if groups < 1 or channels % groups or weights.shape[3] * groups != x.shape[2]:
        raise ValueError(
            f"weights {weights.shape} in {groups} groups do not fit an input of {x.shape}"
        )
    if weights[0].size > LONGEST:
        raise ValueError(f"sums of more than {LONGEST} products may leave 32 bits")
    if store.bias.shape != (channels,):
        raise ValueError(f"the store is not one of {channels} channels")
    window = _window(weights.shape[1:3], stride, padding, dilation)
    out = _output(x, window, channels, np.float32 if store.real else np.uint8)
    if residual is not None:
        residual = _array(residual, 3, "residual")
        if residual.shape != out.shape or not store.real:
            raise ValueError(f"residual {residual.shape} fits a real output of its shape alone")
    run(
        conv.quantized_convolution(
            Map.of(out),
            _bordered(x, window.padding, border),
            weights.transpose(0, 3, 1, 2),
            store,
            window,
            groups,
            None if residual is None else Map.of(residual),
        )
    )
    return out


def _bordered(x, padding, border):
    """A map of bytes in its border, with a few more that kernels may read."""
    ((top, bottom), (left, right)), (height, width, channels) = padding, x.shape
    border = np.asarray(border)
    if border.shape not in ((), (channels,)) or (border < 0).any() or (border > 255).any():
        raise ValueError(f"border must be a byte or ({channels},) bytes")
    shape = (top + height + bottom, left + width + right, channels)
    block = np.zeros(np.prod(shape) + 3, np.uint8)
    framed = block[:-3].reshape(shape)
    framed[:] = border
    framed[top : top + height, left : left + width] = x
    whole = Map.of(framed)
    offset = top * whole.row + left * whole.pixel
    return whole._replace(buffer=block, offset=offset, height=height, width=width)


def quantized_depthwise_conv2d(x, weights, store, border=0, stride=1, padding=0):
    """:func:`quantized_conv2d` with one filter a channel; ``weights`` is (C, KH, KW)."""
    weights = _bytes(weights, 3, "weights", np.int8)[..., None]
    return quantized_conv2d(x, weights, store, border, stride, padding, groups=len(weights))


def quantized_linear(x, weights, store, residual=None):
    """Bytes (M, K) times int8 ``weights`` (N, K): (M, N), stored as ``store`` says."""
    x, weights = _bytes(x, 2, "x"), _bytes(weights, 2, "weights", np.int8)
    residual = None if residual is None else _array(residual, 2, "residual")[None]
    return quantized_conv2d(x[None], weights[:, None, None], store, residual=residual)[0]


def quantized_global_avg_pool(x, scale, zero_point=0):
    """Real mean of each channel: (H, W, C) uint8 of at most 2**23 pixels to (C,) float32."""
    x = _bytes(x, 3, "x")
    if x.shape[0] * x.shape[1] > 2**23:
        raise ValueError(f"a map has at most 2**23 pixels: {x.shape}")
    out = np.empty((1, 1, x.shape[2]), np.float32)
    params = _params(scale, zero_point, x.shape[2])
    run(elementwise_u8.global_avg_pool(Map.of(out), Map.of(x), *params))
    return out[0, 0]


def quantized_scale(x, factors, x_params, out_params):
    """Bytes times real factors, one a channel, as bytes.

    Parameters
    ----------
    x : (H, W, C) uint8 array
    factors : (C,) array
    x_params, out_params : tuple
        Scale and zero point, numbers or (C,); the output's zero point is whole.
    """
    x, factors = _bytes(x, 3, "x"), _array(factors, 1, "factors")
    channels = x.shape[2]
    if len(factors) != channels:
        raise ValueError(f"there are {len(factors)} factors for {channels} channels")
    before, after = (_params(*params, channels) for params in (x_params, out_params))
    out = np.empty_like(x)
    run(elementwise_u8.scale(Map.of(out), Map.of(x), At(factors), before, after))
    return out


def lookup(x, table):
    """``table[x]``: bytes (H, W, C) through a table of 256 uint8 or float32 values."""
    x, table = _bytes(x, 3, "x"), np.ascontiguousarray(table)
    if table.shape != (256,) or table.dtype not in (np.uint8, np.float32):
        raise ValueError(f"a table holds 256 uint8 or float32 values, not {table.shape}")
    out = np.empty(x.shape, table.dtype)
    run(lookup_u8.lookup(Map.of(out), Map.of(x), table))
    return out


def quantized_add(a, b, a_params, b_params, out_params, bounds=(-np.inf, np.inf)):
    """Sum of two maps of bytes, as bytes.

    Parameters
    ----------
    a, b : (H, W, C) uint8 array
    a_params, b_params, out_params : tuple of float
        Scale and zero point, a whole number, of each.
    bounds : tuple of float
        The least and the greatest real value of the result.
    """
    a, b = _bytes(a, 3, "a"), _bytes(b, 3, "b")
    if a.shape != b.shape:
        raise ValueError(f"maps of {a.shape} and {b.shape} have no sum")
    for scale, zero in (a_params, b_params, out_params):
        _params(scale, zero, 1)
    out = np.empty_like(a)
    maps = (Map.of(out), Map.of(a), Map.of(b))
    run(sum_u8.add(*maps, a_params, b_params, out_params, bounds))
    return out


def quantized_max_pool(x, kernel, stride, padding=0):
    """Maximum over windows of bytes (H, W, C), each of which holds some of the map."""
    x = _bytes(x, 3, "x")
    window = _window(kernel, stride, padding, 1)
    if any(max(sides) >= k for sides, k in zip(window.padding, window.kernel, strict=True)):
        raise ValueError(f"windows of {window.kernel} may lie in the padding alone")
    out = _output(x, window, x.shape[2], np.uint8)
    run(pool_u8.max_pool(Map.of(out), Map.of(x), window))
    return out


def round_steps(x, scale, low, high):
    """Real values (H, W, C) as the nearest whole multiples of a scale, from ``low`` to ``high``."""
    x = _array(x, 3, "x")
    if not 0 < scale < np.inf or not -(2**24) <= low <= high <= 2**24:
        raise ValueError(f"no steps of {scale} from {low} to {high}")
    out = np.empty_like(x)
    run(steps.round_steps(Map.of(out), Map.of(x), scale, low, high))
    return out
