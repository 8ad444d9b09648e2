"""Shapes: the same values otherwise arranged, parted or joined."""

import math

import numpy as np

from rvcnn.errors import ShapeError

from .base import axes_of, axis_of, check_size, choose, ints, operators


def reshape(x, shape, *, allowzero=0):
    """``x`` in another shape; -1 is what remains, 0 the size that `x` has there."""
    sizes = list(ints(shape))
    if not allowzero:
        for i, n in enumerate(sizes):
            if n == 0:
                sizes[i] = x.shape[axis_of(i, x.ndim)]
    return x.reshape(sizes)


def flatten(x, *, axis=1):
    """A matrix: the dimensions before `axis` are its rows."""
    if not -x.ndim <= axis <= x.ndim:
        raise ShapeError(f"axis {axis} of an array of {x.ndim} dimensions")
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(x, axes=None):
    """``x`` without some dimensions of size 1, or all of them."""
    return np.squeeze(x, None if axes is None else axes_of(np.ravel(axes), x.ndim))


def unsqueeze(x, axes):
    """``x`` with dimensions of size 1, at these places in the result."""
    axes = axes_of(np.ravel(axes), x.ndim + np.size(axes))
    return np.expand_dims(x, axes)


def transpose(x, *, perm=None):
    """``x`` with its dimensions in another order, or in reverse."""
    return x.transpose(perm)


def concat(*arrays, axis):
    """Arrays one after the other along an axis."""
    axis = axis_of(axis, arrays[0].ndim)
    total = sum(a.size for a in arrays)
    check_size((total,), arrays[0].dtype)
    return np.concatenate(arrays, axis)


def split(x, sizes=None, *, axis=0, num_outputs=None, outputs=1):
    """Parts of `x` along an axis, of given sizes or alike, the last one then being the rest."""
    axis = axis_of(axis, x.ndim)
    length = x.shape[axis]
    if sizes is None:
        count = num_outputs or outputs
        if not 0 < count <= max(length, outputs):
            raise ShapeError(f"{count} parts of an axis of {length}")
        part = -(-length // count)
        ends = [min(part * (i + 1), length) for i in range(count)]
    else:
        sizes = ints(sizes)
        if min(sizes, default=0) < 0 or sum(sizes) != length:
            raise ShapeError(f"parts of {list(sizes)} of an axis of {length}: they must sum to it")
        ends = list(np.cumsum(sizes))
    return tuple(np.split(x, ends[:-1], axis))


def slice_(x, starts, ends, axes=None, steps=None):
    """Every `steps`-th value from `starts` to before `ends` along `axes`.

    Places below 0 count from the end, and those beyond an axis are its ends.
    """
    starts, ends = ints(starts), ints(ends)
    axes = range(len(starts)) if axes is None else ints(axes)
    axes = axes_of(axes, x.ndim)
    steps = (1,) * len(starts) if steps is None else ints(steps)
    place = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        place[axis] = slice(start, end, step) if step > 0 else _backwards(x, axis, start, end, step)
    return x[tuple(place)]


def _backwards(x, axis, start, end, step):
    """A slice in reverse; a place before the first is the first, unlike NumPy's."""
    n = x.shape[axis]
    start, end = (v + n if v < 0 else v for v in (start, end))
    return slice(min(max(start, 0), n - 1), end if end >= 0 else None, step)


def expand(x, shape):
    """``x`` broadcast with a shape."""
    return np.broadcast_to(x, check_size(np.broadcast_shapes(x.shape, ints(shape)), x.dtype))


def tile(x, repeats):
    """Copies of `x` beside one another, so many along each axis."""
    repeats = ints(repeats)
    if len(repeats) != x.ndim:
        raise ShapeError(f"{len(repeats)} repeats of an array of {x.ndim} dimensions")
    check_size([n * r for n, r in zip(x.shape, repeats, strict=True)], x.dtype)
    return np.tile(x, repeats)


def shape_of(x, *, start=0, end=None):
    """Sizes of `x`, from one dimension to another."""
    return np.array(x.shape[start:end], np.int64)


def size_of(x):
    """Number of values."""
    return np.array(x.size, np.int64)


def depth_to_space(x, *, blocksize, mode="DCR"):
    """Channels laid out as blocks of pixels; in `mode` CRD a channel's block lies together."""
    n, c, h, w = x.shape
    b = blocksize
    shape, order = choose(
        {
            "DCR": ((n, b, b, c // (b * b), h, w), (0, 3, 4, 1, 5, 2)),
            "CRD": ((n, c // (b * b), b, b, h, w), (0, 1, 4, 2, 5, 3)),
        },
        mode,
        "mode",
    )
    return x.reshape(shape).transpose(order).reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(x, *, blocksize, mode="DCR"):
    """Blocks of pixels laid out as channels; in `mode` CRD a channel's block lies together."""
    n, c, h, w = x.shape
    b = blocksize
    order = choose({"DCR": (0, 3, 5, 1, 2, 4), "CRD": (0, 1, 3, 5, 2, 4)}, mode, "mode")
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(order)
    return blocks.reshape(n, c * b * b, h // b, w // b)


def trilu(x, k=None, *, upper=1):
    """The upper or lower triangle of matrices, from the `k`-th diagonal on; 0 elsewhere."""
    k = 0 if k is None else int(k)
    rows, columns = (np.arange(n) for n in x.shape[-2:])
    distance = columns[None, :] - rows[:, None]
    keep = distance >= k if upper else distance <= k
    return np.where(keep, x, np.zeros((), x.dtype))


def reverse_sequence(x, lengths, *, batch_axis=1, time_axis=0):
    """The first values along the time axis in reverse, so many for each sequence."""
    out = np.moveaxis(x, (batch_axis, time_axis), (0, 1)).copy()
    for row, length in zip(out, ints(lengths), strict=True):
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(out, (0, 1), (batch_axis, time_axis))


def identity(x):
    """``x``."""
    return x


OPERATORS = operators(
    {
        "Concat": concat,
        "DepthToSpace": depth_to_space,
        "Expand": expand,
        "Flatten": flatten,
        "Identity": identity,
        "Reshape": reshape,
        "ReverseSequence": reverse_sequence,
        "Shape": shape_of,
        "Size": size_of,
        "Slice": slice_,
        "SpaceToDepth": space_to_depth,
        "Split": split,
        "Squeeze": squeeze,
        "Tile": tile,
        "Transpose": transpose,
        "Trilu": trilu,
        "Unsqueeze": unsqueeze,
    }
)
