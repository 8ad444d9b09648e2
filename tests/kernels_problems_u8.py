"""Problems for the kernels on bytes: data, and the bits that must come out.

A problem names a function of `rvcnn.kernels`, which has a namesake in
`rvcnn.kernels.reference_u8`. Scales are such that results reach from one end of the bytes to the
other, and over the bends of activations.
"""

from typing import Any, NamedTuple

import numpy as np
from kernels_problems import label, rng_of

from rvcnn import kernels
from rvcnn.kernels import Store
from rvcnn.kernels import reference_u8 as reference

X_SCALE = 0.02
STEP = 0.05
"""Of an output: 255 of them reach from -6 to 6 and a little further."""

TYPICAL = 5400
"""Standard deviation of the product of a byte, less its zero point, and a weight."""


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


class Zeros(NamedTuple):
    """Zero points of the input and of the output."""

    x: Any
    out: Any


ZEROS = Zeros(100, 120)


def conv2d(
    size,
    channels,
    outputs,
    kernel=(1, 1),
    activation="identity",
    real=False,
    residual=False,
    zeros=ZEROS,
    per_channel=False,
    **options,
):
    """A convolution of a map of (height, width) and channels; zero points may differ by channel."""
    extra = {"real": real, "residual": residual, "zeros": tuple(zeros), "each": per_channel}
    name = label(
        "conv2d_u8", size, f"{channels}to{outputs}", f"k{kernel}", activation, **extra, **options
    )
    rng, groups = rng_of(name), options.get("groups", 1)
    x = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    weights = rng.integers(-127, 128, (outputs, *kernel, channels // groups), dtype=np.int8)
    x_zero, border = zeros.x, round(zeros.x)
    out = None if real else (STEP, zeros.out)
    if per_channel:
        x_zero = rng.uniform(0, 255, (1, 1, 1, channels))
        border = np.rint(x_zero).ravel()
        out = out and (rng.uniform(0.5, 2, outputs) * STEP, rng.integers(0, 256, outputs))
    store = Store.of(weights, *_scales(rng, weights), X_SCALE, x_zero, out, activation)
    if residual:
        shape = reference.quantized_conv2d(x, weights, store, border, **options).shape
        options = {**options, "residual": rng.standard_normal(shape).astype(np.float32)}
    return Problem(name, "quantized_conv2d", (x, weights, store, border), options)


def _scales(rng, weights):
    """Of the weights, so that results are about 3 times a normal distribution; and a bias."""
    spread = 3 / (TYPICAL * X_SCALE * np.sqrt(weights[0].size))
    return rng.uniform(0.5, 1.5, len(weights)) * spread, rng.standard_normal(len(weights))


def depthwise(
    size, channels, kernel, activation="identity", zeros=ZEROS, per_channel=False, **options
):
    """A depthwise convolution; scales and zero points may all differ by channel."""
    extra = {"zeros": tuple(zeros), "each": per_channel}
    name = label("depthwise_u8", size, f"c{channels}", f"k{kernel}", activation, **extra, **options)
    rng = rng_of(name)
    x = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    weights = rng.integers(-127, 128, (channels, *kernel), dtype=np.int8)
    read, stored = (X_SCALE, zeros.x), (STEP, zeros.out)
    if per_channel:
        read, stored = (
            (rng.uniform(0.5, 2, channels) * scale, rng.integers(0, 256, channels))
            for scale in (X_SCALE, STEP)
        )
    store = Store.of(weights, *_scales(rng, weights), *read, stored, activation)
    return Problem(name, "quantized_depthwise_conv2d", (x, weights, store, read[1]), options)


def worst(size, channels, outputs, kernel, sign, real, **options):
    """A convolution of the largest bytes by the largest weights: the longest sums there are."""
    name = label("worst_u8", size, f"{channels}to{outputs}", f"k{kernel}", sign, real, **options)
    groups = options.get("groups", 1)
    x = np.full((*size, channels), 255, np.uint8)
    weights = np.full((outputs, *kernel, channels // groups), sign * 127, np.int8)
    scale = 100 * STEP / (255 * 127 * weights[0].size * X_SCALE)
    out = None if real else (STEP, 120)
    args = (np.full(outputs, scale), np.zeros(outputs), X_SCALE, 0, out)
    return Problem(name, "quantized_conv2d", (x, weights, Store.of(weights, *args)), options)


def linear(rows, inputs, outputs, real=False, activation="identity"):
    name = label("linear_u8", f"{rows}x{inputs}to{outputs}", real, activation)
    rng = rng_of(name)
    x = rng.integers(0, 256, (rows, inputs), dtype=np.uint8)
    weights = rng.integers(-127, 128, (outputs, inputs), dtype=np.int8)
    out = None if real else (STEP, 120)
    store = Store.of(weights, *_scales(rng, weights), X_SCALE, 100, out, activation)
    return Problem(name, "quantized_linear", (x, weights, store), {})


def _read(rng, channels, per_channel):
    """Scale and zero point of bytes that reach from about -3 to 4."""
    if per_channel:
        return rng.uniform(0.01, 0.04, channels), rng.integers(0, 256, channels)
    return 0.03, 100


def quantize(shape, per_channel=False):
    name = label("quantize", shape, per_channel)
    rng = rng_of(name)
    scale, zero = _read(rng, shape[-1], per_channel)
    x = (3 * rng.standard_normal(shape)).astype(np.float32)
    return Problem(name, "quantize", (x, scale, zero), {})


def of_bytes(function, shape, per_channel=False):
    """A dequantisation or a mean."""
    name = label(function, shape, per_channel)
    rng = rng_of(name)
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    return Problem(name, function, (x, *_read(rng, shape[-1], per_channel)), {})


def scale(size, channels, per_channel=False):
    name = label("quantized_scale", size, channels, per_channel)
    rng = rng_of(name)
    x = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
    factors = rng.uniform(0, 1.5, channels).astype(np.float32)
    params = [_read(rng, channels, per_channel) for _ in range(2)]
    return Problem(name, "quantized_scale", (x, factors, *params), {})


def lookup(shape, dtype):
    name = label("lookup", shape, dtype)
    rng = rng_of(name)
    x = rng.integers(0, 256, shape, dtype=np.uint8)
    table = rng.integers(0, 256, 256).astype(dtype)
    return Problem(name, "lookup", (x, table), {})


def add(shape, bounds=(-np.inf, np.inf)):
    name = label("quantized_add", shape, bounds)
    rng = rng_of(name)
    maps = (rng.integers(0, 256, shape, dtype=np.uint8) for _ in range(2))
    params = ((0.013, 3), (0.029, 250), (STEP, 120))
    return Problem(name, "quantized_add", (*maps, *params, bounds), {})


def round_steps(shape, low, high):
    name = label("round_steps", shape, low, high)
    x = rng_of(name).normal(0, 9, shape).astype(np.float32)
    return Problem(name, "round_steps", (x, 0.0003, low, high), {})


def max_pool(size, channels, kernel, stride, padding=0):
    name = label("quantized_max_pool", size, channels, kernel, stride, padding)
    x = rng_of(name).integers(0, 256, (*size, channels), dtype=np.uint8)
    return Problem(name, "quantized_max_pool", (x, kernel, stride, padding), {})
