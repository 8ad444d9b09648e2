"""Normalisations. Statistics are taken in float32 or, of float64, in float64."""

import math

import numpy as np

from rvcnn.errors import ShapeError

from .base import axes_of, axis_of, check_size, mean, operators


def _channels(v, x):
    """A vector with a value for each channel, to broadcast with (N, C, *size)."""
    return v.reshape(-1, *(1,) * (x.ndim - 2))


def batch_normalization(
    x,
    scale,
    shift,
    mean,
    variance,
    *,
    epsilon=1e-5,
    momentum=0.9,
    training_mode=0,
    spatial=1,
    outputs=1,
):
    """``(x - mean) / sqrt(variance + epsilon) * scale + shift`` (Ioffe and Szegedy, 2015).

    With `training_mode` the statistics are those of `x`, and the running ones follow.
    """
    results = ()
    if training_mode:
        axes = (0, *range(2, x.ndim))
        now = x.mean(axes), x.var(axes)
        results = tuple(
            (v * momentum + new * (1 - momentum)).astype(v.dtype)
            for v, new in zip((mean, variance), now, strict=True)
        )
        mean, variance = now
    factor = scale.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    line = (v.astype(x.dtype, copy=False) for v in (factor, shift - mean * factor))
    factor, shift = (_channels(v, x) if x.ndim > 1 else v for v in line)
    return (x * factor + shift, *results)[: max(outputs, 1)]


def _standard(x, axes, epsilon):
    """``(x - mean) / sqrt(variance + epsilon)``, mean, and the factor of the spread."""
    middle = mean(x, axes)
    away = x - middle
    spread = 1 / np.sqrt(mean(away * away, axes) + np.asarray(epsilon, x.dtype))
    return away * spread, middle, spread


def layer_normalization(x, scale, shift=None, *, axis=-1, epsilon=1e-5, stash_type=1, outputs=1):
    """Mean 0 and variance 1 over the dimensions from `axis` on (Ba et al., 2016)."""
    axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
    out, middle, spread = _standard(x, axes, epsilon)
    out = out * scale if shift is None else out * scale + shift
    return (out, middle, spread)[: max(outputs, 1)]


def rms_normalization(x, scale, *, axis=-1, epsilon=1e-5, stash_type=1):
    """``x / sqrt(mean(x * x) + epsilon) * scale`` from `axis` on (Zhang and Sennrich, 2019)."""
    axes = tuple(range(axis_of(axis, x.ndim), x.ndim))
    return x / np.sqrt(mean(x * x, axes) + np.asarray(epsilon, x.dtype)) * scale


def instance_normalization(x, scale, shift, *, epsilon=1e-5):
    """Mean 0 and variance 1 of each channel of each image (Ulyanov et al., 2016)."""
    out, _, _ = _standard(x, tuple(range(2, x.ndim)), epsilon)
    return out * _channels(scale, x) + _channels(shift, x)


def group_normalization(x, scale, shift, *, num_groups, epsilon=1e-5, stash_type=1, opset):
    """Mean 0 and variance 1 of groups of channels (Wu and He, 2018).

    Before operator set 21 there is one scale and shift a group, since then one a channel.
    """
    n, channels = x.shape[:2]
    if num_groups < 1 or channels % num_groups:
        raise ShapeError(f"{channels} channels are not {num_groups} groups: change num_groups")
    groups, _, _ = _standard(x.reshape(n, num_groups, -1), 2, epsilon)
    if opset < 21:
        repeats = channels // num_groups
        scale, shift = np.repeat(scale, repeats), np.repeat(shift, repeats)
    return groups.reshape(x.shape) * _channels(scale, x) + _channels(shift, x)


def lrn(x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    """``x / (bias + alpha / size * sum of x * x of near channels) ** beta``.

    Krizhevsky et al., 2012, section 3.3.
    """
    squares = (x.astype(np.float64) ** 2).cumsum(1)
    squares = np.concatenate([np.zeros_like(squares[:, :1]), squares], 1)
    at, channels = np.arange(x.shape[1]), x.shape[1]
    first = np.maximum(at - (size - 1) // 2, 0)
    last = np.minimum(at + math.ceil((size - 1) / 2) + 1, channels)
    sums = squares[:, last] - squares[:, first]
    return (x / (bias + alpha / size * sums) ** beta).astype(x.dtype, copy=False)


def lp_normalization(x, *, axis=-1, p=2):
    """``x`` divided by its norm along an axis; 0 where that is 0."""
    axis = axis_of(axis, x.ndim)
    norm = (np.abs(x) ** p).sum(axis, keepdims=True) ** np.asarray(1 / p, x.dtype)
    return np.where(norm == 0, np.asarray(0, x.dtype), x / np.where(norm == 0, 1, norm))


def mean_variance_normalization(x, *, axes=(0, 2, 3)):
    """Mean 0 and variance 1 over some axes."""
    return _standard(x, axes_of(axes, x.ndim), 1e-9)[0]


def dropout(x, ratio=None, training=None, *, seed=0, outputs=1):
    """``x``; with `training` a share `ratio` of it 0 and the others larger by as much."""
    mask = np.ones(x.shape, bool)
    share = 0.5 if ratio is None else float(ratio)
    if training is not None and bool(training) and share:
        mask = np.random.default_rng(seed).random(check_size(x.shape, np.float64)) >= share
        x = x * mask * np.asarray(1 / (1 - share), x.dtype)
    return (x, mask)[: max(outputs, 1)]


OPERATORS = operators(
    {
        "BatchNormalization": batch_normalization,
        "Dropout": dropout,
        "GroupNormalization": group_normalization,
        "InstanceNormalization": instance_normalization,
        "LRN": lrn,
        "LayerNormalization": layer_normalization,
        "LpNormalization": lp_normalization,
        "MeanVarianceNormalization": mean_variance_normalization,
        "RMSNormalization": rms_normalization,
    },
    widen=True,
)
