"""Comparisons, logic and choice."""

import numpy as np

from .arithmetic import broadcast, each
from .base import check_size, operators


def where(condition, a, b):
    """Values of `a` where the condition holds, of `b` elsewhere."""
    check_size(np.broadcast_shapes(condition.shape, a.shape, b.shape), a.dtype)
    return np.where(condition, a, b)


def is_inf(x, *, detect_negative=1, detect_positive=1):
    """Where values are infinite, of the signs that are asked for."""
    return np.isinf(x) & np.where(x > 0, bool(detect_positive), bool(detect_negative))


OPERATORS = operators(
    {
        "And": broadcast(np.logical_and),
        "Equal": broadcast(np.equal),
        "Greater": broadcast(np.greater),
        "GreaterOrEqual": broadcast(np.greater_equal),
        "IsInf": is_inf,
        "IsNaN": each(np.isnan),
        "Less": broadcast(np.less),
        "LessOrEqual": broadcast(np.less_equal),
        "Not": each(np.logical_not),
        "Or": broadcast(np.logical_or),
        "Where": where,
        "Xor": broadcast(np.logical_xor),
    }
)
