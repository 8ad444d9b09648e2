"""Weights held as int8, with a scale for each output channel."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rvcnn.errors import ShapeError, UsageError

from .params import QuantParams, quantize


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """``values * scale``, a scale for each index of the first axis.

    Attributes
    ----------
    values : ndarray
        (N, ...) int8, from -127 to 127.
    scale : ndarray
        (N,) float32.
    """

    values: np.ndarray
    scale: np.ndarray

    def __post_init__(self):
        if self.values.dtype != np.int8 or self.values.ndim < 1 or (self.values == -128).any():
            raise UsageError("values must be int8 from -127 to 127, with output channels first")
        if self.scale.shape != self.values.shape[:1]:
            raise ShapeError(f"scales {self.scale.shape} do not fit values {self.values.shape}")
        QuantParams(self.scale, np.int32(0), np.int8)

    @classmethod
    def from_weights_per_channel(
        cls, weights: Any, ties: str = "even", least: Any = 0.0
    ) -> "QuantizedTensor":
        """Round weights; the largest of each output channel becomes 127 or -127.

        Parameters
        ----------
        weights : array_like
            (N, ...) float, finite.
        ties : {"even", "pi"}
            Where halves go: to even, or up and down by the binary digits of pi.
        least : float or (N,) array_like
            Least scales: for output channels of tiny weights or none, beside which a bias is large.
        """
        weights = np.asarray(weights, np.float32)
        if weights.ndim < 1 or weights.size == 0:
            raise ShapeError(f"weights of {weights.shape} have no output channels")
        rows = weights.reshape(len(weights), -1)
        params = QuantParams.symmetric(rows.min(1), rows.max(1))
        least = np.broadcast_to(np.float32(least), params.scale.shape)
        scale = np.where(rows.any(1), np.maximum(params.scale, least), least)
        params = replace(params, scale=np.where(scale > 0, scale, 1))
        return cls(_round(rows, params, ties).reshape(weights.shape), params.scale)

    def dequantize(self) -> np.ndarray:
        """Float32 weights of the same shape."""
        shape = (-1,) + (1,) * (self.values.ndim - 1)
        return self.values.astype(np.float32) * self.scale.reshape(shape)


def _round(rows, params, ties):
    if ties == "even":
        return quantize(rows.T, params).T
    if ties != "pi":
        raise UsageError(f"ties must be 'even' or 'pi', not {ties!r}")
    from .pi import round_ties

    return round_ties(rows.T / np.float64(params.scale)).T.clip(-127, 127).astype(np.int8)
