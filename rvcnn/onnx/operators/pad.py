"""Borders added and cut off."""

import numpy as np

from rvcnn.errors import ShapeError

from .base import axes_of, check_size, choose, ints, operators

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def pad(x, pads, value=None, axes=None, *, mode="constant"):
    """Borders before and behind some axes; negative ones cut off.

    `mode` is constant, reflect (without the last value), edge or wrap.
    """
    axes = range(x.ndim) if axes is None else axes_of(np.ravel(axes), x.ndim)
    pads, count = ints(pads), len(axes)
    if len(pads) != 2 * count:
        raise ShapeError(f"{len(pads)} numbers of padding for {count} axes: there are two for each")
    sides = [(0, 0)] * x.ndim
    for axis, begin, end in zip(axes, pads[:count], pads[count:], strict=True):
        sides[axis] = begin, end
    check_size([max(n + b + e, 0) for n, (b, e) in zip(x.shape, sides, strict=True)], x.dtype)
    cut = tuple(slice(max(-b, 0), n - max(-e, 0)) for n, (b, e) in zip(x.shape, sides, strict=True))
    sides = [(max(b, 0), max(e, 0)) for b, e in sides]
    mode = choose(_MODES, mode, "mode")
    if mode != "constant":
        return np.pad(x[cut], sides, mode)
    value = np.zeros((), x.dtype) if value is None or not value.size else value.reshape(())
    return np.pad(x[cut], sides, constant_values=value.astype(x.dtype, copy=False))


def center_crop_pad(x, shape, *, axes=None):
    """The middle of `x`, or `x` in the middle of zeros, along some axes."""
    axes = range(x.ndim) if axes is None else axes_of(axes, x.ndim)
    place, sides, result = [slice(None)] * x.ndim, [(0, 0)] * x.ndim, list(x.shape)
    for axis, wanted in zip(axes, ints(shape), strict=True):
        surplus = x.shape[axis] - wanted
        result[axis] = wanted
        if surplus > 0:
            place[axis] = slice(surplus // 2, surplus // 2 + wanted)
        else:
            sides[axis] = -surplus // 2, -surplus - -surplus // 2
    check_size(result, x.dtype)
    return np.pad(x[tuple(place)], sides)


OPERATORS = operators({"CenterCropPad": center_crop_pad, "Pad": pad})
