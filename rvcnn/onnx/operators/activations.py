"""Activation functions. Formulas are those of the ONNX specification."""

import numpy as np

from rvcnn.errors import WeightsError
from rvcnn.kernels import functional

from .arithmetic import erf
from .base import axis_of, by_blocks, operators

LARGE = 1 << 14
"""Values from which on a kernel's call costs less than NumPy's passes over them."""


def _is_large(x):
    return x.dtype == np.float32 and x.size >= LARGE


def relu(x):
    """``max(x, 0)``."""
    return np.maximum(x, np.asarray(0, x.dtype))


def leaky_relu(x, *, alpha=0.01):
    """``x``, negative values times `alpha`."""
    if _is_large(x):
        return functional.activation(x, "leaky_relu", alpha)
    return np.where(x < 0, x * np.asarray(alpha, x.dtype), x)


def prelu(x, slope):
    """``x``, negative values times a slope that broadcasts to `x`."""
    return np.where(x < 0, x * slope, x).astype(x.dtype, copy=False)


def sigmoid(x):
    """``1 / (1 + exp(-x))`` without overflow."""
    if _is_large(x):
        return functional.activation(x, "sigmoid")
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, np.asarray(1, x.dtype)) / (1 + small)


def hard_sigmoid(x, *, alpha=0.2, beta=0.5):
    """``clip(alpha * x + beta, 0, 1)``."""
    return np.clip(x * np.asarray(alpha, x.dtype) + np.asarray(beta, x.dtype), 0, 1)


def hard_swish(x):
    """``x * clip(x / 6 + 1 / 2, 0, 1)``."""
    if _is_large(x):
        return functional.activation(x, "hard_swish")
    return x * hard_sigmoid(x, alpha=1 / 6, beta=0.5)


def swish(x, *, alpha=1.0):
    """``x * sigmoid(alpha * x)``."""
    if alpha == 1 and _is_large(x):
        return functional.activation(x, "silu")
    return x * sigmoid(x * np.asarray(alpha, x.dtype))


def elu(x, *, alpha=1.0):
    """``alpha * (exp(x) - 1)`` for negative values (Clevert et al., 2015)."""
    return np.where(x < 0, np.asarray(alpha, x.dtype) * np.expm1(np.minimum(x, 0)), x)


def celu(x, *, alpha=1.0):
    """``alpha * (exp(x / alpha) - 1)`` for negative values (Barron, 2017)."""
    alpha = np.asarray(alpha, x.dtype)
    return np.maximum(x, 0) + np.minimum(0, alpha * np.expm1(np.minimum(x, 0) / alpha))


def selu(x, *, alpha=1.6732632423543772, gamma=1.0507009873554805):
    """``gamma * elu(x, alpha)`` (Klambauer et al., 2017)."""
    return np.asarray(gamma, x.dtype) * elu(x, alpha=alpha)


def softplus(x):
    """``log(1 + exp(x))`` without overflow."""
    return np.maximum(x, np.asarray(0, x.dtype)) + np.log1p(np.exp(-np.abs(x)))


def softsign(x):
    """``x / (1 + |x|)``."""
    return x / (1 + np.abs(x))


def mish(x):
    """``x * tanh(softplus(x))`` (Misra, 2019)."""
    return x * np.tanh(softplus(x))


@by_blocks
def gelu(x, *, approximate="none"):
    """``x * P(X <= x)`` of a normal distribution, or its approximation by a ``tanh``."""
    if approximate == "tanh":
        inner = np.asarray((2 / np.pi) ** 0.5, x.dtype) * (x + np.asarray(0.044715, x.dtype) * x**3)
        share = np.tanh(inner)
    elif approximate == "none":
        share = erf(x * np.asarray(0.5**0.5, x.dtype))
    else:
        raise WeightsError(f"approximate {approximate!r} is not known: use none or tanh")
    return np.asarray(0.5, x.dtype) * x * (1 + share)


def thresholded_relu(x, *, alpha=1.0):
    """Values above `alpha`, 0 for others."""
    return np.where(x > alpha, x, np.asarray(0, x.dtype))


def shrink(x, *, bias=0.0, lambd=0.5):
    """Values within `lambd` of 0 become 0, others come nearer to it by `bias`."""
    moved = np.where(x > lambd, x - bias, np.where(x < -lambd, x + bias, 0))
    return moved.astype(x.dtype, copy=False)


def _along(function):
    """Operator along one axis; before operator set 13 along all from `axis` on, flattened."""

    def along(x, *, axis=None, opset):
        if opset >= 13:
            return function(x, axis_of(-1 if axis is None else axis, x.ndim))
        axis = axis_of(1 if axis is None else axis, max(x.ndim, 2))
        rows = int(np.prod(x.shape[:axis]))
        return function(x.reshape(rows, x.size // max(rows, 1)), 1).reshape(x.shape)

    return along


def softmax(x, axis):
    """``exp(x) / sum(exp(x))`` along an axis, without overflow."""
    if not x.size:
        return x
    powers = np.exp(x - x.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)


def log_softmax(x, axis):
    """Logarithm of :func:`softmax`."""
    if not x.size:
        return x
    x = x - x.max(axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def hardmax(x, axis):
    """1 at the first largest value along an axis, 0 elsewhere."""
    out = np.zeros_like(x)
    np.put_along_axis(out, np.expand_dims(x.argmax(axis), axis), 1, axis)
    return out


OPERATORS = operators(
    {
        "Celu": celu,
        "Elu": elu,
        "Gelu": gelu,
        "HardSigmoid": hard_sigmoid,
        "HardSwish": hard_swish,
        "Hardmax": _along(hardmax),
        "LeakyRelu": leaky_relu,
        "LogSoftmax": _along(log_softmax),
        "Mish": mish,
        "PRelu": prelu,
        "Relu": relu,
        "Selu": selu,
        "Shrink": shrink,
        "Sigmoid": sigmoid,
        "Softmax": _along(softmax),
        "Softplus": softplus,
        "Softsign": softsign,
        "Swish": swish,
        "ThresholdedRelu": thresholded_relu,
    },
    widen=True,
)
