"""Every kernel's operation in NumPy, float64, written to be obvious: what the kernels are held to.

One image, channels last: maps are (H, W, C). Functions are called like their namesakes in
``rvcnn.kernels``. Any float dtype goes in, float64 comes out, and NaN in gives NaN out. Nothing
here shares code with the kernels. Convolution is the cross-correlation of PyTorch's ``Conv2d``;
activations are torchvision's (``Hardsigmoid`` is relu6(x + 3) / 6).
"""

import math

import numpy as np


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
    """Convolve: sum of ``window[y, x, c, i, j] * weights[n, i, j, c]`` over i, j, c.

    Parameters
    ----------
    x : (H, W, C) array
    weights : (N, KH, KW, C / groups) array
        Output channel n reads the input channels of group ``n // (N / groups)``.
    bias : (N,) array, optional
    stride, dilation : int or (int, int)
        Down, across.
    padding : int, (int, int) or ((int, int), (int, int))
        Zeros put (above, below), (left, right).
    groups : int
    activation : str
        A name of `ACTIVATIONS`.
    residual : (H', W', N) array, optional
        Added after the activation.
    slope : float
        leaky_relu's.
    sum_first : bool
        Add the residual, if there is one, before the activation instead.

    Returns
    -------
    (H', W', N) float64 array
        ``H' = (H + above + below - dilation * (KH - 1) - 1) // stride + 1``; W' likewise.

    Raises
    ------
    ValueError
        If channels and groups do not fit.
    """
    x, weights = _f64(x), _f64(weights)
    channels, kh, kw, inputs = weights.shape
    if x.shape[2] != inputs * groups or channels % groups:
        raise ValueError(f"input {x.shape}, weights {weights.shape}, {groups} groups do not fit")
    taps = _windows(x, (kh, kw), stride, padding, dilation)
    outputs = channels // groups
    parts = [
        np.einsum(
            "yxcij,nijc->yxn",
            taps[:, :, g * inputs : (g + 1) * inputs],
            weights[g * outputs : (g + 1) * outputs],
            optimize=True,
        )
        for g in range(groups)
    ]
    out = np.concatenate(parts, axis=2)
    if sum_first and residual is not None:
        return _finish(out + _f64(residual), bias, activation, slope=slope)
    return _finish(out, bias, activation, residual, slope)


