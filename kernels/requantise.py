"""From exact integer sums to what a layer of an int8 network stores.

``v = float32(sum + bias) * multiplier``, in mode GATE times ``clip(v * slope + 1/2, 0, 1)``, then
``clip(v, low, high)``: that as float32, or plus ``zero``, rounded to even, as uint8. Every
operation is rounded to float32 on its own, in the kernels as in NumPy.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import _target
from .activation import GATE, NONE

BOUNDS = {"identity": (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6)}
FUSED_U8 = (*BOUNDS, "hard_swish")
"""Activations that the kernels for bytes apply before they store."""

LARGEST_BIAS = 2**31 - 2**24
"""Sums of products stay below 2**24 beside it: 66,000 products of bytes."""


STORED = ("multiplier", "slope", "zero", "low", "high")
"""Arrays of a :class:`Store` in a descriptor's order."""


@dataclass(frozen=True, eq=False)
class Store:
    """What becomes of the sums of a layer's products: (N,) arrays of a value an output channel.

    Attributes
    ----------
    bias : ndarray
        float64, whole numbers: what the sums start from.
    multiplier : ndarray
        float32: from sums to steps of the output, or to real values where ``real``.
    slope : ndarray
        float32: 1/6 in the units that ``multiplier`` gives.
    zero, low, high : ndarray
        float32: zero points, and bounds relative to them.
    mode : int
        NONE or GATE.
    real : bool
        Whether float32 values are stored, not bytes.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    slope: np.ndarray
    zero: np.ndarray
    low: np.ndarray
    high: np.ndarray
    mode: int
    real: bool

    @classmethod
    def of(cls, weights, weight_scale, bias, x_scale, x_zero, out=None, activation="identity"):
        """How to store a layer's result.

        Parameters
        ----------
        weights : ndarray
            (N, ...) int8; real weights are ``weights * weight_scale``.
        weight_scale, bias : ndarray
            (N,) float.
        x_scale, x_zero : array_like
            Of the input: numbers, (N,) arrays where channel n is made of channel n alone; the zero
            point may have any shape that ``weights`` can be multiplied by.
        out : tuple of array_like, optional
            Scale and zero point of the output, numbers or (N,); without it, float32 is stored.
        activation : str
            One of ``FUSED_U8``.
        """
        n = len(weights)
        x_zero = np.asarray(x_zero, np.float64)
        if x_zero.shape == (n,) and weights.ndim > 1:
            x_zero = x_zero.reshape(n, *[1] * (weights.ndim - 1))
        unit = np.float64(weight_scale) * x_scale
        start = np.rint(np.float64(bias) / unit - (weights * x_zero).reshape(n, -1).sum(1))
        step, zero = (1.0, 0.0) if out is None else (np.asarray(v, np.float64) for v in out)
        low, high = (b / step for b in BOUNDS.get(activation, BOUNDS["identity"]))
        if out is not None:
            low, high = np.maximum(low, -zero), np.minimum(high, 255 - zero)
        vectors = (unit / step, step / 6, zero, low, high)
        return cls(
            np.clip(start, -LARGEST_BIAS, LARGEST_BIAS),
            *(np.ascontiguousarray(np.broadcast_to(v, n), np.float32) for v in vectors),
            GATE if activation == "hard_swish" else NONE,
            out is None,
        )

    def of_channels(self, mine):
        """The same for a slice of the channels."""
        arrays = {name: getattr(self, name)[mine] for name in ("bias", *STORED)}
        return replace(self, **arrays)

    def sums_from(self, weights):
        """(N,) int32: the bias, and what the target's dot products leave out of the weights."""
        missing = _target.dot().offset * weights.reshape(len(weights), -1).sum(1, dtype=np.int64)
        return (self.bias + missing).astype(np.int32)
