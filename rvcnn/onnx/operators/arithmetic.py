"""Arithmetic on values one by one, with NumPy's broadcasting."""

import functools
import math

import numpy as np

from .base import axis_of, by_blocks, check_size, operators


def broadcast(function):
    """Operator of a NumPy function of two arrays."""

    def binary(a, b):
        check_size(np.broadcast_shapes(a.shape, b.shape), a.dtype)
        return function(a, b)

    return binary


def each(function):
    """Operator of a NumPy function of one array."""

    def unary(x):
        return function(x)

    return unary


def divide(a, b):
    """``a / b``; of integers the quotient rounded towards zero."""
    check_size(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    if a.dtype.kind not in "iu":
        return a / b
    if a.dtype.kind == "u":
        return a // b
    quotient = a // b
    return quotient + ((quotient < 0) & (quotient * b != a)).astype(a.dtype, copy=False)


def modulo(a, b, *, fmod=0):
    """Remainder with the sign of the divisor, or with `fmod` that of the dividend."""
    check_size(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    return np.fmod(a, b) if fmod else np.mod(a, b)


def power(base, exponent):
    """``base ** exponent`` in the type of the base."""
    check_size(np.broadcast_shapes(base.shape, exponent.shape), base.dtype)
    if base.dtype.kind in "iu" and exponent.dtype.kind in "iu":
        exponent = exponent.astype(base.dtype, copy=False)
        if exponent.dtype.kind == "i" and (exponent < 0).any():
            exponent = exponent.astype(np.float64)
    return np.power(base, exponent).astype(base.dtype, copy=False)


def reciprocal(x):
    """``1 / x``."""
    return np.asarray(1, x.dtype) / x


def variadic(function):
    """Operator of any number of arrays from a function of two."""

    def fold(*arrays):
        check_size(np.broadcast_shapes(*(a.shape for a in arrays)), arrays[0].dtype)
        return functools.reduce(function, arrays)

    return fold


def mean(*arrays):
    """Mean of several arrays, value by value."""
    return variadic(np.add)(*arrays) / np.asarray(len(arrays), arrays[0].dtype)


def clip(x, low=None, high=None):
    """Values below `low` become it, then those above `high`."""
    if low is not None:
        x = np.maximum(x, low.astype(x.dtype, copy=False))
    if high is not None:
        x = np.minimum(x, high.astype(x.dtype, copy=False))
    return x


_ERF_END, _ERF_STEPS = 4, 4096
"""Where the error function is 1 in float32; lines to the unit that are as near to it as that."""


@functools.cache
def _erf_lines():
    """The error function at the beginning of each line, and its rise along it."""
    values = [math.erf(i / _ERF_STEPS) for i in range(_ERF_END * _ERF_STEPS + 2)]
    return np.array(values[:-1], np.float32), np.diff(values).astype(np.float32)


@by_blocks
def erf(x):
    """Gauss's error function: math.erf in float64, short lines along it for float32."""
    if x.dtype != np.float32:
        return np.frompyfunc(math.erf, 1, 1)(x).astype(x.dtype, copy=False)
    start, rise = _erf_lines()
    at = np.minimum(np.abs(x) * np.float32(_ERF_STEPS), np.float32(_ERF_END * _ERF_STEPS))
    first = np.floor(at)
    line = first.astype(np.intp)  # of NaN, any: it is NaN again in what is left of it
    along = (at - first) * rise.take(line, mode="clip")
    return np.copysign(start.take(line, mode="clip") + along, x)


def accumulate(function, first):
    """Operator of a running sum or product along one axis."""

    def running(x, axis, *, exclusive=0, reverse=0):
        axis = axis_of(int(np.ravel(axis)[0]), x.ndim)
        if reverse:
            x = np.flip(x, axis)
        out = function(x, axis=axis, dtype=x.dtype)
        if exclusive:
            start = np.full_like(out[(slice(None),) * axis + (slice(0, 1),)], first)
            out = np.concatenate([start, out], axis)[(slice(None),) * axis + (slice(0, -1),)]
        return np.flip(out, axis) if reverse else out

    return running


def bit_shift(x, distance, *, direction):
    """Bits moved to the ``LEFT`` or to the ``RIGHT``, zeros or the sign coming in."""
    shift = np.left_shift if direction == "LEFT" else np.right_shift
    return shift(x, distance)


OPERATORS = operators(
    {
        "Abs": each(np.abs),
        "Acos": each(np.arccos),
        "Acosh": each(np.arccosh),
        "Add": broadcast(np.add),
        "Asin": each(np.arcsin),
        "Asinh": each(np.arcsinh),
        "Atan": each(np.arctan),
        "Atanh": each(np.arctanh),
        "BitShift": bit_shift,
        "BitwiseAnd": broadcast(np.bitwise_and),
        "BitwiseNot": each(np.invert),
        "BitwiseOr": broadcast(np.bitwise_or),
        "BitwiseXor": broadcast(np.bitwise_xor),
        "Ceil": each(np.ceil),
        "Clip": clip,
        "Cos": each(np.cos),
        "Cosh": each(np.cosh),
        "CumProd": accumulate(np.cumprod, 1),
        "CumSum": accumulate(np.cumsum, 0),
        "Div": divide,
        "Erf": erf,
        "Exp": each(np.exp),
        "Floor": each(np.floor),
        "Log": each(np.log),
        "Max": variadic(np.maximum),
        "Mean": mean,
        "Min": variadic(np.minimum),
        "Mod": modulo,
        "Mul": broadcast(np.multiply),
        "Neg": each(np.negative),
        "Pow": power,
        "Reciprocal": reciprocal,
        "Round": each(np.rint),
        "Sign": each(np.sign),
        "Sin": each(np.sin),
        "Sinh": each(np.sinh),
        "Sqrt": each(np.sqrt),
        "Sub": broadcast(np.subtract),
        "Sum": variadic(np.add),
        "Tan": each(np.tan),
        "Tanh": each(np.tanh),
    },
    widen=True,
)
