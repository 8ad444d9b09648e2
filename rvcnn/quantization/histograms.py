"""Distributions of a map's values, channel by channel, gathered image by image in fixed memory."""

import functools

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

    Attributes
    ----------
    low, high : ndarray
        (C,) float64.
    """

    def __init__(self, low, high):
        self.low, self.high = np.float64(low), np.float64(high)
        if not (np.isfinite(self.low) & np.isfinite(self.high)).all():
            raise UsageError("there is NaN or infinity among the values to calibrate with")
        first = np.minimum(self.low, 0)
        span = np.maximum(self.high, 0) - first
        self._width = np.where(span > 0, span, 1.0) / (BINS - 2)
        self._first = np.rint(first / self._width)
        self._counts = np.zeros((len(self.low), BINS), np.int64)

    def add(self, x):
        """Count the values of one map (H, W, C), none beyond ``low`` and ``high``."""
        channels = len(self.low)
        bins = self._bins(x.reshape(-1, channels).T) + np.arange(channels)[:, None] * BINS
        self._counts += np.bincount(bins.ravel(), minlength=channels * BINS).reshape(channels, BINS)

    def _bins(self, x):
        bins = np.rint(x / self._width[:, None]) - self._first[:, None]
        return bins.clip(0, BINS - 1).astype(np.int64)

    @functools.cached_property
    def _centres(self):
        return (np.arange(BINS) + self._first[:, None]) * self._width[:, None]

    @functools.cached_property
    def _centres32(self):
        return self._centres.astype(np.float32)

    @property
    def count(self):
        """Values of each channel."""
        return int(self._counts[0].sum())

    def variance(self):
        """(C,) mean square of what lies between the values and their channel's mean."""
        counts, centres = self._counts, self._centres
        total = counts.sum(1, keepdims=True)
        mean = (counts * centres).sum(1, keepdims=True) / total
        return (counts * (centres - mean) ** 2).sum(1) / total[:, 0]

    def quantile(self, share):
        """(C,) values that this share of each channel's lies at or below; to a bin's width."""
        reached = self._counts.cumsum(1) >= share * self._counts.sum(1, keepdims=True)
        values = self._centres[np.arange(len(self.low)), reached.argmax(1)]
        return np.clip(values, self.low, self.high)

    def pooled(self):
        """All channels as one."""
        whole = Histograms(self.low.min(keepdims=True), self.high.max(keepdims=True))
        bins = whole._bins(self._centres.reshape(1, -1))[0]
        counts = np.bincount(bins, weights=self._counts.ravel(), minlength=BINS)
        whole._counts = counts.astype(np.int64)[None]
        return whole

    def error(self, params: QuantParams):
        """(C,) mean square of what a round trip through bytes changes; parameters may be shared.

        What varies within a bin is lost: the error is a little too small where steps are not much
        wider than bins.
        """
        zero, scale = params.zero_point[..., None], params.scale[..., None]
        centres = self._centres32
        steps = np.rint(centres / scale)
        np.clip(steps, -zero, 255 - zero, out=steps)
        steps *= scale
        steps -= centres
        np.square(steps, out=steps)
        total = np.maximum(self._counts.sum(1), np.finfo(np.float64).tiny)
        return np.einsum("cb,cb->c", self._counts, steps, dtype=np.float64) / total
