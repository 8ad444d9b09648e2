"""Every operation as a function of arrays, for experiments: maps are (H, W, C) float32.

Each call checks its arguments, packs the weights and runs once; a plan does the first two in
advance. Inputs are converted to C-contiguous float32.
"""

from typing import Any

import numpy as np

from . import (
    attend,
    channels,
    conv,
    elementwise,
    interpolate,
    pool,
    recurrent,
    standardise,
    vector,
    winograd,
)
from ._program import At, Map, run
from .activation import ACTIVATIONS, applied
from .conv import Window
from .winograd_filters import WinogradFilterCache


def _array(x, dimensions, name):
    x = np.ascontiguousarray(x, np.float32)
    if x.ndim != dimensions or 0 in x.shape[1:]:
        raise ValueError(f"{name} must have {dimensions} dimensions, none empty: {x.shape}")
    return x


def _activation(name):
    if name not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ValueError(f"unknown activation {name!r}; there are {known}")
    return name


def _vector(x, length, name):
    x = np.zeros(length, np.float32) if x is None else _array(x, 1, name)
    if len(x) != length:
        raise ValueError(f"{name} must have {length} values, not {len(x)}")
    return x


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _window(kernel, stride, padding, dilation):
    """Window from numbers or pairs; padding may be ((top, bottom), (left, right))."""
    sides = tuple(_pair(side) for side in _pair(padding))
    window = Window(_pair(kernel), _pair(stride), sides, _pair(dilation))
    if min(*window.kernel, *window.stride, *window.dilation) < 1 or min(min(sides)) < 0:
        raise ValueError(f"kernel, stride and dilation start at 1, padding at 0: {window}")
    return window


def _output(x, window, channels, dtype=np.float32):
    size = window.out_size(*x.shape[:2])
    if min(size) < 1:
        raise ValueError(f"a map of {x.shape[0]} x {x.shape[1]} is too small for {window}")
    return np.empty((*size, channels), dtype)


def _alike(verb, a, b):
    """Two maps of one shape; the verb is what cannot be done with others."""
    a, b = _array(a, 3, "a"), _array(b, 3, "b")
    if a.shape != b.shape:
        raise ValueError(f"cannot {verb} maps of {a.shape} and {b.shape}")
    return a, b


def _made(shape, operation, maps, *more):
    """What the calls of an operation on maps make."""
    out = np.empty(shape, np.float32)
    run(operation(Map.of(out), *map(Map.of, maps), *more))
    return out


def conv2d(
    x,
    weights,
    bias=None,
    stride=1,
    padding=0,
    dilation=1,
    groups=1,
    activation="identity",
    residual=None,
    slope=0.01,
    sum_first=False,
):
    """Convolution, as PyTorch's ``conv2d`` (cross-correlation), channels last.

    Larger 3x3 convolutions of stride 1 go by :func:`conv_3x3_winograd`.

    Parameters
    ----------
    x : (H, W, C) array
    weights : (N, KH, KW, C / groups) array
    bias : (N,) array, optional
    stride, dilation : int or pair
        Rows and columns.
    padding : int, pair or pair of pairs
        Rows and columns of zeros; ((top, bottom), (left, right)) where the sides differ.
    groups : int
    activation : str
        One of `ACTIVATIONS`.
    residual : (H', W', N) array, optional
        Added after the activation.
    slope : float
        leaky_relu's factor for negative values.
    sum_first : bool
        Add the residual before the activation instead.

    Returns
    -------
    (H', W', N) float32 array
    """
    x, weights = _array(x, 3, "x"), _array(weights, 4, "weights")
    channels = len(weights)
    if channels == 0 or groups < 1 or channels % groups or weights.shape[3] * groups != x.shape[2]:
        raise ValueError(
            f"weights {weights.shape} in {groups} groups do not fit an input of {x.shape}"
        )
    window = _window(weights.shape[1:3], stride, padding, dilation)
    out, kchw = _output(x, window, channels), weights.transpose(0, 3, 1, 2)
    scratch = conv.scratch_size(out.shape[:2], kchw.shape, window, groups)
    run(
        conv.convolution(
            Map.of(out),
            _bordered(x, window),
            kchw,
            _vector(bias, channels, "bias"),
            window,
            groups,
            _activation(activation),
            _residual(residual, out),
            slope,
            At(np.empty(scratch, np.float32)) if scratch else None,
            sum_first,
        )
    )
    return out


