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
        centres = (np.arange(BINS) + self._first[:, None]) * self._width[:, None]
        self._centres = centres.astype(np.float32)
        self._counts = np.zeros(centres.shape, np.int32)

    def add(self, x):
        """Count the values of one map (H, W, C), none beyond ``low`` and ``high``."""
        channels = len(self.low)
        bins = self._bins(x.reshape(-1, channels).T) + np.arange(channels)[:, None] * BINS
        self._counts += np.bincount(bins.ravel(), minlength=channels * BINS).reshape(channels, BINS)

    def _bins(self, x):
        bins = np.rint(x / self._width[:, None]) - self._first[:, None]
        return bins.clip(0, BINS - 1).astype(np.int64)

    @property
    def count(self):
        """Values of each channel."""
        return int(self._counts[0].sum(dtype=np.int64))

    def variance(self):
        """(C,) mean square of what lies between the values and their channel's mean."""
        off = self._centres - self._mean(self._centres)[:, None]
        return self._mean(off * off)

    def _mean(self, of_bins):
        sums = np.einsum("cb,cb->c", self._counts, of_bins, dtype=np.float64)
        return sums / max(self.count, 1)

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
        zero, scale = (v.astype(np.float32)[..., None] for v in (params.zero_point, params.scale))
        changed = self._centres / scale
        np.rint(changed, out=changed)
        np.clip(changed, -zero, 255 - zero, out=changed)
        changed *= scale
        changed -= self._centres
        np.square(changed, out=changed)
        return self._mean(changed)
