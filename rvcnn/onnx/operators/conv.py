"""Convolutions over any number of dimensions, (N, C, *size)."""

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import functional
from rvcnn.kernels.volume import VolumeFilters, convolve

from .activations import swish
from .base import Packing, check_size, choose, ints, operators
from .windows import Windows, padding, per_axis, windows


def conv(
    x,
    weights,
    bias=None,
    *,
    kernel_shape=None,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    group=1,
    packed=None,
):
    """Convolution of (N, C, *size) with (M, C / group, *kernel).

    Over one to three dimensions of float32 it runs on the kernels, otherwise on NumPy.
    """
    check_weights(x, weights, group, kernel_shape)
    w = windows(
        x.shape[2:],
        weights.shape[2:],
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
    )
    check_size((len(x), len(weights), *w.out))
    if x.dtype == np.float32 and x.size and weights.size and x.ndim == 4:
        return _on_maps(x, weights, bias, w, group)
    if x.dtype == np.float32 and x.size and weights.size and x.ndim == 3:
        return _on_maps(x[:, :, None], weights[:, :, None], bias, _one_row(w), group)[:, :, 0]
    if x.dtype == np.float32 and x.size and weights.size and x.ndim == 5:
        filters = packed or VolumeFilters(weights)
        sides = tuple(zip(w.begin, w.end, strict=True))
        bias = np.zeros(len(weights), np.float32) if bias is None else bias
        out = np.empty((len(x), len(weights), *w.out), np.float32)
        for image, result in zip(x, out, strict=True):
            volume = convolve(
                image.transpose(1, 2, 3, 0), filters, group, bias, w.strides, sides, w.dilations
            )
            result[:] = volume.transpose(3, 0, 1, 2)
        return out
    out = correlate(x, weights, w, group)
    return out if bias is None else out + bias.reshape(-1, *(1,) * (x.ndim - 2))


def check_weights(x, weights, group, kernel_shape):
    """Refuse weights that do not fit an input.

    Raises
    ------
    ShapeError
    """
    shapes = f"weights {weights.shape} in {group} groups do not fit an input of {x.shape}"
    if x.ndim < 3 or weights.ndim != x.ndim or group < 1 or len(weights) % group:
        raise ShapeError(f"{shapes}: check the ranks and the number of groups")
    if x.shape[1] != weights.shape[1] * group:
        raise ShapeError(f"{shapes}: expected {weights.shape[1] * group} channels")
    if kernel_shape and ints(kernel_shape) != weights.shape[2:]:
        raise ShapeError(f"{shapes}: kernel_shape says {list(kernel_shape)}")


def pack(weights):
    """Constant weights for many runs."""
    return VolumeFilters(weights) if weights.ndim == 5 and weights.dtype == np.float32 else None


def _one_row(w):
    """The windows of one dimension as those of a map of one row."""
    ones, zeros = (w.kernel, w.strides, w.dilations), (w.begin, w.end)
    return Windows(
        *((1, *v) for v in ones), *((0, *v) for v in zeros), out=(1, *w.out), beyond=(0, *w.beyond)
    )


def _on_maps(x, weights, bias, w, group):
    """Convolution of each (H, W, C) map by the kernels."""
    sides = tuple(zip(w.begin, w.end, strict=True))
    filters = weights.transpose(0, 2, 3, 1)
    out = np.empty((len(x), len(weights), *w.out), np.float32)
    for image, result in zip(x, out, strict=True):
        result[:] = functional.conv2d(
            image.transpose(1, 2, 0), filters, bias, w.strides, sides, w.dilations, group
        ).transpose(2, 0, 1)
    return out


def correlate(x: np.ndarray, weights: np.ndarray, w: Windows, group: int) -> np.ndarray:
    """Convolution by one matrix product a group, in the type of the arrays.

    Parameters
    ----------
    x : (N, C, *size) array
    weights : (M, C / group, *kernel) array
    w : Windows
    group : int

    Returns
    -------
    (N, M, *out) array
    """
    views = w.views(x, 0)
    depth, rows, dims = weights.shape[1], len(weights) // group, len(w.kernel)
    check_size((len(x), *weights.shape[1:], *w.out), x.dtype)
    out = np.empty((len(x), len(weights), *w.out), np.result_type(x, weights))
    taps = [1, *range(2 + dims, 2 + 2 * dims)]
    for g in range(group):
        part = weights[g * rows : (g + 1) * rows]
        inside = views[:, g * depth : (g + 1) * depth]
        products = np.tensordot(inside, part, (taps, range(1, part.ndim)))
        out[:, g * rows : (g + 1) * rows] = np.moveaxis(products, -1, 1)
    return out


