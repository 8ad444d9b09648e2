"""Convolution of volumes (D, H, W, C): for each plane of the result, one over planes of the input.

A window's taps in all its planes are segments of one sum, so that the products of maps serve.
"""

import math

import numpy as np

from . import igemm
from ._memory import LINE, aligned
from ._program import Map, run
from .activation import applied
from .conv import Window, is_depthwise, segments, some_channels
from .dwconv import depthwise


class VolumeFilters:
    """A convolution's weights, brought into the order of its kernels once for many runs.

    Parameters
    ----------
    weights : (N, C / groups, KD, KH, KW) array
    """

    def __init__(self, weights):
        self.weights = np.asarray(weights, np.float32)
        self._packed = {}

    def taps(self):
        """(KD * KH * KW, C) for the depthwise kernel."""
        if 0 not in self._packed:
            self._packed[0] = aligned(self.weights.reshape(len(self.weights), -1).T)
        return self._packed[0]

    def packed(self, groups, mr):
        """For each group, what :func:`.igemm.pack` makes for tiles of ``mr`` rows."""
        if (groups, mr) not in self._packed:
            parts = np.split(self.weights.transpose(0, 2, 3, 4, 1), groups)
            parts = [igemm.pack(rows.reshape(len(rows), -1), mr) for rows in parts]
            self._packed[groups, mr] = parts
        return self._packed[groups, mr]


def convolve(x, filters, groups, bias, stride, padding, dilation):
    """Convolve a volume.

    Parameters
    ----------
    x : (D, H, W, C) float32 array
    filters : VolumeFilters
    groups : int
    bias : (N,) float32 array
    stride, dilation : tuple of int
        Planes, rows, columns.
    padding : tuple of tuple
        ((before, behind), (above, below), (left, right)).

    Returns
    -------
    (D', H', W', N) float32 array

    Raises
    ------
    ValueError
        If the window does not fit.
    """
    whole = _bordered(x, padding)
    kernel = filters.weights.shape[2:]
    window = Window(kernel[1:], stride[1:], ((0, 0), (0, 0)), dilation[1:])
    planes = (len(whole) - (kernel[0] - 1) * dilation[0] - 1) // stride[0] + 1
    size = (planes, *window.out_size(*whole.shape[1:3]))
    if min(size) < 1:
        raise ValueError(f"a volume of {x.shape} is too small for a window of {kernel}")
    out = np.empty((*size, len(filters.weights)), np.float32)
    depth = np.arange(kernel[0]) * dilation[0] * whole[0].size
    results, source = (Map.of(v[0])._replace(buffer=v) for v in (out, whole))
    if window.kernel == window.stride == (1, 1) and stride[0] == 1 and size[1:] == whole.shape[1:3]:
        # All planes are pixels of one row.
        planes, pixels = 1, math.prod(size)
        results, source = (
            Map(v, 0, 1, pixels, v.shape[3], pixels * v.shape[3], v.shape[3]) for v in (out, whole)
        )
    for i in range(planes):
        run(
            _plane(
                results._replace(offset=i * out[0].size),
                source._replace(offset=i * stride[0] * whole[0].size),
                filters,
                groups,
                bias,
                window,
                depth,
            )
        )
    return out


def _plane(out, x, filters, groups, bias, window, depth):
    """Calls for one plane of the result; the window's planes lie ``depth`` after ``x``."""
    if is_depthwise(filters.weights, groups):
        return depthwise(out, x, window, filters.taps(), bias, applied("identity"), depth)
    offsets, length = segments(x, window, groups)
    offsets = (depth[:, None] + offsets).reshape(-1)
    inputs, outputs = x.channels // groups, out.channels // groups
    calls = []
    for g, packed in enumerate(filters.packed(groups, igemm.row_tile(out.height * out.width))):
        mine = slice(g * outputs, (g + 1) * outputs)
        calls += igemm.products(
            some_channels(out, mine),
            some_channels(x, slice(g * inputs, (g + 1) * inputs)),
            window.stride,
            packed,
            bias[mine],
            offsets,
            length,
            applied("identity"),
        )
    return calls


def _bordered(x, padding):
    """A C-contiguous copy of a volume between borders of zeros."""
    shape = [n + sum(sides) for n, sides in zip(x.shape, padding, strict=False)]
    whole = np.zeros((*shape, x.shape[3]), np.float32)
    depth, height, width, channels = x.shape
    (first, _), (top, _), (left, _) = padding
    inner = whole[first : first + depth, top : top + height, left : left + width]
    # Channels of a plane that lie a power of two apart would share a few lines of the cache.
    apart = np.empty((channels, height * width + LINE // 4), np.float32)
    apart = apart[:, : height * width].reshape(channels, height, width)
    for plane, source in zip(inner, x, strict=True):
        apart[:] = source.transpose(2, 0, 1)
        plane[:] = apart.transpose(1, 2, 0)
    return whole
