"""From cosines of different pictures to the threshold that a given share of pairs reaches."""

import math
from typing import NamedTuple

import numpy as np

from rvcnn.errors import UsageError

SEEN = 10
"""Pairs that a rate must be counted on: of fewer, it is an extrapolation."""

_TAIL = 0.01  # share of the pairs that the extrapolation goes by
_LEAST_TAIL = 20


class Threshold(NamedTuple):
    """A cosine, and whether the rate it stands for lies beyond what the pairs show."""

    cosine: float
    extrapolated: bool


def least_rate(pairs: int) -> float:
    """Return the least rate that so many pairs show: ten times one of them."""
    return SEEN / pairs


def threshold_for(rate: float, cosines: np.ndarray) -> Threshold:
    """Return the threshold that a share `rate` of pairs of different pictures reaches.

    A rate of at least ten in all the pairs is counted. Below, the most alike hundredth of them is
    taken to go on as ``P(cosine > c)`` in proportion to ``(1 - c) ** a``, which is the generalised
    Pareto distribution with its end where cosines end, at 1; `a` is its maximum-likelihood
    estimate, the inverse of the mean of ``log((1 - u) / (1 - c))`` over the cosines c above u
    (Hill's estimator, of ``1 / (1 - c)``).

    Parameters
    ----------
    rate
        0 to 1, without them.
    cosines
        (P,) of different pictures.
    """
    if not 0 < rate < 1:
        raise UsageError(f"a rate of false pairs is between 0 and 1, not {rate!r}")
    if len(cosines) < 2 * _LEAST_TAIL:
        raise UsageError(
            f"{len(cosines)} pairs of different pictures are too few to calibrate on: "
            f"{2 * _LEAST_TAIL} are needed at least"
        )
    falling = -np.sort(-cosines.astype(np.float64))
    allowed = math.floor(rate * len(falling))
    if allowed >= SEEN:
        return Threshold(float(np.nextafter(falling[allowed], 2)), False)
    count = max(_LEAST_TAIL, round(_TAIL * len(falling)))
    gaps = np.maximum(1 - falling[: count + 1], 1e-9)
    mean = float(np.log(gaps[count] / gaps[:count]).mean())
    beyond = math.log(count / len(falling) / rate)
    return Threshold(float(1 - gaps[count] * math.exp(-mean * beyond)), True)
