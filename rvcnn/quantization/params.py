"""How real numbers are held as bytes: ``real = (q - zero_point) * scale``."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from rvcnn import kernels
from rvcnn.errors import ShapeError, UsageError

LEVELS = {np.dtype(np.uint8): (0, 255), np.dtype(np.int8): (-127, 127)}
"""Least and greatest value of each type; -128 is left out, so that int8 is symmetric."""


@dataclass(frozen=True, eq=False)
class QuantParams:
    """A scale and a zero point, for a whole tensor or for each channel of its last axis.

    Attributes
    ----------
    scale : ndarray
        () or (C,) float32, above 0.
    zero_point : ndarray
        The value that stands for 0, of the scale's shape: int32, or float32 where what is held is
        no result of quantising (an image's pixels and their mean).
    dtype : dtype
        uint8 or int8.

    Raises
    ------
    UsageError
        Scales that are not positive and finite, zero points out of range, another dtype.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: np.dtype = np.dtype(np.uint8)

    def __post_init__(self):
        dtype = np.dtype(self.dtype)
        if dtype not in LEVELS:
            raise UsageError(f"values are held as uint8 or int8, not {dtype}")
        scale = np.asarray(self.scale, np.float32)
        zero = np.asarray(self.zero_point)
        zero = zero.astype(np.int32 if zero.dtype.kind in "iu" else np.float32)
        if scale.ndim > 1 or zero.ndim > scale.ndim:
            raise UsageError(f"scale and zero_point are numbers or (C,), not {scale.shape}")
        zero = np.broadcast_to(zero, scale.shape).copy()
        if not (np.isfinite(scale) & (scale > 0)).all():
            raise UsageError("scales must be above 0 and finite")
        low, high = LEVELS[dtype]
        if not ((zero >= low) & (zero <= high)).all():
            raise UsageError(f"zero points of {dtype} are from {low} to {high}")
        for name, value in (("scale", scale), ("zero_point", zero), ("dtype", dtype)):
            object.__setattr__(self, name, value)

    @classmethod
    def symmetric(cls, low: Any, high: Any) -> "QuantParams":
        """Of int8 with zero point 0, for values from ``low`` to ``high``.

        Parameters
        ----------
        low, high : float or (C,) array_like
            Finite, ``low <= high``.
        """
        low, high = _range(low, high)
        scale = _scale(np.maximum(-low, high) / 127)
        return cls(scale, np.zeros(scale.shape, np.int32), np.dtype(np.int8))

    @classmethod
    def asymmetric(cls, low: Any, high: Any) -> "QuantParams":
        """Of uint8, for values from ``low`` to ``high`` and for 0, which is held exactly.

        Parameters
        ----------
        low, high : float or (C,) array_like
            Finite, ``low <= high``.
        """
        low, high = _range(low, high)
        scale = _scale((high - low) / 255)
        zero = np.clip(np.rint(-low / scale), 0, 255).astype(np.int32)
        return cls(scale, zero)

    @property
    def per_channel(self) -> bool:
        """Whether every channel has its own."""
        return self.scale.ndim == 1

    def round_trip(self, x: Any) -> np.ndarray:
        """What is left of float values after they were held as bytes."""
        return dequantize(quantize(x, self), self)


def _range(low, high):
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    if not (np.isfinite(low) & np.isfinite(high)).all():
        raise UsageError("a range to quantise must be finite: there is NaN or infinity in the data")
    if (low > high).any():
        raise UsageError("a range to quantise ends below its start")
    return np.minimum(low, 0), np.maximum(high, 0)


def _scale(scale):
    """A scale that float32 can hold and divide by; 1 where all there is are zeros."""
    limits = np.finfo(np.float32)
    least = np.where(scale > 0, np.maximum(scale, limits.tiny), 1.0)
    return np.minimum(least, limits.max).astype(np.float32)


def quantize(x: Any, params: QuantParams) -> np.ndarray:
    """Hold float values as bytes: nearest value, halves to even, saturating at both ends.

    Parameters
    ----------
    x : array_like
        Float values; per channel, the last axis is (C,).
    params : QuantParams

    Returns
    -------
    ndarray
        uint8 or int8 of x's shape. NaN becomes the least value of the type.

    Notes
    -----
    ``x / scale`` is computed as ``x * (1 / scale)`` in float32.
    """
    x = _values(x, np.float32, params)
    if params.dtype == np.uint8:
        return kernels.quantize(x, params.scale, params.zero_point)
    low, high = LEVELS[params.dtype]
    zero = params.zero_point
    with np.errstate(over="ignore", invalid="ignore"):
        steps = x * (1 / np.float64(params.scale)).astype(np.float32)
    steps = np.where(np.isnan(steps), low - zero, np.clip(steps, low - zero, high - zero))
    return np.rint(steps.astype(np.float64) + zero).astype(params.dtype)


def dequantize(q: Any, params: QuantParams) -> np.ndarray:
    """Float values that bytes stand for.

    Parameters
    ----------
    q : array_like
        Of params.dtype.
    params : QuantParams

    Returns
    -------
    ndarray
        float32.
    """
    q = _values(q, params.dtype, params)
    if params.dtype == np.uint8:
        return kernels.dequantize(q, params.scale, params.zero_point)
    return (q.astype(np.float32) - params.zero_point.astype(np.float32)) * params.scale


def _values(x, dtype, params):
    x = np.asarray(x)
    if dtype != np.float32 and x.dtype != dtype:
        raise UsageError(f"these values are held as {dtype}, not as {x.dtype}")
    if params.per_channel and x.shape[-1:] != params.scale.shape:
        raise ShapeError(f"{len(params.scale)} channels' scales do not fit values of {x.shape}")
    return x.astype(dtype, copy=False)
