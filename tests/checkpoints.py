"""Checkpoints written by hand, right or wrong, without PyTorch: pickles from their operations."""

import io
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

STORAGES = {"<f8": "DoubleStorage", "<f4": "FloatStorage", "<f2": "HalfStorage"}
STORAGES |= {"<i8": "LongStorage", "|u1": "ByteStorage"}
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C


class Global(NamedTuple):
    """A name that a pickle asks for."""

    module: str
    name: str


class Call(NamedTuple):
    """A call that a pickle asks for."""

    function: Any
    arguments: tuple


class Persistent(NamedTuple):
    """A persistent id."""

    identity: Any


class Raw(NamedTuple):
    """Operations as they are."""

    code: bytes


def operations(value) -> bytes:
    """Return the operations of protocol 2 that put a value on the stack."""
    match value:
        case Raw(code):
            return code
        case Global(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return operations(function) + operations(arguments) + b"R"
        case Persistent(identity):
            return operations(identity) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(raw)]) + raw
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(operations, value)) + b"t"
        case list():
            return b"](" + b"".join(map(operations, value)) + b"e"
        case dict():
            pairs = b"".join(operations(k) + operations(v) for k, v in value.items())
            return b"}(" + pairs + b"u"
    raise TypeError(type(value))


def pickled(value) -> bytes:
    """Return a whole pickle."""
    return b"\x80\x02" + operations(value) + b"."


def storage(kind: str, key: str, size: int, *view) -> Persistent:
    """Return a storage as checkpoints name it."""
    return Persistent(("storage", Global("torch", kind), key, "cpu", size, *view))


def view(stored, shape, strides, offset=0) -> Call:
    """Return a tensor as checkpoints rebuild it."""
    hooks = Call(Global("collections", "OrderedDict"), ())
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, (stored, offset, tuple(shape), tuple(strides), False, hooks))


def tensor(array, key: str, *legacy) -> Call:
    """Return an array as a checkpoint's tensor with a storage of its own."""
    strides = [s // array.itemsize for s in array.strides]
    stored = storage(STORAGES[array.dtype.str], key, array.size, *legacy)
    return view(stored, array.shape, strides)


def torch_zip(checkpoint, storages: dict[str, bytes], order=b"little") -> bytes:
    """Return a checkpoint as PyTorch writes it; `checkpoint` may be a pickle already."""
    pickle = checkpoint if isinstance(checkpoint, bytes) else pickled(checkpoint)
    entries = {"data.pkl": pickle, "byteorder": order, "version": b"3\n"}
    entries |= {f"data/{key}": data for key, data in storages.items()}
    return zipped({f"archive/{name}": data for name, data in entries.items()})


def zipped(entries: dict[str, bytes], method=zipfile.ZIP_STORED) -> bytes:
    """Return a zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in entries.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    return out.getvalue()


def torch_legacy(checkpoint, storages: dict[str, np.ndarray], **system) -> bytes:
    """Return a checkpoint as PyTorch wrote it before version 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}} | system
    pickles = [pickled(part) for part in (MAGIC_NUMBER, 1001, system, checkpoint, list(storages))]
    values = [struct.pack("<q", array.size) + array.tobytes() for array in storages.values()]
    return b"".join(pickles + values)


def as_zip(tensors: dict[str, np.ndarray], wrap=lambda tensors: tensors) -> bytes:
    """Return arrays as a checkpoint of PyTorch's."""
    keys = {name: str(i) for i, name in enumerate(tensors)}
    made = {name: tensor(array, keys[name]) for name, array in tensors.items()}
    return torch_zip(wrap(made), {keys[name]: a.tobytes("A") for name, a in tensors.items()})


def as_legacy(tensors: dict[str, np.ndarray], wrap=lambda tensors: tensors) -> bytes:
    """Return arrays as a checkpoint of PyTorch's of old."""
    keys = {name: str(i) for i, name in enumerate(tensors)}
    made = {name: tensor(array, keys[name], None) for name, array in tensors.items()}
    return torch_legacy(wrap(made), {keys[name]: array for name, array in tensors.items()})