def add_taps(columns: np.ndarray, w: Windows, size: tuple[int, ...]) -> np.ndarray:
    """Sum of windows laid over a map, what lies outside of it left out.

    Parameters
    ----------
    columns : (N, C, *kernel, *out) array
        Values of each tap of each window.
    w : Windows
    size : tuple of int
        That of the map.

    Returns
    -------
    (N, C, *size) array
    """
    spans = [
        max((o - 1) * s + d * (k - 1) + 1, b + n)
        for o, s, d, k, b, n in zip(
            w.out, w.strides, w.dilations, w.kernel, w.begin, size, strict=True
        )
    ]
    whole = np.zeros(check_size((*columns.shape[:2], *spans), columns.dtype), columns.dtype)
    for tap in np.ndindex(*w.kernel):
        place = tuple(
            slice(t * d, t * d + (o - 1) * s + 1, s)
            for t, d, o, s in zip(tap, w.dilations, w.out, w.strides, strict=True)
        )
        whole[(..., *place)] += columns[(slice(None), slice(None), *tap)]
    inner = tuple(slice(b, b + n) for b, n in zip(w.begin, size, strict=True))
    return np.ascontiguousarray(whole[(..., *inner)])


def conv_transpose(
    x,
    weights,
    bias=None,
    *,
    kernel_shape=None,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    group=1,
    output_padding=None,
    output_shape=None,
):
    """Gradient of a convolution by its input: (N, C, *size) with (C, M / group, *kernel)."""
    dims = x.ndim - 2
    if dims < 1 or weights.ndim != x.ndim or len(weights) != x.shape[1] or len(weights) % group:
        raise ShapeError(
            f"weights {weights.shape} in {group} groups do not fit an input of {x.shape}: "
            "check the ranks and the number of groups"
        )
    kernel = per_axis(kernel_shape or weights.shape[2:], 1, dims, "kernel_shape")
    w, size = _transposed_windows(
        x.shape[2:],
        kernel,
        per_axis(strides, 1, dims, "strides"),
        per_axis(dilations, 1, dims, "dilations"),
        padding(pads, dims),
        auto_pad,
        padding([*(output_padding or [0] * dims), *[0] * dims], dims)[0],
        output_shape,
    )
    depth, rows = len(weights) // group, weights.shape[1]
    check_size((len(x), group * rows, *size), x.dtype)
    check_size((rows, *kernel, *x.shape[2:]), x.dtype)
    out = np.empty((len(x), group * rows, *size), x.dtype)
    for image, result in zip(x, out, strict=True):
        for g in range(group):
            pixels = image[g * depth : (g + 1) * depth].reshape(depth, -1)
            filters = weights[g * depth : (g + 1) * depth].reshape(depth, -1)
            columns = (filters.T @ pixels).reshape(1, rows, *kernel, *x.shape[2:])
            result[g * rows : (g + 1) * rows] = add_taps(columns, w, size)[0]
    return out if bias is None else out + bias.reshape(-1, *(1,) * dims)


def _transposed_windows(size, kernel, strides, dilations, pads, auto_pad, extra, wanted):
    """Windows of the convolution whose output has `size`, and the size of its input."""
    full = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(size, strides, dilations, kernel, extra, strict=True)
    ]
    begin, end = pads
    same = auto_pad in ("SAME_UPPER", "SAME_LOWER")
    if not wanted and same:
        wanted = [n * s for n, s in zip(size, strides, strict=True)]
    if wanted:
        wanted = per_axis(wanted[-len(size) :], 1, len(size), "output_shape")
        surplus = [max(f - n, 0) for f, n in zip(full, wanted, strict=True)]
        less, more = tuple(p // 2 for p in surplus), tuple(p - p // 2 for p in surplus)
        begin, end = (less, more) if auto_pad == "SAME_UPPER" else (more, less)
    out = wanted or tuple(f - b - e for f, b, e in zip(full, begin, end, strict=True))
    if min(out) < 1:
        raise ShapeError(f"padding {begin} and {end} leave nothing of a map of {full}: use less")
    none = (0,) * len(size)
    return Windows(kernel, strides, dilations, begin, end, tuple(size), none), tuple(out)


def col2im(x, image_shape, block_shape, *, dilations=None, pads=None, strides=None):
    """Sum of blocks (N, C * values of a block, blocks) laid over an image."""
    size, block = ints(image_shape), ints(block_shape)
    check_size((len(x), x.shape[1], *size), x.dtype)
    w = windows(size, block, strides=strides, dilations=dilations, pads=pads)
    channels = x.shape[1] // int(np.prod(block))
    return add_taps(x.reshape(len(x), channels, *block, *w.out), w, size)


_FUSED = {"none": lambda x: x, "silu": swish, "swish": swish}


def causal_conv_with_state(x, weights, bias=None, past=None, *, activation="none"):
    """Depthwise convolution of (N, C, L) that sees past values alone, and the next call's past."""
    taps = weights.shape[-1]
    if past is None:
        past = np.zeros((*x.shape[:2], taps - 1), x.dtype)
    whole = np.concatenate([past, x], 2)
    out = conv(whole, weights, bias, group=x.shape[1])
    return choose(_FUSED, activation, "activation")(out), whole[:, :, whole.shape[2] - taps + 1 :]


OPERATORS = operators(
    {
        "CausalConvWithState": causal_conv_with_state,
        "Col2Im": col2im,
        "Conv": conv,
        "ConvTranspose": conv_transpose,
    },
    widen=True,
    packing={"Conv": Packing((1,), pack)},
)
