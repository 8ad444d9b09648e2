"""Convolution: packs weights and chooses the kernels."""

from typing import NamedTuple

import numpy as np

from . import dwconv_u8, igemm, igemm_u8, winograd
from ._memory import aligned
from .activation import applied
from .dwconv import depthwise, is_written_out
from .winograd_filters import WinogradFilterCache


class Window(NamedTuple):
    """A convolution's or pooling's window: all pairs are (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)

    def first_tap(self, x):
        """A bordered map, placed at the first tap of the first window."""
        (top, _), (left, _) = self.padding
        return x._replace(offset=x.at(-top, -left).offset)

    def out_size(self, height, width):
        """Rows and columns of the output; zero or less where the window does not fit."""
        return tuple(
            (size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, pad, dilation in zip(
                (height, width), self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )


DEPTHWISE_U8 = ((3, 3), (5, 5))
"""Windows that depthwise kernels on bytes serve."""


def is_depthwise(weights, groups):
    """Whether a convolution has one filter a channel."""
    out_channels, group_channels = weights.shape[:2]
    return groups == out_channels > 1 and group_channels == 1


def is_winograd(size, weights, window, groups):
    """Whether Winograd's convolution is the fastest one to ``size`` (rows, columns)."""
    outputs, channels = weights[:2]
    return (
        window.kernel == (3, 3)
        and window.stride == window.dilation == (1, 1)
        and groups == 1
        and winograd.pays(*size, channels, outputs)
    )


def scratch_size(size, weights, window, groups=1):
    """Scratch values with which a convolution is fastest, 0 for many.

    Parameters
    ----------
    size : tuple of int
        Rows and columns of the output.
    weights : tuple of int
        (N, C / groups, KH, KW).
    window : Window
    groups : int
    """
    if not is_winograd(size, weights, window, groups):
        return 0
    return winograd.scratch_size(*size, weights[1], weights[0])


def convolution(
    out,
    x,
    weights,
    bias,
    window,
    groups=1,
    activation="identity",
    residual=None,
    slope=0.01,
    scratch=None,
    sum_first=False,
):
    """Calls for a convolution.

    Parameters
    ----------
    out : Map
        (H', W', N).
    x : Map
        (H, W, C) that carries a zero border of at least ``window.padding``.
    weights : ndarray
        (N, C / groups, KH, KW).
    bias : ndarray
        (N,).
    window : Window
    groups : int
    activation : str
        Any activation's name.
    residual : Map, optional
        (H', W', N), added after the activation.
    slope : float
        leaky_relu's.
    scratch : At, optional
        Room for :func:`scratch_size` values; without it, kernels that need none.
    sum_first : bool
        Whether ``residual``, if there is one, is added before the activation.

    Returns
    -------
    list of Call and BARRIER
        They hold the packed weights.
    """
    first = window.first_tap(x)
    bias = np.ascontiguousarray(bias, np.float32)
    curve, sum_first = applied(activation, slope), sum_first and residual is not None
    if is_depthwise(weights, groups) and residual is None:
        taps = aligned(weights.reshape(len(weights), -1).T, np.float32)
        calls = depthwise(out, first, window, taps, bias, curve)
    elif scratch and is_winograd((out.height, out.width), weights.shape, window, groups):
        filters = WinogradFilterCache(weights.transpose(0, 2, 3, 1))
        calls = winograd.convolution(out, first, filters, bias, curve, residual, scratch, sum_first)
    else:
        calls = _grouped(out, first, weights, bias, window, groups, curve, residual, sum_first)
    return calls


def _grouped(out, first, weights, bias, window, groups, activation, residual, sum_first):
    offsets, length = segments(first, window, groups)
    inputs, outputs = first.channels // groups, out.channels // groups
    mr = igemm.row_tile(out.height * out.width)
    calls = []
    for g in range(groups):
        mine = slice(g * outputs, (g + 1) * outputs)
        rows = weights[mine].transpose(0, 2, 3, 1).reshape(outputs, -1)
        calls += igemm.products(
            some_channels(out, mine),
            some_channels(first, slice(g * inputs, (g + 1) * inputs)),
            window.stride,
            igemm.pack(rows, mr),
            bias[mine],
            offsets,
            length,
            activation,
            residual and some_channels(residual, mine),
            sum_first,
        )
    return calls


def interleaved(out, even, x, weights, bias, activation="identity", slope=0.01):
    """Calls for a 1x1 convolution whose results are stored by turns with another map's channels.

    Parameters
    ----------
    out : Map
        (H, W, 2 * N): the odd channels are the results.
    even : Map
        (H, W, N), none of which lies in ``out``.
    x : Map
        (H, W, C).
    weights : ndarray
        (N, C).
    bias : ndarray
        (N,).
    activation : str
    slope : float
        leaky_relu's.
    """
    packed = igemm.pack(weights, igemm.row_tile(out.height * out.width))
    bias, curve = np.ascontiguousarray(bias, np.float32), applied(activation, slope)
    origin = np.zeros(1, np.int64)
    return igemm.products(
        out, x, (1, 1), packed, bias, origin, x.channels, curve, even, by_turns=True
    )


def quantized_convolution(out, x, weights, store, window, groups=1, residual=None):
    """Calls for a convolution of bytes.

    Parameters
    ----------
    out : Map
        (H', W', N) of uint8, or float32 where ``store.real``.
    x : Map
        (H, W, C) of uint8 that carries a border of what stands for zero, of at least
        ``window.padding``, and may be read a few bytes beyond its end.
    weights : ndarray
        (N, C / groups, KH, KW) int8.
    store : Store
        What becomes of the sums.
    window : Window
    groups : int
    residual : Map, optional
        (H', W', N) of float32, added to real results.

    Returns
    -------
    list of Call
        They hold the packed weights.
    """
    (top, _), (left, _) = window.padding
    first = x._replace(offset=x.offset - top * x.row - left * x.pixel)
    written_out = window.kernel in DEPTHWISE_U8 and is_written_out(window)
    if is_depthwise(weights, groups) and written_out and not store.real:
        return dwconv_u8.depthwise(out, first, window.stride[0], weights[:, 0], store)
    offsets, length = segments(first, window, groups)
    inputs, outputs = first.channels // groups, out.channels // groups
    calls = []
    for g in range(groups):
        mine = slice(g * outputs, (g + 1) * outputs)
        rows = weights[mine].transpose(0, 2, 3, 1).reshape(outputs, len(offsets), length)
        calls += igemm_u8.products(
            some_channels(out, mine),
            some_channels(first, slice(g * inputs, (g + 1) * inputs)),
            window.stride,
            rows,
            store.of_channels(mine),
            offsets,
            residual and some_channels(residual, mine),
        )
    return calls


def some_channels(m, mine):
    return m._replace(offset=m.offset + mine.start, channels=mine.stop - mine.start)


def segments(x, window, groups):
    """Offsets and length of a window's runs of contiguous values, in the order (KH, KW, C)."""
    (kh, kw), (dy, dx) = window.kernel, window.dilation
    inputs = x.channels // groups
    rows = np.arange(kh, dtype=np.int64)[:, None] * dy * x.row
    if dx == 1 and groups == 1 and x.pixel == x.channels:
        return rows.reshape(-1), kw * inputs
    columns = np.arange(kw, dtype=np.int64) * dx * x.pixel
    return (rows + columns).reshape(-1), inputs
