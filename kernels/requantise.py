"""From exact integer sums to what a layer of an int8 network stores.

As bytes: ``v = float32(sum + bias) * multiplier``, rounded to even and saturated to int16, is the
result in steps of the output. For hard-swish its steps are of ``sqrt(6 step / 2**15)``, so that
``v * clip(v + 3, 0, 6)``, of which the high half is kept, rounded, comes to steps of the output.
``v + zero`` then saturates to a byte, or is clipped before where an activation says so.

As float32: ``float32(sum + bias) * multiplier`` is the value, to which activations are applied.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import _target
from .activation import CLIP, GATE, NONE

BOUNDS = {"identity": (-np.inf, np.inf), "relu": (0.0, np.inf), "relu6": (0.0, 6.0)}
FUSED_U8 = (*BOUNDS, "hard_swish")
"""Activations that the kernels for bytes apply before they store."""

SMALLEST_GATE_STEP = float(np.float32(1.9e-4))
"""Least step of the output of a hard-swish: 6 must fit int16 in the steps it is computed in."""

LONGEST = 32_768
"""Products of bytes whose sum surely stays within 2**30."""

LARGEST_BIAS = 2**30
"""What their sum may start from, so that nothing leaves 32 bits."""

THREE, SIX, LOW, HIGH, ZERO = range(5)
"""Rows of :attr:`Store.shorts`."""


@dataclass(frozen=True, eq=False)
class Store:
    """What becomes of the sums of a layer's products.

    Attributes
    ----------
    bias : ndarray
        (N,) float64, whole numbers: what the sums start from.
    multiplier : ndarray
        (N,) float32: from sums to steps, or to real values where ``real``.
    shorts : ndarray
        (5, N) int16: for each output channel 3 and 6 in the steps of its gate, the bounds of its
        steps, its zero point.
    mode : int
        NONE, CLIP or GATE.
    low, high : float
        Bounds of real values.
    real : bool
        Whether float32 values are stored, not bytes.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    shorts: np.ndarray
    mode: int
    low: float
    high: float
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

        Raises
        ------
        ValueError
            If a hard-swish has a step below ``SMALLEST_GATE_STEP``.
        """
        n = len(weights)
        x_zero = np.asarray(x_zero, np.float64)
        if x_zero.shape == (n,) and weights.ndim > 1:
            x_zero = x_zero.reshape(n, *[1] * (weights.ndim - 1))
        unit = np.broadcast_to(np.float64(weight_scale) * x_scale, n)
        start = np.rint(np.float64(bias) / unit - (weights * x_zero).reshape(n, -1).sum(1))
        real, gated = out is None, activation == "hard_swish"
        step, zero = (1.0, 0.0) if real else (np.asarray(v, np.float64) for v in out)
        low, high = BOUNDS.get(activation, BOUNDS["identity"])
        if gated and not real and np.min(step) < SMALLEST_GATE_STEP:
            raise ValueError(f"a hard-swish cannot be stored in steps of {np.min(step):.3g}")
        shorts = np.zeros((5, n))
        shorts[LOW] = np.maximum(low / step, -zero)
        shorts[HIGH] = np.minimum(high / step, 255 - zero)
        shorts[ZERO] = zero
        clips = (low, high) if real else (shorts[LOW] > -zero, shorts[HIGH] < 255 - zero)
        mode = CLIP if np.any(np.isfinite(clips) if real else clips) else NONE
        if gated and not real:
            step = np.sqrt(6 * step / 2**15)
            shorts[THREE], shorts[SIX] = 3 / step, 6 / step
        return cls(
            np.clip(start, -LARGEST_BIAS, LARGEST_BIAS),
            np.ascontiguousarray(np.broadcast_to(unit / step, n), np.float32),
            np.rint(shorts).astype(np.int16),
            GATE if gated else mode,
            low,
            high,
            real,
        )

    def of_channels(self, mine):
        """The same for a slice of the channels."""
        return replace(
            self,
            bias=self.bias[mine],
            multiplier=self.multiplier[mine],
            shorts=self.shorts[:, mine],
        )

    def sums_from(self, weights):
        """(N,) int32: the bias, and what the target's dot products leave out of the weights."""
        missing = _target.dot().offset * weights.reshape(len(weights), -1).sum(1, dtype=np.int64)
        return (self.bias + missing).astype(np.int32)


def lane_order(vectors, lanes):
    """Channel of each lane of ``vectors`` registers that are narrowed into one register of bytes.

    1 register stays in order, 2 are narrowed once, 4 twice: see ``_narrow``.
    """
    part = min(4, lanes) if vectors > 1 else lanes
    return [
        lane // part * part * vectors + vector * part + lane % part
        for vector in range(vectors)
        for lane in range(lanes)
    ]


def short_order(vectors, lanes):
    """Channel of each lane of the registers of int16 on the way, one after another."""
    halves = vectors // 2 or 1
    part = min(8, 2 * lanes)
    if halves == 1:
        return list(range(vectors * lanes))
    return [
        lane // part * part * halves + half * part + lane % part
        for half in range(halves)
        for lane in range(2 * lanes)
    ]
