"""The problems every kernel is tried on: data, the float64 answer, and how far off float32 may be.

A problem names a function of `rvcnn.kernels`, which has a namesake in `rvcnn.kernels.reference`.
Sizes lie below, at, above and between the tiles of every lane count; data is random, seeded by the
problem's name, and holds no zeros.
"""

import zlib
from typing import Any, NamedTuple

import numpy as np
from kernels_checks import EPS, nonzero, rounding_bound

from rvcnn import kernels
from rvcnn.kernels import reference

STEEPEST = {
    "identity": 1.0,
    "relu": 1.0,
    "relu6": 1.0,
    "leaky_relu": 1.0,
    "hard_sigmoid": 1 / 6,
    "hard_swish": 1.5,
    "sigmoid": 0.25,
    "silu": 1.1,
    "gelu": 1.13,
    "gelu_tanh": 1.13,
    "quick_gelu": 1.1,
}
"""How much an activation can enlarge an error of its input."""


def activation_bound(x, name):
    """Rounding of the activation itself, on an exact input."""
    size = np.abs(reference.activation(x, name))
    if name in ("identity", "relu", "relu6"):
        return np.zeros_like(size)
    if "gelu" in name:
        return gelu_bound(x, size, name)
    if name in ("hard_sigmoid", "hard_swish"):
        return 4 * EPS * (np.abs(x) if name == "hard_swish" else np.ones_like(size))
    return 2 * EPS * size + 1e-37 * (1 + np.abs(x))


def gelu_bound(x, size, name):
    """Rounding of ``x * sigmoid(x * p(x * x))``, and how far the polynomial is off gelu.

    ``p`` takes seven products and sums, the argument two more, each rounded; an error of the
    argument counts as the sigmoid rises there.
    """
    share = np.clip(size / np.abs(x), 1e-30, 1 - 1e-16)
    argument = np.abs(np.log(share) - np.log1p(-share))
    rounded = EPS * (3 * size + 16 * np.abs(x) * share * (1 - share) * argument)
    return rounded + (7e-8 if name == "gelu" else 0.0) + 1e-37 * (1 + np.abs(x))


def bilinear_bound(x, rows, columns):
    """Rounding of two weights, and of a difference, a product and a sum for each of them.

    A difference is as large as two values, which lie next to each other.
    """
    return 12 * EPS * reference.bilinear(largest_near(np.abs(x)), rows, columns)


def largest_near(x):
    """Largest value within a pixel of each pixel of a map."""
    whole = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(whole, (3, 3), (0, 1)).max((3, 4))


