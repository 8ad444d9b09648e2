"""Element types by their numbers in ONNX files, and conversions among them."""

import numpy as np

from rvcnn.errors import ShapeError, WeightsError

from .base import choose, operators

NUMBERS = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    8: "object",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    16: "bfloat16",
    17: "float8_e4m3fn",
    18: "float8_e4m3fnuz",
    19: "float8_e5m2",
    20: "float8_e5m2fnuz",
    21: "uint4",
    22: "int4",
    23: "float4_e2m1fn",
    24: "float8_e8m0fnu",
    25: "uint2",
    26: "int2",
}
"""TensorProto.DataType to the name of the type; text is an array of objects."""


def dtype_of(number: int) -> np.dtype:
    """NumPy's type of a number in a file.

    Raises
    ------
    WeightsError
        For a number that is not known, and for a type of the package ml_dtypes where it is missing.
    """
    name = NUMBERS.get(number)
    if name is None:
        raise WeightsError(f"element type {number} is not known")
    try:
        return np.dtype(name)
    except TypeError:
        pass
    try:
        import ml_dtypes
    except ImportError:
        raise WeightsError(
            f"element type {name} needs the package ml_dtypes: pip install ml_dtypes"
        ) from None
    return np.dtype(getattr(ml_dtypes, name))


def is_small_float(dtype: np.dtype) -> bool:
    """Whether this is a type of 4 or 8 bits for floating point."""
    return dtype.name.startswith(("float8", "float4"))


def is_narrow_int(dtype: np.dtype) -> bool:
    """Whether this is a type of 2 or 4 bits for integers."""
    return dtype.name in ("int2", "uint2", "int4", "uint4")


def limits(dtype: np.dtype) -> tuple[float, float]:
    """Least and largest finite value of a type."""
    if dtype.kind in "iu" and not is_narrow_int(dtype):
        info = np.iinfo(dtype)
    else:
        import ml_dtypes

        info = (ml_dtypes.iinfo if is_narrow_int(dtype) else ml_dtypes.finfo)(dtype)
    return info.min, info.max


def convert(
    x: np.ndarray, dtype: np.dtype, saturate: bool = True, round_mode: str = "up"
) -> np.ndarray:
    """Values in another type.

    Parameters
    ----------
    x : array
    dtype : dtype
    saturate : bool
        Whether values too large for floats of 8 bits become the largest finite one.
    round_mode : str
        up, down or nearest: how values become powers of two, for floats that are nothing else.
    """
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "O":
        return _parsed(x, dtype)
    if dtype.kind == "O":
        return _written(x)
    if dtype.kind == "b":
        return x.astype(np.float32) != 0 if x.dtype.name.startswith("bfloat") else x.astype(bool)
    if dtype.name == "float8_e8m0fnu":
        return _powers_of_two(x, saturate, round_mode).astype(dtype)
    if is_small_float(dtype) and saturate:
        return np.clip(x.astype(np.float32), *map(float, limits(dtype))).astype(dtype)
    return x.astype(dtype)


def _powers_of_two(x, saturate, round_mode):
    """Powers of two in float64 near the values, from 2 ** -127 to 2 ** 127; NaN beyond."""
    part, exponent = np.frexp(np.abs(x.astype(np.float64)))
    up = {"up": part > 0.5, "down": part > 1, "nearest": part >= 0.75}
    exponent = exponent - 1 + choose(up, round_mode, "round_mode")
    exponent = np.where(part == 0, -127, exponent)
    powers = np.ldexp(1.0, np.clip(exponent, -127, 127))
    known = np.isfinite(x) if saturate else np.isfinite(x) & (exponent <= 127)
    return np.where(known, powers, np.nan)


def _parsed(x, dtype):
    """Numbers from text, as Python reads them."""
    numbers = np.array([float(v) for v in x.ravel()], np.float64).reshape(x.shape)
    if dtype.kind in "iu":
        return np.array([int(v) for v in x.ravel()], dtype).reshape(x.shape)
    return numbers.astype(dtype)


def _written(x):
    """Text of numbers, as few digits as tell them apart."""
    return np.array([str(v) for v in x.ravel()], object).reshape(x.shape)


def cast(x, *, to, saturate=1, round_mode="up"):
    """``x`` in the type of a number."""
    return convert(x, dtype_of(to), bool(saturate), round_mode)


def cast_like(x, like, *, saturate=1, round_mode="up"):
    """``x`` in the type of another array."""
    return convert(x, like.dtype, bool(saturate), round_mode)


def bit_cast(x, *, to):
    """The bits of `x` read as another type of the same size."""
    dtype = dtype_of(to)
    if dtype.itemsize != x.dtype.itemsize or "O" in (dtype.kind, x.dtype.kind):
        raise ShapeError(f"the bits of {x.dtype} are not those of {dtype}: the sizes differ")
    return np.ascontiguousarray(x).view(dtype).reshape(x.shape)


OPERATORS = operators({"BitCast": bit_cast, "Cast": cast, "CastLike": cast_like})