def depthwise_conv2d(x, weights, bias=None, stride=1, padding=0, activation="identity", dilation=1):
    """Convolve every channel with its own filter, one tap after another.

    Parameters
    ----------
    x : (H, W, C) array
    weights : (C, KH, KW) array
    bias : (C,) array, optional
    stride, padding, activation, dilation
        As in `conv2d`.

    Returns
    -------
    (H', W', C) float64 array
    """
    x, weights = np.pad(_f64(x), _sides(padding)), _f64(weights)
    stride, dilation = _pair(stride), _pair(dilation)
    _, kh, kw = weights.shape
    height = (x.shape[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    width = (x.shape[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((height, width, x.shape[2]))
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (height - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (width - 1) * stride[1] + 1, stride[1])
            out += x[rows, columns] * weights[:, i, j]
    return _finish(out, bias, activation)


def linear(x, weights, bias=None, activation="identity", residual=None):
    """Compute ``activation(x @ weights.T + bias) + residual``.

    Parameters
    ----------
    x : (..., K) array
    weights : (N, K) array
        One row an output, as in ``torch.nn.Linear``.
    bias : (N,) array, optional
    activation : str
        A name of `ACTIVATIONS`.
    residual : (..., N) array, optional
        Added after the activation.

    Returns
    -------
    (..., N) float64 array
    """
    return _finish(_f64(x) @ _f64(weights).T, bias, activation, residual)


def add(a, b):
    """Add two maps."""
    return _f64(a) + _f64(b)


def multiply(a, b):
    """Multiply two maps, element by element."""
    return _f64(a) * _f64(b)


def tanh(x):
    """Compute the hyperbolic tangent."""
    return np.tanh(_f64(x))


def interleave(a, b):
    """Take the channels of two maps by turns."""
    return np.stack([_f64(a), _f64(b)], axis=3).reshape(*a.shape[:2], -1)


def interleave_linear(x, weights, bias, even, activation="identity"):
    """Take the channels of a map and of a linear layer's result by turns."""
    return interleave(even, linear(x, weights, bias, activation))


def take_channels(x, order):
    """Take some channels of a map, in an order."""
    return _f64(x)[:, :, np.asarray(order)]


def scale_shift(x, scale, shift=0.0):
    """Compute ``x * scale + shift`` with vectors over the last axis."""
    return _f64(x) * _f64(scale) + _f64(shift)


def batch_norm(x, gamma, beta, mean, variance, epsilon=1e-5):
    """Compute ``(x - mean) / sqrt(variance + epsilon) * gamma + beta`` (Ioffe and Szegedy, 2015).

    Parameters
    ----------
    x : (..., C) array
    gamma, beta, mean, variance : (C,) array
    epsilon : float

    Returns
    -------
    (..., C) float64 array
    """
    normal = (_f64(x) - _f64(mean)) / np.sqrt(_f64(variance) + epsilon)
    return normal * _f64(gamma) + _f64(beta)


def identity(x):
    """Return x as float64."""
    return _f64(x)


def relu(x):
    """Compute ``max(x, 0)``."""
    return np.maximum(_f64(x), 0.0)


def relu6(x):
    """Compute ``min(max(x, 0), 6)``."""
    return np.clip(_f64(x), 0.0, 6.0)


def leaky_relu(x, slope=0.01):
    """Compute x where it is positive, ``slope * x`` elsewhere."""
    x = _f64(x)
    return np.where(x > 0, x, slope * x)


def hard_sigmoid(x):
    """Compute ``x / 6 + 1/2`` held to [0, 1]. Howard et al., "Searching for MobileNetV3", 2019."""
    return np.clip(_f64(x) / 6.0 + 0.5, 0.0, 1.0)


def hard_swish(x):
    """Compute ``x * hard_sigmoid(x)``. Howard et al., "Searching for MobileNetV3", 2019."""
    return _f64(x) * hard_sigmoid(x)


def sigmoid(x):
    """Compute ``1 / (1 + exp(-x))``."""
    x = _f64(x)
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def silu(x):
    """Compute ``x * sigmoid(x)``. Elfwing et al., "Sigmoid-Weighted Linear Units", 2017."""
    return _f64(x) * sigmoid(x)


def gelu(x):
    """Compute ``x`` times the normal distribution's share below it. Hendrycks, Gimpel, 2016."""
    x = _f64(x)
    share = [0.5 * math.erfc(-v / math.sqrt(2)) for v in x.reshape(-1).tolist()]
    return x * np.reshape(share, x.shape)


def gelu_tanh(x):
    """Compute gelu's approximation ``x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))``."""
    x = _f64(x)
    return x * sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def quick_gelu(x):
    """Compute ``x * sigmoid(1.702 * x)``."""
    return _f64(x) * sigmoid(1.702 * _f64(x))


ACTIVATIONS = {
    fn.__name__: fn
    for fn in (
        *(identity, relu, relu6, leaky_relu, hard_sigmoid, hard_swish, sigmoid, silu),
        *(gelu, gelu_tanh, quick_gelu),
    )
}


def activation(x, name, slope=0.01):
    """Apply an activation by its name in `ACTIVATIONS`; slope is leaky_relu's."""
    return leaky_relu(x, slope) if name == "leaky_relu" else ACTIVATIONS[name](x)


def max_pool(x, kernel, stride=None, padding=0, dilation=1):
    """Take each window's maximum; the padding never wins.

    Parameters
    ----------
    x : (H, W, C) array
    kernel : int or (int, int)
    stride : int or (int, int), optional
        The kernel's size if not given.
    padding, dilation
        As in `conv2d`.

    Returns
    -------
    (H', W', C) float64 array
    """
    taps = _windows(_f64(x), kernel, stride or kernel, padding, dilation, fill=-np.inf)
    return taps.max(axis=(3, 4))


def avg_pool(x, kernel, stride=None, padding=0, count_include_pad=True):
    """Take each window's mean.

    Parameters
    ----------
    x, kernel, stride, padding
        As in `max_pool`.
    count_include_pad : bool
        Divide by the whole window (PyTorch's default) or by its cells inside the map (TensorFlow).

    Returns
    -------
    (H', W', C) float64 array
    """
    taps = _windows(_f64(x), kernel, stride or kernel, padding)
    if count_include_pad:
        return taps.mean(axis=(3, 4))
    inside = _windows(np.ones((*x.shape[:2], 1)), kernel, stride or kernel, padding)
    return taps.sum(axis=(3, 4)) / inside.sum(axis=(3, 4))


def global_avg_pool(x):
    """Average a (H, W, C) map over its pixels into (C,)."""
    return _f64(x).mean(axis=(0, 1))


def squeeze_excite(x, w1, b1, w2, b2):
    """Scale every channel by ``hard_sigmoid(w2 @ relu(w1 @ mean + b1) + b2)``.

    Hu et al., "Squeeze-and-Excitation Networks", 2018, with MobileNetV3's hard sigmoid.

    Parameters
    ----------
    x : (H, W, C) array
    w1 : (S, C) array
    b1 : (S,) array
    w2 : (C, S) array
    b2 : (C,) array

    Returns
    -------
    (H, W, C) float64 array
    """
    hidden = linear(global_avg_pool(x), w1, b1, "relu")
    return _f64(x) * linear(hidden, w2, b2, "hard_sigmoid")


def l2_normalize(x, smallest=1e-12):
    """Divide each last-axis vector by its Euclidean length, or by ``smallest`` if larger."""
    x = _f64(x)
    return x / np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), smallest)


def dot_products(queries, vectors):
    """Compute all inner products of (Q, D) queries with (N, D) vectors: (Q, N)."""
    return np.einsum("qd,nd->qn", _f64(queries), _f64(vectors))


def dot_products_s8(queries, vectors):
    """Compute all inner products of (Q, D) queries with (N, D) vectors in int64: (Q, N)."""
    return np.einsum("qd,nd->qn", queries.astype(np.int64), vectors.astype(np.int64))


def resize(pixels, box, size):
    """Resample a window of an image with antialiased bilinear weights, not rounded.

    Pillow's ``Image.resize(size, BILINEAR, box)``: each axis by itself, a triangle as wide as an
    output pixel (at least 1) to both sides of its centre, cut at the image's edge, its weights
    scaled to sum to 1. Pillow rounds after each axis.

    Parameters
    ----------
    pixels : (H, W, C) array
    box : (left, top, right, bottom)
        In pixels, fractions allowed.
    size : (width, height)

    Returns
    -------
    (height, width, 3) float64 array
        Of the first three channels.
    """
    left, top, right, bottom = box
    across = _triangles(pixels.shape[1], left, right, size[0])
    down = _triangles(pixels.shape[0], top, bottom, size[1])
    return np.einsum("yh,xw,hwc->yxc", down, across, _f64(pixels)[..., :3], optimize=True)


def _triangles(samples, start, stop, count):
    """Weights (count, samples) of one axis."""
    scale = (stop - start) / count
    centres = start + (np.arange(count)[:, None] + 0.5) * scale
    distance = np.abs(np.arange(samples) + 0.5 - centres) / max(scale, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def _f64(x):
    return np.asarray(x, np.float64)


def _pair(value):
    return (value, value) if np.isscalar(value) else tuple(value)


def _sides(padding):
    """Turn a padding into what ``np.pad`` takes for a map."""
    return (*(_pair(side) for side in _pair(padding)), (0, 0))


def _finish(out, bias, name, residual=None, slope=0.01):
    out = activation(out if bias is None else out + _f64(bias), name, slope)
    return out if residual is None else out + _f64(residual)


def _windows(x, kernel, stride, padding, dilation=1, fill=0.0):
    """View a padded (H, W, C) map as its windows: (H', W', C, KH, KW)."""
    kernel, stride, dilation = _pair(kernel), _pair(stride), _pair(dilation)
    padded = np.pad(x, _sides(padding), constant_values=fill)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(0, 1))
    return views[:: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def bilinear(x, rows, columns):
    """Interpolate a map between its pixels: along rows, then along columns."""
    x = _f64(x)
    for axis, places in enumerate((rows, columns)):
        at = np.clip(_f64(places), 0, x.shape[axis] - 1)
        first = np.floor(at).astype(int)
        share = (at - first).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        after = np.minimum(first + 1, x.shape[axis] - 1)
        x = (1 - share) * np.take(x, first, axis) + share * np.take(x, after, axis)
    return x


def layer_norm(x, scale, shift, epsilon):
    """Bring each pixel's channels to mean 0 and variance 1. Ba, Kiros, Hinton, 2016."""
    x = _f64(x)
    mean = x.mean(2, keepdims=True)
    variance = ((x - mean) ** 2).mean(2, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * _f64(scale) + _f64(shift)


def attention(q, k, v, heads, scale, bias=None):
    """Let each token of a row take from all, head by head. Vaswani et al., 2017, section 3.2."""
    q, k, v = (_f64(m).reshape(*m.shape[:2], heads, -1) for m in (q, k, v))
    scores = scale * np.einsum("gthc,gshc->ghts", q, k)
    if bias is not None:
        scores = scores + _f64(bias)
    shares = np.exp(scores - scores.max(3, keepdims=True))
    shares /= shares.sum(3, keepdims=True)
    return np.einsum("ghts,gshc->gthc", shares, v).reshape(*q.shape[:2], -1)


def lstm(gates, weights, h, c, reverse=False):
    """Run a long short-term memory: (T, 4 H) gates' shares to (2, T, H) outputs and cells."""
    gates, weights, h, c = map(_f64, (gates, weights, h, c))
    made = np.zeros((2, len(gates), len(h)))
    for t in reversed(range(len(gates))) if reverse else range(len(gates)):
        i, o, f, g = np.split(gates[t] + weights @ h, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        made[:, t] = h, c
    return made


def gru(gates, weights, bias, h, reverse=False):
    """Run a gated recurrent unit: (T, 3 H) gates' shares to (T, H) outputs."""
    gates, weights, bias, h = map(_f64, (gates, weights, bias, h))
    out = np.zeros((len(gates), len(h)))
    for t in reversed(range(len(gates))) if reverse else range(len(gates)):
        (z, r, n), (z_h, r_h, n_h) = np.split(gates[t], 3), np.split(weights @ h, 3)
        z, r = sigmoid(z + z_h), sigmoid(r + r_h)
        h = (1 - z) * np.tanh(n + r * (n_h + bias)) + z * h
        out[t] = h
    return out
