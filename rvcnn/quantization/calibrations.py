"""Ways from what a map's values were to the range that its bytes cover."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rvcnn.errors import UsageError

from .histograms import Histograms
from .params import QuantParams
from .pi import widened

PERCENTILE = 99.99
"""Share of the values that the percentile calibration keeps below each end, in percent."""

SHRINKINGS = np.linspace(1.0, 0.2, 21)
"""Ends that the mean-squared error is tried for, as shares of the largest value."""


class Calibration(NamedTuple):
    """A way to choose parameters.

    Attributes
    ----------
    ends : callable
        From histograms to the (C,) least and (C,) greatest value that bytes are to cover.
    summary : str
        What it is, in a line.
    widen : callable
        What the scale that covers them is changed to.
    """

    ends: Callable[[Histograms], tuple[np.ndarray, np.ndarray]]
    summary: str
    widen: Callable = np.asarray

    def shared(self, values: Histograms) -> QuantParams:
        """For all channels together."""
        return self._params(*(ends[0] for ends in self.ends(values.pooled())))

    def by_channel(self, values: Histograms) -> QuantParams:
        """For each channel."""
        return self._params(*self.ends(values))

    def _params(self, low, high):
        params = QuantParams.asymmetric(low, high)
        return QuantParams(self.widen(params.scale), params.zero_point)


def min_max(values):
    """Every value that was seen."""
    return np.minimum(values.low, 0), np.maximum(values.high, 0)


def percentile(values):
    """All but the outermost values, which saturate."""
    share = PERCENTILE / 100
    return np.minimum(values.quantile(1 - share), 0), np.maximum(values.quantile(share), 0)


def mean_squared_error(values):
    """The ends for which rounding and saturation change least, in the mean square.

    The upper end is searched first, with the lower end where the values end, then the lower.
    """
    low, high = min_max(values)
    high = _least(values, [(low, high * share) for share in SHRINKINGS])[1]
    shares = SHRINKINGS if (low < 0).any() else SHRINKINGS[:1]
    return _least(values, [(low * share, high) for share in shares])


def _least(values, ranges):
    """Of pairs of (C,) ends, for each channel the pair with the least error."""
    errors = np.stack([values.error(QuantParams.asymmetric(*ends)) for ends in ranges])
    best = errors.argmin(0)
    channels = np.arange(len(best))
    return tuple(np.stack(ends)[best, channels] for ends in zip(*ranges, strict=True))


CALIBRATIONS = {
    "mse": Calibration(mean_squared_error, "least mean-squared error"),
    "percentile": Calibration(percentile, f"{PERCENTILE} % of the values at each end"),
    "minmax": Calibration(min_max, "all values"),
    "pi": Calibration(min_max, "all values, the scale times 1 + (pi - 3) / 2**8", widened),
}
"""By name; the first is the default."""


def calibration(name) -> Calibration:
    """A calibration by name.

    Raises
    ------
    UsageError
        Naming those that there are.
    """
    if name not in CALIBRATIONS:
        known = ", ".join(CALIBRATIONS)
        raise UsageError(f"unknown calibration {name!r}; there are {known}")
    return CALIBRATIONS[name]
