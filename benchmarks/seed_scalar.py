"""The kernels of the seed's table as anyone would write them: plain loops under Numba's ``njit``.

Maps are (H, W, C), channels last; ``x`` of a convolution carries its border. They are what vector
registers are held against, and what every other way must agree with.
"""

import numpy as np
from numba import njit


@njit
def conv(x, weights, bias):
    """Convolution with (N, KH, KW, C) weights, stride 1."""
    n, kh, kw, channels = weights.shape
    rows, columns = x.shape[0] - kh + 1, x.shape[1] - kw + 1
    out = np.empty((rows, columns, n), np.float32)
    for y in range(rows):
        for i in range(columns):
            for k in range(n):
                total = bias[k]
                for dy in range(kh):
                    for dx in range(kw):
                        for c in range(channels):
                            total += x[y + dy, i + dx, c] * weights[k, dy, dx, c]
                out[y, i, k] = total
    return out


@njit
def depthwise(x, weights, bias):
    """One filter a channel: (KH, KW, C) weights, stride 1."""
    kh, kw, channels = weights.shape
    rows, columns = x.shape[0] - kh + 1, x.shape[1] - kw + 1
    out = np.empty((rows, columns, channels), np.float32)
    for y in range(rows):
        for i in range(columns):
            for c in range(channels):
                total = bias[c]
                for dy in range(kh):
                    for dx in range(kw):
                        total += x[y + dy, i + dx, c] * weights[dy, dx, c]
                out[y, i, c] = total
    return out


@njit
def _byte(value, zero):
    return np.uint8(min(max(np.rint(value) + zero, 0.0), 255.0))


@njit
def conv_u8(x, x_zero, weights, bias, multiplier, zero):
    """Convolution of bytes with int8 weights, exact sums, to bytes."""
    n, kh, kw, channels = weights.shape
    rows, columns = x.shape[0] - kh + 1, x.shape[1] - kw + 1
    out = np.empty((rows, columns, n), np.uint8)
    for y in range(rows):
        for i in range(columns):
            for k in range(n):
                total = bias[k]
                for dy in range(kh):
                    for dx in range(kw):
                        for c in range(channels):
                            a = np.int32(x[y + dy, i + dx, c]) - x_zero
                            total += a * np.int32(weights[k, dy, dx, c])
                out[y, i, k] = _byte(np.float32(total) * multiplier[k], zero)
    return out


@njit
def depthwise_u8(x, x_zero, weights, bias, multiplier, zero):
    """One filter a channel, on bytes."""
    kh, kw, channels = weights.shape
    rows, columns = x.shape[0] - kh + 1, x.shape[1] - kw + 1
    out = np.empty((rows, columns, channels), np.uint8)
    for y in range(rows):
        for i in range(columns):
            for c in range(channels):
                total = bias[c]
                for dy in range(kh):
                    for dx in range(kw):
                        a = np.int32(x[y + dy, i + dx, c]) - x_zero
                        total += a * np.int32(weights[dy, dx, c])
                out[y, i, c] = _byte(np.float32(total) * multiplier[c], zero)
    return out


@njit
def relu(x):
    """The larger of a value and zero."""
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = x[i] if x[i] > 0 else 0
    return out


@njit
def batch_norm(x, gamma, beta, mean, variance, epsilon):
    """Normalisation with fixed statistics."""
    out = np.empty_like(x)
    scale = gamma / np.sqrt(variance + np.float32(epsilon))
    for y in range(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                out[y, i, c] = (x[y, i, c] - mean[c]) * scale[c] + beta[c]
    return out


@njit
def global_average(x):
    """Mean of each channel."""
    sums = np.zeros(x.shape[2], np.float32)
    for y in range(x.shape[0]):
        for i in range(x.shape[1]):
            for c in range(x.shape[2]):
                sums[c] += x[y, i, c]
    return sums / np.float32(x.shape[0] * x.shape[1])


@njit
def quantise(x, inverse, zero):
    """To bytes: ``x * inverse + zero``, halves to even."""
    out = np.empty(len(x), np.uint8)
    for i in range(len(x)):
        out[i] = _byte(x[i] * inverse, zero)
    return out


@njit
def unit(x):
    """A vector over its length."""
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    length = np.sqrt(total)
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = x[i] / length
    return out


@njit
def resize(pixels, y_first, y_weights, x_first, x_weights):
    """Rows, then columns, of weighted sums: (H, W, C) bytes."""
    rows, columns, channels = len(y_first), len(x_first), 3
    line = np.empty((pixels.shape[1], channels), np.float32)
    out = np.empty((rows, columns, channels), np.uint8)
    for y in range(rows):
        for i in range(pixels.shape[1]):
            for c in range(channels):
                total = np.float32(0)
                for t in range(y_weights.shape[1]):
                    total += y_weights[y, t] * pixels[y_first[y] + t, i, c]
                line[i, c] = total
        for i in range(columns):
            for c in range(channels):
                total = np.float32(0)
                for t in range(x_weights.shape[1]):
                    total += x_weights[i, t] * line[x_first[i] + t, c]
                out[y, i, c] = np.uint8(min(max(total + np.float32(0.5), 0.0), 255.0))
    return out


@njit
def dots(query, vectors):
    """Products of a vector with each of many, in float32."""
    out = np.empty(len(vectors), np.float32)
    for i in range(len(vectors)):
        total = np.float32(0)
        for d in range(len(query)):
            total += query[d] * vectors[i, d]
        out[i] = total
    return out


@njit
def dots_s8(query, vectors):
    """The same of int8 vectors, in int32."""
    out = np.empty(len(vectors), np.int32)
    for i in range(len(vectors)):
        total = np.int32(0)
        for d in range(len(query)):
            total += np.int32(query[d]) * np.int32(vectors[i, d])
        out[i] = total
    return out
