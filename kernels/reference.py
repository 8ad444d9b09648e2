"""Every kernel's operation in NumPy, float64, written to be obvious: what the kernels are held to.

One image, channels last: maps are (H, W, C). Any float dtype goes in, float64 comes out, and NaN in
gives NaN out. Nothing here shares code with the kernels. Convolution is the cross-correlation of
PyTorch's ``Conv2d``; activations are torchvision's (``Hardsigmoid`` is relu6(x + 3) / 6).
"""

import numpy as np

NO_PADDING = ((0, 0), (0, 0))


def conv2d(x, w, bias=None, stride=(1, 1), padding=NO_PADDING, dilation=(1, 1), groups=1):
    """Convolve: out[y, x, o] = bias[o] + sum of window[y, x, c, i, j] * w[o, i, j, c] over i, j, c.

    Parameters
    ----------
    x : (H, W, Cin) array
    w : (Cout, kh, kw, Cin / groups) array
        Output channel o reads the input channels of group ``o // (Cout / groups)``.
    bias : (Cout,) array, optional
    stride, dilation : (int, int)
        Down, across.
    padding : ((int, int), (int, int))
        Zeros put (above, below), (left, right).
    groups : int

    Returns
    -------
    (Hout, Wout, Cout) float64 array
        ``Hout = (H + above + below - dilation * (kh - 1) - 1) // stride + 1``; Wout likewise.

    Raises
    ------
    ValueError
        If channels and groups do not fit.

    References
    ----------
    https://pytorch.org/docs/stable/generated/torch.nn.Conv2d.html
    """
    x, w = _f64(x), _f64(w)
    c_out, kh, kw, c_group = w.shape
    if x.shape[2] != c_group * groups or c_out % groups:
        raise ValueError(f"input {x.shape}, weights {w.shape} and {groups} groups do not fit")
    taps = _windows(x, (kh, kw), stride, padding, dilation)
    per_group = c_out // groups
    parts = [
        np.einsum(
            "yxcij,oijc->yxo",
            taps[:, :, g * c_group : (g + 1) * c_group],
            w[g * per_group : (g + 1) * per_group],
            optimize=True,
        )
        for g in range(groups)
    ]
    return _plus(np.concatenate(parts, axis=2), bias)