class Problem(NamedTuple):
    """A call of ``function(*args, **options)``."""

    name: str
    function: str
    args: tuple
    options: dict[str, Any]

    def got(self):
        return getattr(kernels, self.function)(*self.args, **self.options)

    def want(self):
        return getattr(reference, self.function)(*self.args, **self.options)

    @property
    def is_product(self):
        return self.function in ("conv2d", "depthwise_conv2d", "linear")

    def magnitude(self):
        """Sum of the absolute values of all terms of each output of a product."""
        x, weights, bias = self.args
        options = {**self.options, "activation": "identity"}
        residual = options.get("residual")
        if residual is not None:
            options["residual"] = np.abs(residual)
        fn = getattr(reference, self.function)
        return fn(np.abs(x), np.abs(weights), np.abs(bias), **options)

    def rounding(self):
        """How far each output of a product may be off before its activation."""
        return rounding_bound(self.magnitude(), self.args[1][0].size)

    def bound(self):
        """How far each output may be from `want`."""
        return getattr(self, f"_bound_{'product' if self.is_product else self.function}")()

    def without_each_tap(self):
        """Answers of a product that misses one tap of its window (of its first input channel)."""
        x, weights, bias = self.args
        window = weights.shape[1:3] if weights.ndim > 2 else ()
        channel = () if self.function == "depthwise_conv2d" else (0,)
        for tap in np.ndindex(window):
            fewer = np.array(weights)
            fewer[(slice(None), *tap, *channel)] = 0
            yield tap, getattr(reference, self.function)(x, fewer, bias, **self.options)

    def with_a_nan(self):
        """Return this problem with NaN for one value of its first array, and the answer to it."""
        for i in range(self.args[0].size // 2, self.args[0].size):
            x = np.array(self.args[0])
            x.reshape(-1)[i] = np.nan
            problem = self._replace(args=(x, *self.args[1:]))
            want = problem.want()
            if np.isnan(want).any():  # strides may pass a value by
                return problem, want
        raise ValueError(f"{self.name} looks at no value of the second half of its input")

    def _bound_product(self):
        options = {**self.options, "activation": "identity"}
        if not options.get("sum_first"):
            options["residual"] = None
        if self.function == "depthwise_conv2d":
            del options["residual"]
        before = getattr(reference, self.function)(*self.args, **options)
        name = self.options.get("activation", "identity")
        error = STEEPEST[name] * self.rounding()
        return error + activation_bound(before, name) + EPS * np.abs(self.want())

    def _bound_activation(self):
        return activation_bound(*self.args[:2]) + EPS * np.abs(self.want())

    def _bound_add(self):
        return EPS * np.abs(self.want())

    _bound_multiply = _bound_add

    def _bound_tanh(self):
        """Rounding of the exponential, of three sums and of a quotient."""
        return 8 * EPS * np.abs(self.want())

    def _bound_interleave(self):
        return np.zeros_like(self.want())

    _bound_take_channels = _bound_interleave

    def _bound_interleave_linear(self):
        *product, even = self.args
        linear = Problem("", "linear", tuple(product), self.options)
        return reference.interleave(np.zeros_like(even), linear.bound())

    def _bound_scale_shift(self):
        x, scale, *shift = (np.abs(a) for a in self.args)
        return 2 * EPS * reference.scale_shift(x, scale, *shift)

    def _bound_batch_norm(self):
        x, gamma, beta, mean, variance, epsilon = self.args
        scale = np.abs(gamma) / np.sqrt(variance.astype(np.float64) + epsilon)
        return 4 * EPS * ((np.abs(x) + np.abs(mean)) * scale + np.abs(beta))

    def _bound_layer_norm(self):
        x, scale, shift, epsilon = (np.asarray(a, np.float64) for a in self.args)
        channels = x.shape[2]
        centred = np.abs(x - x.mean(2, keepdims=True))
        variance = (centred**2).mean(2, keepdims=True)
        middle = rounding_bound(np.abs(x).mean(2, keepdims=True), channels)
        off = middle + EPS * centred
        spread = 2 * centred.mean(2, keepdims=True) * middle + rounding_bound(variance, channels)
        share = spread / (2 * (variance + epsilon)) + 4 * EPS
        line = np.abs(scale) / np.sqrt(variance + epsilon)
        return line * (off + centred * share) + 2 * EPS * (line * centred + np.abs(shift))

    def _bound_attention(self):
        """Shares are off by as much as two exponents, twice for their sum, and that sum's terms."""
        q, k, v, heads, scale, *bias = self.args
        heads_of = (np.abs(m).reshape(*m.shape[:2], heads, -1).astype(float) for m in (q, k))
        scores = scale * np.einsum("gthc,gshc->ghts", *heads_of)
        if bias:
            scores = scores + np.abs(bias[0])
        exponent = 2 * rounding_bound(scores.max(), q.shape[2] // heads + 4)
        share = 2 * exponent + EPS * (2 * k.shape[1] + 12)
        return share * reference.attention(q, k, np.abs(v), heads, scale, *bias)

    def _bound_bilinear(self):
        return bilinear_bound(*self.args)

    def _bound_max_pool(self):
        return np.zeros_like(self.want())

    def _bound_avg_pool(self):
        size = reference.avg_pool(np.abs(self.args[0]), *self.args[1:], **self.options)
        return rounding_bound(size, np.prod(self.args[1]))

    def _bound_global_avg_pool(self):
        (x,) = self.args
        return rounding_bound(reference.global_avg_pool(np.abs(x)), x[..., 0].size)

    def _bound_squeeze_excite(self):
        x, w1, b1, w2, b2 = (np.abs(a).astype(np.float64) for a in self.args)
        mean = x.mean(axis=(0, 1))
        hidden = w1 @ mean + b1
        error = w1 @ rounding_bound(mean, x[..., 0].size) + rounding_bound(hidden, len(mean))
        error = w2 @ error + rounding_bound(w2 @ hidden + b2, len(b1))
        return x * (error / 6 + 4 * EPS) + EPS * np.abs(self.want())

    def _bound_l2_normalize(self):
        (x,) = self.args
        return rounding_bound(np.abs(self.want()), x.size)

    def _bound_dot_products(self):
        queries, vectors = (np.abs(a) for a in self.args)
        return rounding_bound(reference.dot_products(queries, vectors), vectors.shape[1])


def rng_of(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def label(function, *parts, **options):
    words = [str(p).replace(" ", "") for p in parts]
    words += [f"{k}={str(v).replace(' ', '')}" for k, v in options.items()]
    return "-".join([function, *words])


def conv2d(size, channels, outputs, kernel=(1, 1), residual=False, **options):
    """A convolution of a map of (height, width) and channels."""
    words = {**options, "residual": 1} if residual else options
    name = label("conv2d", size, f"{channels}to{outputs}", f"k{kernel}", **words)
    rng, groups = rng_of(name), options.get("groups", 1)
    args = (
        nonzero(rng, *size, channels),
        nonzero(rng, outputs, *kernel, channels // groups),
        nonzero(rng, outputs),
    )
    if residual:
        shape = reference.conv2d(*args, **options).shape
        options = {**options, "residual": nonzero(rng, *shape)}
    return Problem(name, "conv2d", args, options)


def depthwise(size, channels, kernel, **options):
    name = label("depthwise", size, f"c{channels}", f"k{kernel}", **options)
    rng = rng_of(name)
    args = (nonzero(rng, *size, channels), nonzero(rng, channels, *kernel), nonzero(rng, channels))
    return Problem(name, "depthwise_conv2d", args, options)


def linear(rows, inputs, outputs, residual=False, **options):
    name = label("linear", f"{rows}x{inputs}to{outputs}", **options, residual=int(residual))
    rng = rng_of(name)
    args = (nonzero(rng, rows, inputs), nonzero(rng, outputs, inputs), nonzero(rng, outputs))
    if residual:
        options = {**options, "residual": nonzero(rng, rows, outputs)}
    return Problem(name, "linear", args, options)


def interleave_linear(size, inputs, outputs, **options):
    """Results of a linear layer at each pixel of (height, width), between channels of a map."""
    shapes = (*size, inputs), (outputs, inputs), outputs, (*size, outputs)
    return simple("interleave_linear", *shapes, **options)


def simple(function, *shapes, constants=(), **options):
    """A call with random arrays of these shapes, then constants."""
    name = label(function, *shapes, *constants, **options)
    rng = rng_of(name)
    arrays = tuple(nonzero(rng, *np.atleast_1d(s)) for s in shapes)
    return Problem(name, function, (*arrays, *constants), options)


def activation(shape, name, **options):
    """An activation of values wide enough to meet every bend."""
    full_name = label("activation", name, shape, **options)
    x = rng_of(full_name).uniform(-9, 9, shape).astype(np.float32)
    return Problem(full_name, "activation", (x, name), options)


def bilinear(size, channels, out):
    """Places within a map, at its pixels and up to two pixels beyond its edges."""
    name = label("bilinear", size, channels, out)
    rng = rng_of(name)
    places = [rng.uniform(-2, n + 1, m).astype(np.float32) for n, m in zip(size, out, strict=True)]
    for axis, n in zip(places, size, strict=True):
        axis[len(axis) // 2] = n // 2
    return Problem(name, "bilinear", (nonzero(rng, *size, channels), *places), {})


def attention(rows, tokens, heads, sizes, biases=0):
    """Attention of so many rows of (queries, keys), heads of (size, width) channels."""
    name = label("attention", rows, tokens, heads, sizes, biases)
    rng, (queries, keys), (size, width) = rng_of(name), tokens, sizes
    shapes = (queries, size), (keys, size), (keys, width)
    arrays = [nonzero(rng, rows, count, heads * each) for count, each in shapes]
    bias = [nonzero(rng, biases, heads, queries, keys)] if biases else []
    return Problem(name, "attention", (*arrays, heads, size**-0.5, *bias), {})


def batch_norm(size, channels, epsilon):
    name = label("batch_norm", size, channels, epsilon)
    rng = rng_of(name)
    x = nonzero(rng, *size, channels)
    gamma, beta, mean, variance = nonzero(rng, 4, channels)
    return Problem(name, "batch_norm", (x, gamma, beta, mean, np.abs(variance), epsilon), {})
