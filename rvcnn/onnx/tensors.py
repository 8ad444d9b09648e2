"""Tensors of an ONNX file as arrays, compared with the bytes there are before memory is taken."""

import math
from pathlib import Path

import numpy as np

from rvcnn.weights.contents import Refusal, check_shape, shown
from rvcnn.weights.readers import map_file

_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_COMPLEX = ("COMPLEX64", "COMPLEX128")
_TYPES = (
    *("FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "BOOL", "STRING", *_COMPLEX),
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (2, 4, 8, 16, 32, 64)),
    *("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"),
    "FLOAT4E2M1",
)


class Tensors:
    """Reads tensors of one file.

    Parameters
    ----------
    folder : Path or None
        Where data outside the file may lie; None where it may not.
    """

    def __init__(self, folder):
        import onnx

        self._folder = folder
        self._names = {v: k for k, v in onnx.TensorProto.DataType.items() if k in _TYPES}
        self._helper = onnx.helper
        self._to_array = onnx.numpy_helper.to_array
        self._external = onnx.TensorProto.EXTERNAL
        self._files = {}

    @property
    def outside(self):
        """Bytes of the other files that were read, in the order of their names."""
        return tuple(self._files[path] for path in sorted(self._files))

    def dtype(self, number):
        """The dtype of a number in the file, or None for 0."""
        if number == 0:
            return None
        if number not in self._names:
            raise Refusal(f"data of a type {number} that rvcnn does not read")
        return np.dtype(self._helper.tensor_dtype_to_np_dtype(number))

    def array(self, tensor, what):
        """The array of a TensorProto; ``what`` names it in messages."""
        kind = self._names.get(tensor.data_type)
        if kind is None or tensor.HasField("segment"):
            raise Refusal(f"{what} has a type {tensor.data_type} that rvcnn does not read")
        shape = list(tensor.dims)
        check_shape(what, shape)
        count = math.prod(shape)
        if tensor.data_location == self._external:
            return self._outside(tensor, kind, shape, what)
        if tensor.HasField("raw_data") and kind != "STRING":
            held, needed = len(tensor.raw_data), self._bytes(kind, tensor.data_type, count)
        else:
            field = getattr(tensor, self._helper.tensor_dtype_to_field(tensor.data_type))
            held, needed = (
                len(field),
                -(-count * _BITS.get(kind, 8) // 8) * (1 + (kind in _COMPLEX)),
            )
        if held != needed:
            raise Refusal(f"{what} of {shown(tuple(shape))} {kind} has {held} of {needed} values")
        try:
            array = self._to_array(tensor)
        except UnicodeDecodeError:
            raise Refusal(f"{what} holds text that is no UTF-8") from None
        return np.ascontiguousarray(array).reshape(shape)

    def _bytes(self, kind, number, count):
        if kind in _BITS:
            return -(-count * _BITS[kind] // 8)
        return count * np.dtype(self._helper.tensor_dtype_to_np_dtype(number)).itemsize

    def _outside(self, tensor, kind, shape, what):
        """A tensor in a file beside the model's; never above its folder."""
        given = {entry.key: entry.value for entry in tensor.external_data}
        place = shown(given.get("location", ""))
        if self._folder is None:
            raise Refusal(f"{what} lies in another file, {place}: read the model from its path")
        if kind in _BITS or kind == "STRING":
            raise Refusal(f"{what} is {kind} in another file, {place}")
        folder = self._folder.resolve()
        path = self._path(folder, given.get("location", ""))
        if path is None or not path.is_relative_to(folder) or not path.is_file():
            raise Refusal(f"{what} lies in {place}, no file in the model's folder")
        if path not in self._files:
            self._files[path] = map_file(path)
        held = len(self._files[path])
        needed = self._bytes(kind, tensor.data_type, math.prod(shape))
        try:
            offset, length = int(given.get("offset", 0)), int(given.get("length", needed))
        except ValueError:
            offset = length = -1
        if length != needed or offset < 0 or offset + length > held:
            raise Refusal(f"{what} of {needed} bytes has no place in {place} of {held} bytes")
        dtype = np.dtype(self._helper.tensor_dtype_to_np_dtype(tensor.data_type))
        data = self._files[path][offset : offset + length]
        return np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype).reshape(shape)

    @staticmethod
    def _path(folder, location):
        if not location or "\0" in location or Path(location).is_absolute():
            return None
        try:
            return (folder / location).resolve()
        except (OSError, RuntimeError, ValueError):
            return None
