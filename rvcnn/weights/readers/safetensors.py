"""safetensors: a JSON header that says where each tensor lies, then their bytes.

https://huggingface.co/docs/safetensors
"""

import functools
import json
import math

from rvcnn.weights.contents import (
    DTYPES,
    HEADER_LIMIT,
    Contents,
    Refusal,
    Stored,
    check_shape,
    shown,
)

METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


def matches(buffer: memoryview) -> bool:
    """Whether a file's ninth byte opens a JSON object, as the header does."""
    return len(buffer) > 8 and buffer[8] == ord("{")


def read(buffer: memoryview, entry: str | None = None) -> Contents:
    """Find the tensors of a safetensors file; `entry` is of no meaning here."""
    length = int.from_bytes(buffer[:8], "little")
    if length > min(len(buffer) - 8, HEADER_LIMIT):
        raise Refusal(f"a header of {length} bytes in a file of {len(buffer)}")
    header = json.loads(str(buffer[8 : 8 + length], "utf-8"), object_pairs_hook=_unique)
    metadata = header.pop(METADATA, {})
    if type(metadata) is not dict or not all(type(v) is str for v in metadata.values()):
        raise Refusal("metadata that is no text")
    data = buffer[8 + length :]
    for name, tensor in header.items():
        _check(name, tensor)
    _check_cover(header, len(data))
    tensors = {
        name: Stored(t["dtype"], tuple(t["shape"]), functools.partial(_part, data, t))
        for name, t in header.items()
    }
    return Contents(tensors, metadata)


def _unique(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal("a header with the same name twice")
    return found


def _part(data, tensor):
    begin, end = tensor["data_offsets"]
    return data[begin:end]


def _check(name, tensor):
    """Raise Refusal unless an entry of the header is a tensor whose size is its place's."""
    if type(tensor) is not dict or set(tensor) != _FIELDS:
        raise Refusal(f"the header's {shown(name)} is no tensor")
    shape, offsets = tensor["shape"], tensor["data_offsets"]
    if type(shape) is not list or type(offsets) is not list or len(offsets) != 2:
        raise Refusal(f"the header's {shown(name)} is no tensor")
    check_shape(f"tensor {shown(name)}", shape)
    if not all(type(edge) is int and edge >= 0 for edge in offsets):
        raise Refusal(f"the place of tensor {shown(name)} is {shown(tuple(offsets))}")
    if tensor["dtype"] not in DTYPES:
        raise Refusal(f"tensor {shown(name)} has dtype {shown(tensor['dtype'])}")
    needed = math.prod(shape) * DTYPES[tensor["dtype"]].itemsize
    if offsets[1] - offsets[0] != needed:
        raise Refusal(f"tensor {shown(name)} has {needed} bytes in a place of another size")


def _check_cover(header, length):
    """Raise Refusal unless the tensors lie side by side and fill the file."""
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin = tensor["data_offsets"][0]
        if begin != end:
            raise Refusal(f"tensor {shown(name)} begins at {begin}, those before it end at {end}")
        end = tensor["data_offsets"][1]
    if end != length:
        raise Refusal(f"tensors of {end} bytes in {length}")