def _bordered(x, window):
    """Map of an array, copied between borders of zeros."""
    (top, _), (left, _) = window.padding
    whole = Map.of(np.pad(x, (*window.padding, (0, 0))))
    return whole._replace(offset=whole.at(top, left).offset, height=x.shape[0], width=x.shape[1])


def _residual(residual, out):
    if residual is None:
        return None
    residual = _array(residual, 3, "residual")
    if residual.shape != out.shape:
        raise ValueError(f"residual {residual.shape} does not fit an output of {out.shape}")
    return Map.of(residual)


def conv_3x3_winograd(
    x: Any,
    cache: WinogradFilterCache,
    padding: Any = 0,
    bias: Any = None,
    activation: str = "identity",
    residual: Any = None,
) -> np.ndarray:
    """3x3 convolution of stride 1 by Winograd's algorithm (Lavin and Gray, 2015).

    For its error see :class:`WinogradFilterCache`; a value that is not finite makes NaN of most
    outputs of the tiles that read it.

    Parameters
    ----------
    x : (H, W, C) array
    cache : WinogradFilterCache
    padding, bias, residual
        As in :func:`conv2d`.
    activation : str
        By name; leaky_relu's slope is 0.01.

    Returns
    -------
    (H', W', N) float32 array
    """
    x = _array(x, 3, "x")
    if x.shape[2] != cache.channels:
        raise ValueError(f"filters of {cache.channels} channels do not fit an input of {x.shape}")
    curve = applied(_activation(activation))
    window = _window((3, 3), 1, padding, 1)
    out = _output(x, window, cache.outputs)
    size = winograd.scratch_size(*out.shape[:2], cache.channels, cache.outputs, cache.tile)
    bias, residual = _vector(bias, cache.outputs, "bias"), _residual(residual, out)
    source, scratch = window.first_tap(_bordered(x, window)), At(np.empty(size, np.float32))
    run(winograd.convolution(Map.of(out), source, cache, bias, curve, residual, scratch))
    return out


def depthwise_conv2d(x, weights, bias=None, stride=1, padding=0, activation="identity"):
    """Convolution with one filter a channel; ``weights`` is (C, KH, KW)."""
    weights = _array(weights, 3, "weights")[..., None]
    groups = len(weights)
    return conv2d(x, weights, bias, stride, padding, groups=groups, activation=activation)


def linear(x, weights, bias=None, activation="identity", residual=None):
    """``activation(x @ weights.T + bias) + residual`` for ``x`` (M, K) and ``weights`` (N, K)."""
    x, weights = _array(x, 2, "x"), _array(weights, 2, "weights")
    if not len(x):
        return np.empty((0, len(weights)), np.float32)
    residual = None if residual is None else _array(residual, 2, "residual")[None]
    return conv2d(x[None], weights[:, None, None], bias, activation=activation, residual=residual)[
        0
    ]


def activation(x, name, slope=0.01):
    """Activation by name, of an array of any shape."""
    x = np.ascontiguousarray(x, np.float32)
    out = np.empty_like(x)
    if x.size:
        flat = [Map.of(a.reshape(1, 1, -1)) for a in (out, x)]
        run(elementwise.activate(*flat, _activation(name), slope))
    return out


def add(a, b):
    """Sum of two maps."""
    a, b = _alike("add", a, b)
    return _made(a.shape, elementwise.add, [a, b])


def multiply(a, b):
    """Product of two maps, element by element."""
    a, b = _alike("multiply", a, b)
    return _made(a.shape, elementwise.multiply, [a, b])


