"""Windows of convolutions and poolings over any number of dimensions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError

from .base import check_size, choose

_AUTO_PAD = {"NOTSET": None, "": None, "VALID": None, "SAME_UPPER": "upper", "SAME_LOWER": "lower"}


@dataclass(frozen=True)
class Windows:
    """Where the windows of an input lie, one number for each spatial dimension.

    Attributes
    ----------
    kernel, strides, dilations : tuple of int
    begin, end : tuple of int
        Values of padding before and behind the input.
    out : tuple of int
        How many windows there are.
    beyond : tuple of int
        Values that windows read behind the padding, where their number was rounded up.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    out: tuple[int, ...]
    beyond: tuple[int, ...]

    def views(self, x: np.ndarray, fill) -> np.ndarray:
        """View of a padded copy of (N, C, *size) as (N, C, *out, *kernel).

        Parameters
        ----------
        x
            The input.
        fill
            Value of the padding.
        """
        sides = [
            (b, e + beyond) for b, e, beyond in zip(self.begin, self.end, self.beyond, strict=True)
        ]
        padded = np.pad(x, [(0, 0), (0, 0), *sides], constant_values=fill)
        dims = len(self.kernel)
        steps = padded.strides[2:]
        strides = [s * step for s, step in zip(self.strides, steps, strict=True)]
        strides += [d * step for d, step in zip(self.dilations, steps, strict=True)]
        return np.lib.stride_tricks.as_strided(
            padded,
            (*padded.shape[:2], *self.out, *self.kernel),
            (*padded.strides[: padded.ndim - dims], *strides),
            writeable=False,
        )


def per_axis(values: Sequence[int] | None, default: int, dims: int, name: str) -> tuple[int, ...]:
    """Attribute with one number for each spatial dimension, each at least 1."""
    values = (default,) * dims if not values else tuple(map(int, values))
    if len(values) != dims or min(values, default=1) < 1:
        raise ShapeError(f"{name} {list(values)} must have {dims} numbers from 1 up")
    return values


def padding(pads: Sequence[int] | None, dims: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding before and behind each spatial dimension, from the attribute ``pads``."""
    pads = (0,) * 2 * dims if not pads else tuple(map(int, pads))
    if len(pads) != 2 * dims or min(pads, default=0) < 0:
        raise ShapeError(f"pads {list(pads)} must have {2 * dims} numbers from 0 up")
    return pads[:dims], pads[dims:]


def windows(
    size: Sequence[int],
    kernel: Sequence[int],
    *,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Windows:
    """Windows over an input of some size, from a node's attributes.

    With `ceil_mode` the number of windows is rounded up, but the last one begins inside the
    input or the padding before it. ``SAME_UPPER`` and ``SAME_LOWER`` make ``ceil(size / stride)``
    windows and put the odd value of padding behind or before the input.

    Raises
    ------
    ShapeError
        When no window fits.
    """
    dims = len(size)
    kernel = per_axis(kernel, 1, dims, "kernel_shape")
    strides = per_axis(strides, 1, dims, "strides")
    dilations = per_axis(dilations, 1, dims, "dilations")
    begin, end = padding(pads, dims)
    spans = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    same = choose(_AUTO_PAD, auto_pad, "auto_pad")
    if same:
        out = tuple(-(-n // s) for n, s in zip(size, strides, strict=True))
        extra = [
            max((o - 1) * s + span - n, 0)
            for o, s, span, n in zip(out, strides, spans, size, strict=True)
        ]
        less, more = tuple(e // 2 for e in extra), tuple(e - e // 2 for e in extra)
        begin, end = (less, more) if same == "upper" else (more, less)
    elif auto_pad == "VALID":
        begin = end = (0,) * dims
    check_size([n + b + e for n, b, e in zip(size, begin, end, strict=True)])
    if not same:
        out = tuple(map(_count, size, begin, end, spans, strides, [ceil_mode] * dims))
    if min(out, default=1) < 1:
        raise ShapeError(
            f"an input of {tuple(size)} is too small for a window of {kernel} with "
            f"padding {begin} and {end}: use a larger image"
        )
    beyond = tuple(
        max((o - 1) * s + span - n - b - e, 0)
        for o, s, span, n, b, e in zip(out, strides, spans, size, begin, end, strict=True)
    )
    return Windows(kernel, strides, dilations, begin, end, out, beyond)


def _count(size, begin, end, span, stride, ceil_mode):
    """Number of windows along one dimension."""
    room = size + begin + end - span
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    return count - ((count - 1) * stride >= size + begin)
