"""Values that come from numbers in the file rather than from the input."""

import math

import numpy as np

from rvcnn.errors import ShapeError, WeightsError

from .base import check_size, ints, operators
from .types import dtype_of


def constant(
    *,
    value=None,
    value_float=None,
    value_floats=None,
    value_int=None,
    value_ints=None,
    value_string=None,
    value_strings=None,
):
    """The value of the one attribute that is given."""
    if value is not None:
        return value
    for number, kind in (
        (value_float, np.float32),
        (value_floats, np.float32),
        (value_int, np.int64),
        (value_ints, np.int64),
        (value_string, object),
        (value_strings, object),
    ):
        if number is not None:
            return np.array(number, kind)
    raise WeightsError("no value that is supported: it takes tensors and numbers")


def constant_of_shape(shape, *, value=None):
    """One value everywhere, 0 in float32 unless it is given."""
    value = np.zeros(1, np.float32) if value is None else value
    return np.full(check_size(ints(shape), value.dtype), value.reshape(()), value.dtype)


def range_(start, limit, delta, *, stash_type=1):
    """Values from `start`, by `delta`, before `limit`."""
    first, last, step = (v.reshape(()).item() for v in (start, limit, delta))
    if not step or not all(map(math.isfinite, (first, last, step))):
        raise ShapeError(f"a range from {first} to {last} by {step} has no end: change the step")
    count = max(math.ceil((last - first) / step), 0)
    check_size((count,), np.float64)
    return (first + np.arange(count) * step).astype(start.dtype)


def eye_like(x, *, dtype=None, k=0):
    """Ones on the `k`-th diagonal of a matrix of the shape of `x`."""
    kind = x.dtype if dtype is None else dtype_of(dtype)
    return np.eye(*x.shape, k=k, dtype=np.float32).astype(kind)


def _window(*cosines):
    """Operator of a sum of cosines over so many points, periodic or symmetric."""

    def window(size, *, output_datatype=1, periodic=1):
        count = int(size)
        check_size((count,), np.float64)
        turns = 2 * np.pi * np.arange(count) / max(count - (not periodic), 1)
        values = sum(weight * np.cos(i * turns) for i, weight in enumerate(cosines))
        return values.astype(dtype_of(output_datatype))

    return window


OPERATORS = operators(
    {
        "BlackmanWindow": _window(0.42, -0.5, 0.08),
        "Constant": constant,
        "ConstantOfShape": constant_of_shape,
        "EyeLike": eye_like,
        "HammingWindow": _window(25 / 46, -21 / 46),
        "HannWindow": _window(0.5, -0.5),
        "Range": range_,
    }
)
