"""Reductions along axes, places of extrema, and sorting."""

import numpy as np

from rvcnn.errors import ShapeError

from .base import axes_of, axis_of, mean, operators


def _reduce(function):
    """Operator of a reduction; no axes are all, or none with `noop_with_empty_axes`."""

    def reduced(x, axes=None, *, keepdims=1, noop_with_empty_axes=0):
        if axes is None or not axes.size:
            axes = () if noop_with_empty_axes else range(x.ndim)
        axes = axes_of(np.ravel(axes), x.ndim)
        return np.asarray(function(x, axes, bool(keepdims))).astype(x.dtype, copy=False)

    return reduced


def _sum(x, axes, keepdims):
    return x.sum(axes, keepdims=keepdims, dtype=x.dtype)


def _maximum(x, axes, keepdims):
    least = False if x.dtype == bool else -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    return x.max(axes, keepdims=keepdims, initial=least)


def _minimum(x, axes, keepdims):
    most = True if x.dtype == bool else np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).max
    return x.min(axes, keepdims=keepdims, initial=most)


def _log_sum_exp(x, axes, keepdims):
    if x.dtype.kind != "f":
        x = x.astype(np.float64)
    if not x.size:
        return np.log(x.sum(axes, keepdims=keepdims))
    largest = x.max(axes, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0)
    total = np.log(np.exp(x - largest).sum(axes, keepdims=True)) + largest
    return total if keepdims else np.squeeze(total, axes)


def _arg(function):
    """Operator of the place of an extremum along one axis."""

    def place(x, *, axis=0, keepdims=1, select_last_index=0):
        axis = axis_of(axis, x.ndim)
        if select_last_index:
            out = x.shape[axis] - 1 - function(np.flip(x, axis), axis)
        else:
            out = function(x, axis)
        return (np.expand_dims(out, axis) if keepdims else out).astype(np.int64)

    return place


def top_k(x, k, *, axis=-1, largest=1, sorted=1):  # noqa: A002
    """The largest or smallest values along an axis in order, and their places.

    Of equal values the first comes first. Values come in order whether or not it is asked for.
    """
    axis, k = axis_of(axis, x.ndim), int(np.ravel(k)[0])
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"k is {k}, but there are {x.shape[axis]} values along axis {axis}")
    if largest:
        order = np.flip(x, axis).argsort(axis, kind="stable")
        order = x.shape[axis] - 1 - np.flip(order, axis)
    else:
        order = x.argsort(axis, kind="stable")
    places = order[(slice(None),) * axis + (slice(0, k),)]
    return np.take_along_axis(x, places, axis), places.astype(np.int64)


def unique(x, *, axis=None, sorted=1):  # noqa: A002
    """Different values (or slices along an axis), their first places, of each its number, counts.

    They come in ascending order, or without `sorted` in the order of their first places.
    """
    axis = None if axis is None else axis_of(axis, x.ndim)
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not sorted:
        order = first.argsort()
        values = np.take(values, order, axis or 0)
        first, counts, inverse = first[order], counts[order], order.argsort()[inverse]
    return values, *(v.astype(np.int64) for v in (first, inverse, counts))


def non_zero(x):
    """Places of values that are not 0: (rank, how many)."""
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)


def compress(x, condition, *, axis=None):
    """Slices along an axis, or values of the flattened input, for which the condition holds."""
    if axis is not None:
        axis = axis_of(axis, x.ndim)
    return np.compress(condition, x, axis)


OPERATORS = operators(
    {
        "ReduceL1": _reduce(lambda x, a, k: _sum(np.abs(x), a, k)),
        "ReduceL2": _reduce(lambda x, a, k: np.sqrt(_sum(x * x, a, k))),
        "ReduceLogSum": _reduce(lambda x, a, k: np.log(_sum(x, a, k))),
        "ReduceLogSumExp": _reduce(_log_sum_exp),
        "ReduceMax": _reduce(_maximum),
        "ReduceMean": _reduce(mean),
        "ReduceMin": _reduce(_minimum),
        "ReduceProd": _reduce(lambda x, a, k: x.prod(a, keepdims=k, dtype=x.dtype)),
        "ReduceSum": _reduce(_sum),
        "ReduceSumSquare": _reduce(lambda x, a, k: _sum(x * x, a, k)),
    },
    widen=True,
) | operators(
    {
        "ArgMax": _arg(np.argmax),
        "ArgMin": _arg(np.argmin),
        "Compress": compress,
        "NonZero": non_zero,
        "TopK": top_k,
        "Unique": unique,
    }
)
