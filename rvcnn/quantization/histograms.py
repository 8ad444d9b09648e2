"""Distributions of a map's values, channel by channel, gathered image by image in fixed memory."""

import numpy as np

from rvcnn.errors import UsageError

from .params import QuantParams

BINS = 2048
"""Bins of a channel: eight for each step of eight bits."""


class Histograms:
    """How often each value occurred in each channel.

    Bins are of equal width, a channel's own, and 0 is the middle of one: the zeros that an
    activation leaves are counted as exactly that.

    Parameters
    ----------
    low, high : ndarray
        (C,) least and greatest value of each channel over all images.
    per_channel : bool
        Whether channels are to have parameters of their own. If not, all have the same bins.

    Attributes
    ----------
    low, high : ndarray
        (C,) float64.
    per_channel : bool
    """

    def __init__(self, low, high, per_channel):
        self.low, self.high = np.float64(low), np.float64(high)
        if not (np.isfinite(self.low) & np.isfinite(self.high)).all():
            raise UsageError("there is NaN or infinity among the values to calibrate with")
        self.per_channel = per_channel
        first, last = np.minimum(self.low, 0), np.maximum(self.high, 0)
        if not per_channel:
            first, last = (np.full_like(self.low, v) for v in (first.min(), last.max()))
        span = last - first
        self._width = np.where(span > 0, span, 1.0) / (BINS - 2)
        self._first = np.rint(first / self._width)
        self._counts = np.zeros((len(self.low), BINS), np.int64)

    def add(self, x):
        """Count the values of one map (H, W, C), none beyond ``low`` and ``high``."""
        channels = len(self.low)
        rows = x.reshape(-1, channels)
        bins = np.rint(rows / self._width) - self._first
        flat = bins.astype(np.int64).clip(0, BINS - 1) + np.arange(channels) * BINS
        self._counts += np.bincount(flat.ravel(), minlength=channels * BINS).reshape(channels, BINS)

    @property
    def _centres(self):
        return (np.arange(BINS) + self._first[:, None]) * self._width[:, None]

    def quantile(self, share):
        """(C,) values that this share of each channel's lies at or below; to a bin's width."""
        reached = self._counts.cumsum(1) >= share * self._counts.sum(1, keepdims=True)
        values = self._centres[np.arange(len(self.low)), reached.argmax(1)]
        return np.clip(values, self.low, self.high)

    def pooled(self):
        """All channels as one, of histograms that are not per channel."""
        whole = Histograms(self.low.min(keepdims=True), self.high.max(keepdims=True), True)
        whole._counts = self._counts.sum(0, keepdims=True)
        return whole

    def error(self, params: QuantParams):
        """(C,) mean square of what a round trip through bytes changes.

        What varies within a bin is lost: the error is a little too small where steps are not much
        wider than bins.
        """
        zero = params.zero_point[..., None]
        scale = params.scale[..., None]
        centres = self._centres.astype(np.float32)
        steps = np.rint(centres / scale)
        np.clip(steps, -zero, 255 - zero, out=steps)
        steps *= scale
        steps -= centres
        np.square(steps, out=steps)
        total = np.maximum(self._counts.sum(1), np.finfo(np.float64).tiny)
        return np.einsum("cb,cb->c", self._counts, steps, dtype=np.float64) / total