def depthwise_conv2d(x, w, bias=None, stride=(1, 1), padding=NO_PADDING, dilation=(1, 1)):
    """Convolve every channel with its own filter, one tap after another.

    Parameters
    ----------
    x : (H, W, C) array
    w : (C, kh, kw) array
    bias : (C,) array, optional
    stride, padding, dilation
        As in `conv2d`.

    Returns
    -------
    (Hout, Wout, C) float64 array
    """
    x, w = _f64(x), _f64(w)
    _, kh, kw = w.shape
    padded = np.pad(x, (*padding, (0, 0)))
    h_out = (padded.shape[0] - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    w_out = (padded.shape[1] - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((h_out, w_out, x.shape[2]))
    for i in range(kh):
        for j in range(kw):
            top, left = i * dilation[0], j * dilation[1]
            rows = slice(top, top + (h_out - 1) * stride[0] + 1, stride[0])
            columns = slice(left, left + (w_out - 1) * stride[1] + 1, stride[1])
            out += padded[rows, columns] * w[:, i, j]
    return _plus(out, bias)


def matmul(x, w, bias=None, residual=None, activation="identity"):
    """Compute ``activation(x @ w.T + bias) + residual``.

    Parameters
    ----------
    x : (M, K) array
    w : (N, K) array
        One row an output, as in ``torch.nn.Linear``.
    bias : (N,) array, optional
    residual : (M, N) array, optional
        Added after the activation.
    activation : str
        A name of `ACTIVATIONS`.

    Returns
    -------
    (M, N) float64 array
    """
    return _plus(ACTIVATIONS[activation](_plus(_f64(x) @ _f64(w).T, bias)), residual)


def linear(x, w, bias=None):
    """Compute ``w @ x + bias`` for one vector.

    Parameters
    ----------
    x : (K,) array
    w : (N, K) array
    bias : (N,) array, optional

    Returns
    -------
    (N,) float64 array
    """
    return _plus(_f64(w) @ _f64(x), bias)


def batch_norm(x, gamma, beta, mean, var, eps):
    """Normalise by stored statistics: ``(x - mean) / sqrt(var + eps) * gamma + beta``.

    Parameters
    ----------
    x : (..., C) array
    gamma, beta, mean, var : (C,) array
    eps : float

    Returns
    -------
    (..., C) float64 array

    References
    ----------
    Ioffe and Szegedy, "Batch Normalization", 2015, algorithm 2.
    """
    return (_f64(x) - _f64(mean)) / np.sqrt(_f64(var) + eps) * _f64(gamma) + _f64(beta)


def identity(x):
    """Return x as float64."""
    return _f64(x)


def relu(x):
    """Compute ``max(x, 0)``."""
    return np.maximum(_f64(x), 0.0)


def relu6(x):
    """Compute ``min(max(x, 0), 6)``."""
    return np.clip(_f64(x), 0.0, 6.0)


def leaky_relu(x, alpha=0.01):
    """Compute x where it is positive, ``alpha * x`` elsewhere."""
    x = _f64(x)
    return np.where(x > 0, x, alpha * x)


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


ACTIVATIONS = {
    fn.__name__: fn
    for fn in (identity, relu, relu6, leaky_relu, hard_sigmoid, hard_swish, sigmoid, silu)
}


def max_pool(x, kernel, stride=None, padding=NO_PADDING):
    """Take each window's maximum; the padding never wins.

    Parameters
    ----------
    x : (H, W, C) array
    kernel : (int, int)
    stride : (int, int), optional
        The kernel's size if not given.
    padding : ((int, int), (int, int))
        (above, below), (left, right).

    Returns
    -------
    (Hout, Wout, C) float64 array
    """
    taps = _windows(_f64(x), kernel, stride or kernel, padding, fill=-np.inf)
    return taps.max(axis=(3, 4))


def avg_pool(x, kernel, stride=None, padding=NO_PADDING, count_include_pad=True):
    """Take each window's mean.

    Parameters
    ----------
    x, kernel, stride, padding
        As in `max_pool`.
    count_include_pad : bool
        Divide by the whole window (PyTorch's default) or by its cells inside the map (TensorFlow).

    Returns
    -------
    (Hout, Wout, C) float64 array
    """
    x = _f64(x)
    stride = stride or kernel
    total = _windows(x, kernel, stride, padding).sum(axis=(3, 4))
    if count_include_pad:
        return total / (kernel[0] * kernel[1])
    inside = np.ones((*x.shape[:2], 1))
    return total / _windows(inside, kernel, stride, padding).sum(axis=(3, 4))


def global_avg_pool(x):
    """Average a (H, W, C) map over its pixels into (C,)."""
    return _f64(x).mean(axis=(0, 1))


def squeeze_excite(x, w1, b1, w2, b2):
    """Scale every channel by ``hard_sigmoid(w2 @ relu(w1 @ mean + b1) + b2)``.

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

    References
    ----------
    Hu et al., "Squeeze-and-Excitation Networks", 2018; with MobileNetV3's hard sigmoid.
    """
    hidden = relu(linear(global_avg_pool(x), w1, b1))
    return _f64(x) * hard_sigmoid(linear(hidden, w2, b2))


def l2_normalize(x, eps=1e-12):
    """Divide each last-axis vector of x by its Euclidean length, or by eps if that is larger."""
    x = _f64(x)
    return x / np.maximum(np.sqrt((x * x).sum(axis=-1, keepdims=True)), eps)


def dot_products(queries, vectors):
    """Compute all inner products of (Q, D) queries with (N, D) vectors: (Q, N)."""
    return np.einsum("qd,nd->qn", _f64(queries), _f64(vectors))


def _f64(x):
    return np.asarray(x, np.float64)


def _plus(out, term):
    return out if term is None else out + _f64(term)


def _windows(x, kernel, stride, padding, dilation=(1, 1), fill=0.0):
    """View a padded (H, W, C) map as its windows: (Hout, Wout, C, kh, kw)."""
    padded = np.pad(x, (*padding, (0, 0)), constant_values=fill)
    extent = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    views = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=(0, 1))
    return views[:: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]
