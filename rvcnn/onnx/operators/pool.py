"""Poolings: maxima, means and norms of windows and of whole maps."""

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import functional

from .base import check_size, mean, operators
from .windows import Windows, padding, per_axis, windows


def _kernel_serves(x: np.ndarray, w: Windows) -> bool:
    """Whether the poolings of rvcnn.kernels, which know maps of float32, do this one."""
    inside = all(max(b, e) < k for b, e, k in zip(w.begin, w.end, w.kernel, strict=True))
    return x.dtype == np.float32 and len(w.kernel) == 2 and x.size > 0 and inside


def _each_map(function, x: np.ndarray) -> np.ndarray:
    """Apply a function of one (H, W, C) map to (N, C, H, W)."""
    return np.stack([function(image.transpose(1, 2, 0)).transpose(2, 0, 1) for image in x])


def _over_taps(function, views: np.ndarray, w: Windows) -> np.ndarray:
    """Reduce (N, C, *out, *kernel) by a function of two arrays, one tap after another."""
    first, *others = np.ndindex(*w.kernel)
    total = np.array(views[(..., *first)])
    for tap in others:
        function(total, views[(..., *tap)], out=total)
    return total


def max_pool(
    x,
    *,
    kernel_shape,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    ceil_mode=0,
    storage_order=0,
    outputs=1,
):
    """Maximum of each window and, where it is asked for, its place in the flattened input.

    Places count along rows, or with `storage_order` along columns.
    """
    w = windows(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    if outputs == 1 and _kernel_serves(x, w) and not any(w.beyond):
        sides = tuple(zip(w.begin, w.end, strict=True))
        return _each_map(
            lambda m: functional.max_pool(m, w.kernel, w.strides, sides, w.dilations), x
        )
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    dims = len(w.kernel)
    views = w.views(x, least)
    largest = _over_taps(np.maximum, views, w)
    if outputs == 1:
        return largest
    flat = views.reshape(check_size((*largest.shape, np.prod(w.kernel)), x.dtype))
    taps = np.unravel_index(flat.argmax(-1), w.kernel)
    places = [
        np.arange(w.out[i]).reshape([-1 if j == i else 1 for j in range(dims)]) * w.strides[i]
        - w.begin[i]
        + taps[i] * w.dilations[i]
        for i in range(dims)
    ]
    order = "F" if storage_order else "C"
    inside = np.ravel_multi_index(places, x.shape[2:], mode="clip", order=order)
    images = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *(1,) * dims)
    return largest, (inside + images * int(np.prod(x.shape[2:]))).astype(np.int64)


def average_pool(
    x,
    *,
    kernel_shape,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    ceil_mode=0,
    count_include_pad=0,
):
    """Mean of each window, without padding unless `count_include_pad` counts it as zeros."""
    w = windows(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    include = bool(count_include_pad)
    plain = set(w.dilations) <= {1} and not any(w.beyond)
    if _kernel_serves(x, w) and plain:
        sides = tuple(zip(w.begin, w.end, strict=True))
        return _each_map(lambda m: functional.avg_pool(m, w.kernel, w.strides, sides, include), x)
    taps = tuple(range(-len(w.kernel), 0))
    ones = np.ones((1, 1, *x.shape[2:]), x.dtype)
    if include:
        sides = list(zip(w.begin, w.end, strict=True))
        ones = np.pad(ones, [(0, 0), (0, 0), *sides], constant_values=1)
        inner = Windows(
            w.kernel, w.strides, w.dilations, *([(0,) * len(sides)] * 2), w.out, w.beyond
        )
        count = inner.views(ones, 0).sum(taps)
    else:
        count = w.views(ones, 0).sum(taps)
    return _over_taps(np.add, w.views(x, 0), w) / count


def lp_pool(
    x,
    *,
    kernel_shape,
    p=2,
    strides=None,
    dilations=None,
    pads=None,
    auto_pad="NOTSET",
    ceil_mode=0,
):
    """``(sum of |x| ** p) ** (1 / p)`` of each window."""
    w = windows(
        x.shape[2:],
        kernel_shape,
        strides=strides,
        dilations=dilations,
        pads=pads,
        auto_pad=auto_pad,
        ceil_mode=ceil_mode,
    )
    taps = tuple(range(-len(w.kernel), 0))
    return (w.views(np.abs(x) ** p, 0).sum(taps) ** (1 / p)).astype(x.dtype, copy=False)


def max_unpool(x, places, size=None, *, kernel_shape, strides=None, pads=None):
    """Zeros, with values at the places from which max_pool took them."""
    dims = x.ndim - 2
    kernel = per_axis(kernel_shape, 1, dims, "kernel_shape")
    strides, (begin, end) = per_axis(strides, 1, dims, "strides"), padding(pads, dims)
    inferred = [
        (n - 1) * s - b - e + k
        for n, s, b, e, k in zip(x.shape[2:], strides, begin, end, kernel, strict=True)
    ]
    small = check_size((*x.shape[:2], *inferred), x.dtype)
    shape = check_size(small if size is None else size, x.dtype)
    out = np.zeros(small, x.dtype)
    if places.size and not 0 <= places.min() <= places.max() < out.size:
        raise ShapeError(f"a place outside of the {out.size} values of the result")
    out.ravel()[places.ravel()] = x.ravel()
    if shape == small:
        return out
    whole = np.zeros(shape, x.dtype)
    whole[tuple(slice(n) for n in small)] = out
    return whole


def _spatial(x):
    if x.ndim < 3:
        raise ShapeError(f"an input of {x.shape} is not (batch, channels, *size)")
    return tuple(range(2, x.ndim))


def global_average_pool(x):
    """Mean of each channel."""
    axes = _spatial(x)
    if x.dtype == np.float32 and x.ndim == 4 and x.size:
        means = [functional.global_avg_pool(image.transpose(1, 2, 0)) for image in x]
        return np.stack(means)[:, :, None, None]
    return mean(x, axes).astype(x.dtype, copy=False)


def global_max_pool(x):
    """Maximum of each channel."""
    return x.max(_spatial(x), keepdims=True)


def global_lp_pool(x, *, p=2):
    """``(sum of |x| ** p) ** (1 / p)`` of each channel."""
    return ((np.abs(x) ** p).sum(_spatial(x), keepdims=True) ** (1 / p)).astype(x.dtype, copy=False)


OPERATORS = operators(
    {
        "AveragePool": average_pool,
        "GlobalAveragePool": global_average_pool,
        "GlobalLpPool": global_lp_pool,
        "GlobalMaxPool": global_max_pool,
        "LpPool": lp_pool,
        "MaxPool": max_pool,
        "MaxUnpool": max_unpool,
    },
    widen=True,
)