def tanh(x):
    """Hyperbolic tangent of a map."""
    x = _array(x, 3, "x")
    return _made(x.shape, elementwise.tanh_of, [x])


def interleave(a, b):
    """Channels of two maps by turns: those of ``a`` are the even ones."""
    a, b = _alike("interleave", a, b)
    return _made((*a.shape[:2], 2 * a.shape[2]), channels.interleave, [a, b])


def interleave_linear(x, weights, bias, even, activation="identity"):
    """``interleave(even, y)``, where ``y`` is :func:`linear` of each pixel of ``x`` (H, W, K)."""
    x, weights, even = _array(x, 3, "x"), _array(weights, 2, "weights"), _array(even, 3, "even")
    outputs, channels = weights.shape
    if channels != x.shape[2] or even.shape != (*x.shape[:2], outputs):
        raise ValueError(f"weights {weights.shape} of {x.shape} do not fit even {even.shape}")
    more = weights, _vector(bias, outputs, "bias"), _activation(activation)
    return _made((*x.shape[:2], 2 * outputs), conv.interleaved, [even, x], *more)


def take_channels(x, order):
    """Some channels of a map, in an order, as ``x[:, :, order]``."""
    x, order = _array(x, 3, "x"), np.arange(np.shape(x)[2])[np.asarray(order)]
    return _made((*x.shape[:2], len(order)), channels.take, [x], order)


def scale_shift(x, scale, shift=None):
    """``x * scale + shift`` with (C,) vectors, of a map."""
    x = _array(x, 3, "x")
    scale = _vector(scale, x.shape[2], "scale")
    shift = None if shift is None else _vector(shift, x.shape[2], "shift")
    return _made(x.shape, elementwise.scale_shift, [x], scale, shift)


def layer_norm(x, scale, shift, epsilon=1e-5):
    """Mean 0 and variance 1 of each pixel's channels, ``* scale + shift`` (Ba et al., 2016)."""
    x = _array(x, 3, "x")
    vectors = (_vector(v, x.shape[2], name) for v, name in ((scale, "scale"), (shift, "shift")))
    return _made(x.shape, standardise.layer_norm, [x], *vectors, epsilon)


