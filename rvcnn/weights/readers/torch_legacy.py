"""PyTorch's checkpoints before version 1.6: five pickles in a row, then the storages."""

import struct

from rvcnn.weights.contents import DTYPES, Contents, Refusal, shown

from .torch_tensors import KNOWN, Storage, contents_of, storage_of
from .unpickle import PROTO, Unpickler

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT = struct.Struct("<q")


def matches(buffer: memoryview) -> bool:
    """Whether a file begins as a pickle."""
    return buffer[:1] == PROTO


def read(buffer: memoryview, entry: str | None = None) -> Contents:
    """Find the tensors of a checkpoint; `entry` names where its state dict is."""
    sizes: dict[str, int] = {}

    def persistent(identity):
        storage = storage_of(identity)
        width = DTYPES[storage.dtype].itemsize
        if sizes.setdefault(storage.key, width) != width:
            raise Refusal(f"the storage {shown(storage.key)} in two types")
        return storage

    pickles = Unpickler(buffer, KNOWN, persistent)
    magic, at = pickles.load()
    if magic != _MAGIC_NUMBER or type(magic) is not int:
        raise Refusal("a pickle that is no PyTorch checkpoint")
    protocol, at = pickles.load(at)
    system, at = pickles.load(at)
    if protocol != _PROTOCOL or type(system) is not dict:
        raise Refusal(f"a checkpoint of the unknown protocol {shown(protocol)}")
    checkpoint, at = pickles.load(at)
    keys, at = pickles.load(at)
    little = system.get("little_endian", True) is not False
    places = _places(buffer, at, keys, sizes)

    def data(storage: Storage) -> memoryview:
        if storage.key not in places:
            raise Refusal(f"a checkpoint without its storage {shown(storage.key)}")
        width = DTYPES[storage.dtype].itemsize
        begin = storage.first * width
        return places[storage.key][begin : begin + storage.size * width]

    return contents_of(checkpoint, entry, data, "<" if little else ">")


def _places(buffer, at, keys, widths):
    """The bytes of each storage, in the order of their keys; each begins with its length."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise Refusal("a checkpoint whose storages are not listed")
    places = {}
    for key in keys:
        if key not in widths or key in places or at + _COUNT.size > len(buffer):
            raise Refusal(f"a checkpoint whose storage {shown(key)} is not to be found")
        (count,) = _COUNT.unpack_from(buffer, at)
        begin = at + _COUNT.size
        at = begin + count * widths[key]
        if count < 0 or at > len(buffer):
            raise Refusal(f"a checkpoint that was cut off in its storage {shown(key)}")
        places[key] = buffer[begin:at]
    return places
