"""Scales by channel for a map that dense layers read: the readers' weights take them in.

A layer sums ``w[n, c] * x[c]``. With a scale for each channel it sums
``(w[n, c] * scale[c]) * q[c]``: channels of small values lose less, but the weights in brackets
spread over a wider range, and rounding them loses more. Which is better, one scale for all, one for
each, or half way between, is foretold from the map's distribution.
"""

from collections.abc import Sequence

import numpy as np

from .calibrations import Calibration
from .histograms import Histograms
from .params import QuantParams
from .tensor import QuantizedTensor

FEWEST = 50_000
"""Values of a channel whose ends foretell those of other images; with fewer, all share a scale."""


def choose(calibration: Calibration, values: Histograms, weights: Sequence[np.ndarray]):
    """Parameters of a map.

    Parameters
    ----------
    calibration : Calibration
    values : Histograms
        Of the map's channels.
    weights : sequence of ndarray
        (N, C, ...) of each layer that mixes the map's channels; empty if none does.

    Returns
    -------
    QuantParams
    """
    alone = calibration.by_channel(values)
    if not weights:
        return alone
    shared = calibration.shared(values)
    if values.count < FEWEST:
        return shared
    candidates = (shared, _between(shared, alone), alone)
    return min(candidates, key=lambda params: _noise(params, values, weights))


def folded(weight, scale):
    """(N, C, ...) weights times a (C,) scale of what they multiply."""
    return weight * scale.reshape(1, -1, *[1] * (weight.ndim - 2))


def _between(shared, alone):
    """Steps at the geometric mean, but none finer than a channel's own calibration."""
    steps = np.maximum(np.sqrt(np.float64(shared.scale) * alone.scale), alone.scale)
    low, high = ((end - alone.zero_point) * steps for end in (0, 255))
    return QuantParams.asymmetric(low, high)


def _noise(params, values, weights):
    """Mean square of what the readers' sums lose, added up over their outputs.

    A value's error counts by the weight it meets, a weight's error by the spread of what it meets:
    what the mean loses goes into the bias.
    """
    lost, spread = values.error(params), values.variance()
    scale = np.broadcast_to(params.scale, len(lost)) if params.per_channel else np.ones(len(lost))
    total = 0.0
    for weight in weights:
        held = QuantizedTensor.from_weights_per_channel(folded(weight, scale)).dequantize()
        off = folded(held, 1 / scale) - weight
        total += (_squares(weight) * lost + _squares(off) * spread).sum()
    return total


def _squares(weight):
    """(C,) sums of squares of what each input channel is multiplied by."""
    return np.square(weight, dtype=np.float64).sum((0, *range(2, weight.ndim)))