def attention(q, k, v, heads, scale, bias=None):
    """``softmax(scale * q @ k.T + bias) @ v`` of each head and row (Vaswani et al., 2017).

    Parameters
    ----------
    q : (G, T, heads * size) array
    k : (G, S, heads * size) array
    v : (G, S, heads * width) array
    heads : int
    scale : float
    bias : (G or 1, heads, T, S) array, optional

    Returns
    -------
    (G, T, heads * width) float32 array
    """
    q, k, v = (_array(m, 3, name) for m, name in ((q, "q"), (k, "k"), (v, "v")))
    rows, tokens = len(q), (q.shape[1], k.shape[1])
    fits = rows == len(k) == len(v) and k.shape[1] == v.shape[1] and k.shape[2] == q.shape[2]
    if heads < 1 or not fits or q.shape[2] % heads or v.shape[2] % heads:
        raise ValueError(f"{heads} heads of {q.shape}, {k.shape} and {v.shape} do not fit")
    if bias is not None:
        bias = _array(bias, 4, "bias")
        if bias.shape[0] not in (1, rows) or bias.shape[1:] != (heads, *tokens):
            raise ValueError(f"a bias of {bias.shape} does not fit {heads} heads of {tokens}")
    scratch = np.empty(attend.scratch_size(rows, *tokens, heads, q.shape[2] // heads), np.float32)
    more = heads, scale, At(scratch), bias
    return _made((*q.shape[:2], v.shape[2]), attend.attention, [q, k, v], *more)


def batch_norm(x, gamma, beta, mean, variance, epsilon=1e-5):
    """``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` (Ioffe and Szegedy, 2015)."""
    return scale_shift(x, *batch_norm_line(gamma, beta, mean, variance, epsilon))


def batch_norm_line(gamma, beta, mean, variance, epsilon):
    """Scale and shift, in float64, that batch normalisation with fixed statistics comes to."""
    gamma, beta, mean, variance = (np.asarray(v, np.float64) for v in (gamma, beta, mean, variance))
    scale = gamma / np.sqrt(variance + epsilon)
    return scale, beta - mean * scale


def max_pool(x, kernel, stride=None, padding=0, dilation=1):
    """Maximum over windows; padding never wins."""
    return _pool(x, kernel, stride, padding, dilation, average=False)


def avg_pool(x, kernel, stride=None, padding=0, count_include_pad=True):
    """Mean over windows; padding counts as zeros unless ``count_include_pad`` is False."""
    return _pool(x, kernel, stride, padding, 1, True, count_include_pad)


def _pool(x, kernel, stride, padding, dilation, average, count_include_pad=True):
    x = _array(x, 3, "x")
    window = _window(kernel, kernel if stride is None else stride, padding, dilation)
    out = _output(x, window, x.shape[2])
    run(pool.pool(Map.of(out), Map.of(x), window, average, count_include_pad))
    return out


def global_avg_pool(x):
    """Mean of each channel: (H, W, C) to (C,)."""
    x = _array(x, 3, "x")
    return _made((1, 1, x.shape[2]), pool.global_avg_pool, [x])[0, 0]


def bilinear(x, rows, columns):
    """Values of a map between its pixels, whose centres are at whole numbers.

    Parameters
    ----------
    x : (H, W, C) array
    rows, columns : (H',) and (W',) arrays
        Places; beyond its edges the map goes on as there.

    Returns
    -------
    (H', W', C) float32 array
    """
    x, rows, columns = _array(x, 3, "x"), np.asarray(rows), np.asarray(columns)
    if not (rows.ndim == columns.ndim == 1 and x.size and rows.size and columns.size):
        raise ValueError(f"places {rows.shape} and {columns.shape} on a map of {x.shape}")
    shape = (len(rows), len(columns), x.shape[2])
    return _made(shape, interpolate.bilinear, [x], rows, columns)


def squeeze_excite(x, w1, b1, w2, b2):
    """``x * hard_sigmoid(w2 @ relu(w1 @ mean(x) + b1) + b2)`` (Howard et al., 2019).

    Parameters
    ----------
    x : (H, W, C) array
    w1 : (S, C) array
    b1 : (S,) array
    w2 : (C, S) array
    b2 : (C,) array
    """
    squeezed = linear(global_avg_pool(x)[None], w1, b1, "relu")
    return scale_shift(x, linear(squeezed, w2, b2, "hard_sigmoid")[0])


def l2_normalize(x, smallest=1e-12):
    """``x / max(|x|, smallest)`` of a vector."""
    x = _array(x, 1, "x")
    out = np.empty_like(x)
    run(vector.l2_normalize(out, x, len(x), smallest))
    return out


def dot_products(queries, vectors, out=None):
    """``queries @ vectors.T``: (Q, D) and (N, D) to (Q, N).

    Each product depends on its two vectors alone: not on Q, N or the machine's lane count.
    """
    queries, vectors = _array(queries, 2, "queries"), _array(vectors, 2, "vectors")
    out = _products(queries, vectors, np.float32, out)
    run(vector.dot_products(out, queries, vectors))
    return out


def dot_products_s8(queries, vectors, out=None):
    """``queries @ vectors.T`` of int8 arrays (Q, D) and (N, D), exactly: (Q, N) int32.

    D is at most 65,536.
    """
    queries, vectors = np.ascontiguousarray(queries), np.ascontiguousarray(vectors)
    if not queries.dtype == vectors.dtype == np.int8 or not queries.ndim == vectors.ndim == 2:
        raise ValueError("queries and vectors must be int8 arrays of 2 dimensions")
    if queries.shape[1] > vector.LONGEST_S8:
        raise ValueError(f"int8 vectors have at most {vector.LONGEST_S8} values")
    out = _products(queries, vectors, np.int32, out)
    run(vector.dot_products_s8(out, queries, vectors))
    return out


def _products(queries, vectors, dtype, out):
    """Check the arrays of dot products; ``out``, or a new one."""
    if queries.shape[1] != vectors.shape[1]:
        raise ValueError(f"queries {queries.shape} and vectors {vectors.shape} do not fit")
    shape = (len(queries), len(vectors))
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.carray:
        name = np.dtype(dtype).name
        raise ValueError(f"out must be a writeable C-contiguous {name} array of {shape}")
    return out


def lstm(gates, weights, h, c, reverse=False):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997) over a sequence.

    ``i, o, f = sigmoid(.)`` and ``g = tanh(.)`` of the gates ``gates[t] + weights @ h``, in the
    order i, o, f, g; then ``c = f * c + i * g`` and ``h = o * tanh(c)``.

    Parameters
    ----------
    gates : (T, 4 H) array
        Shares of the input, biases among them.
    weights : (4 H, H) array
    h, c : (H,) array
        States before.
    reverse : bool
        From the last time to the first.

    Returns
    -------
    (2, T, H) float32 array
        ``h`` and ``c`` of every time.
    """
    rows, (h, c) = _rows(gates, weights, 4, h, c)
    made = np.zeros((2, len(rows), len(h)), np.float32)
    first, way = (len(rows) - 1, -1) if reverse else (0, 1)
    places = At(made, first * len(h)), At(rows, first * rows.shape[1])
    sequences = recurrent.Sequences(1, len(rows), way * len(h), way * rows.shape[1], 0)
    run(recurrent.lstm(*places, recurrent.pack(weights, 4), h, c, made[0].size, sequences))
    return made[..., : weights.shape[1]].copy()


def gru(gates, weights, bias, h, reverse=False):
    """Gated recurrent unit (Cho et al., 2014) over a sequence.

    ``z, r = sigmoid(.)`` of the gates ``gates[t] + weights @ h``, in the order z, r, n, and
    ``n = tanh(gates[t] + r * (weights @ h + bias))``; then ``h = (1 - z) * n + z * h``.

    Parameters
    ----------
    gates : (T, 3 H) array
        Shares of the input, biases among them.
    weights : (3 H, H) array
    bias : (H,) array
    h : (H,) array
        State before.
    reverse : bool
        From the last time to the first.

    Returns
    -------
    (T, H) float32 array
        ``h`` of every time.
    """
    rows, (bias, h) = _rows(gates, weights, 3, bias, h)
    out = np.zeros((len(rows), len(h)), np.float32)
    first, way = (len(rows) - 1, -1) if reverse else (0, 1)
    places = At(out, first * len(h)), At(rows, first * rows.shape[1])
    sequences = recurrent.Sequences(1, len(rows), way * len(h), way * rows.shape[1], 0)
    run(recurrent.gru(*places, recurrent.pack(weights, 3), bias, h, sequences))
    return out[:, : weights.shape[1]].copy()


def _rows(gates, weights, count, *vectors):
    """Gates and vectors with padded units."""
    gates, weights = np.asarray(gates, np.float32), np.asarray(weights, np.float32)
    vectors = [np.asarray(v, np.float32) for v in vectors]
    hidden = weights.shape[-1]
    fits = weights.shape == (count * hidden, hidden) and gates.shape[1:] == weights.shape[:1]
    if not (fits and hidden and len(gates) and all(v.shape == (hidden,) for v in vectors)):
        shapes = ", ".join(str(a.shape) for a in (gates, *vectors))
        raise ValueError(f"weights {weights.shape} do not fit {shapes}")
    more = recurrent.padded(hidden) - hidden
    rows = np.pad(gates.reshape(-1, count, hidden), ((0, 0), (0, 0), (0, more)))
    return rows.reshape(len(gates), -1), [np.pad(v, (0, more)) for v in vectors]
