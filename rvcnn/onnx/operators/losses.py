"""Losses of classification."""

import numpy as np

from rvcnn.errors import ShapeError

from .activations import log_softmax
from .base import choose, operators

_REDUCE = {
    "none": lambda loss, weights: loss,
    "sum": lambda loss, weights: loss.sum(),
    "mean": lambda loss, weights: loss.sum() / weights.sum(),
}


def negative_log_likelihood_loss(x, target, weight=None, *, ignore_index=None, reduction="mean"):
    """Minus the log-probability (N, C, ...) of the right classes (N, ...), times their weights."""
    kept = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
    right = np.where(kept, target, 0)
    if right.size and not 0 <= right.min() <= right.max() < x.shape[1]:
        raise ShapeError(f"a class outside of 0 to {x.shape[1] - 1}")
    weight = np.ones(x.shape[1], x.dtype) if weight is None else weight
    weights = np.where(kept, weight[right], 0).astype(x.dtype, copy=False)
    loss = -np.take_along_axis(x, np.expand_dims(right, 1), 1)[:, 0] * weights
    return choose(_REDUCE, reduction, "reduction")(loss, weights).astype(x.dtype, copy=False)


def softmax_cross_entropy_loss(
    scores, target, weight=None, *, ignore_index=None, reduction="mean", outputs=1
):
    """:func:`negative_log_likelihood_loss` of the softmax of scores, and its logarithm."""
    x = log_softmax(scores, 1)
    loss = negative_log_likelihood_loss(
        x, target, weight, ignore_index=ignore_index, reduction=reduction
    )
    return (loss, x)[: max(outputs, 1)]


OPERATORS = operators(
    {
        "NegativeLogLikelihoodLoss": negative_log_likelihood_loss,
        "SoftmaxCrossEntropyLoss": softmax_cross_entropy_loss,
    },
    widen=True,
)
