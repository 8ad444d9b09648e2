"""What a weights file holds before any number of it is converted."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),  # NumPy has no such type: the upper half of a float32
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
"""Types of tensors, by the names that safetensors gives them."""

FLOATS = ("F64", "F32", "F16", "BF16")

HEADER_LIMIT = 2 << 20
"""Bytes of what describes the tensors: enough for ten thousand of them."""

DIMENSIONS = 16
"""Most dimensions of a tensor."""

_MOST_ELEMENTS = 1 << 48  # a tensor of no elements may have such sides too, and NumPy would stumble


class Refusal(Exception):
    """Why a file is not read; the message lacks the file's name."""


class Stored(NamedTuple):
    """A tensor as it lies in a file.

    Attributes
    ----------
    dtype : str
        A key of ``DTYPES``.
    shape : tuple of int
    data : callable
        Gives the bytes of the storage that the tensor is a view of.
    offset : int
        Elements of the storage before the tensor's first.
    strides : tuple of int, optional
        In elements; by default those of a contiguous tensor.
    order : {"<", ">"}
        Byte order of the storage.
    """

    dtype: str
    shape: tuple[int, ...]
    data: Callable[[], memoryview]
    offset: int = 0
    strides: tuple[int, ...] | None = None
    order: str = "<"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def with_sides(self, count: int) -> "Stored":
        """Return the same tensor with so many dimensions: sides of 1 come or go at its end."""
        more = count - len(self.shape)
        if any(side != 1 for side in self.shape[count:]):
            return self
        shape = (*self.shape, *(1,) * more)[:count]
        strides = self.strides and (*self.strides, *(1,) * more)[:count]
        return self._replace(shape=shape, strides=strides)

    def array(self) -> np.ndarray:
        """Return a contiguous copy in its own type; BF16 as the upper halves of float32."""
        return np.array(self._view(), DTYPES[self.dtype], order="C")

    def _view(self):
        kind = DTYPES[self.dtype].newbyteorder(self.order)
        storage = np.frombuffer(self.data(), kind)[self.offset :]
        if self.strides is None:
            return storage[: self.size].reshape(self.shape)
        steps = tuple(step * kind.itemsize for step in self.strides)
        return np.lib.stride_tricks.as_strided(storage, self.shape, steps, writeable=False)

    def float32(self) -> np.ndarray:
        """Return a contiguous copy in float32; what lies beyond its range becomes infinite."""
        view = self._view()
        if self.dtype == "BF16":
            return (view.astype(np.uint32, order="C") << 16).view(np.float32)
        with np.errstate(over="ignore"):
            return np.array(view, np.float32, order="C")


def zeros(count: int) -> Stored:
    """Return a vector of float32 that no file holds; all its values are one in memory."""
    return Stored("F32", (count,), lambda: memoryview(bytes(4)), strides=(0,))


class Contents(NamedTuple):
    """The tensors and the metadata of a file, and what a user should know of how they were found.

    Attributes
    ----------
    tensors : mapping of str to Stored
    metadata : mapping of str to str
    notes : tuple of str
    outside : tuple of memoryview
        Other files that tensors lie in.
    """

    tensors: Mapping[str, Stored]
    metadata: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    outside: tuple[memoryview, ...] = ()


def check_shape(what: str, shape) -> None:
    """Raise Refusal unless a shape is a sequence of not too many numbers from 0 up."""
    if len(shape) > DIMENSIONS:
        raise Refusal(f"{what} has {len(shape)} dimensions")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise Refusal(f"{what} has {shown(tuple(shape))} where sizes should be")
    if math.prod(side or 1 for side in shape) > _MOST_ELEMENTS:
        raise Refusal(f"{what} of {shown(tuple(shape))} is too large for any memory")


def shown(value) -> str:
    """Text of something from a file for a message: short, on one line, and cheap to make."""
    if isinstance(value, (str, bytes)):
        return repr(value[:80]) + "..." * (len(value) > 80)
    if isinstance(value, int) and value.bit_length() > 100:
        return "a huge number"
    if isinstance(value, (int, float, type(None))):
        return repr(value)
    if type(value) in (list, tuple):
        plain = (shown(v) if type(v) in (int, str) else type(v).__name__ for v in value[:6])
        return f"({', '.join(plain)}{', ...' * (len(value) > 6)}{',' * (len(value) == 1)})"
    return f"a {type(value).__name__}"
