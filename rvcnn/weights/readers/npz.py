"""NumPy archives (.npz): arrays by name, never pickled objects."""

import functools
import math
import re

from rvcnn.weights.contents import DTYPES, Contents, Refusal, Stored, check_shape, shown

from .archive import MAGIC, Archive

SUFFIX = ".npy"
_LONGEST_HEADER = 16 << 10
_LONGEST_SIDE = 18  # digits
_NAMES = {dtype.str[1:]: name for name, dtype in DTYPES.items() if name != "BF16"}
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_HEADER = re.compile(
    r"\{'descr': '([<>|])([A-Za-z]\d*)', 'fortran_order': (True|False), "
    r"'shape': \(([0-9, ]*)\), \} *\n"
)


def matches(buffer: memoryview) -> bool:
    """Whether a file is a zip archive of arrays."""
    return buffer[:4] == MAGIC and any(name.endswith(SUFFIX) for name in Archive(buffer).entries)


def read(buffer: memoryview, entry: str | None = None) -> Contents:
    """Find the arrays of an archive; `entry` is of no meaning here."""
    archive = Archive(buffer)
    tensors = {}
    for name in archive.entries:
        if not name.endswith(SUFFIX):
            raise Refusal(f"an archive whose {shown(name)} is no array")
        key = name[: -len(SUFFIX)]
        tensors[key] = _array(archive, name, key)
    return Contents(tensors)


def _array(archive, name, key):
    head = archive.head(name, _LONGEST_HEADER)
    if head[:6] != b"\x93NUMPY" or len(head) < 12 or head[6] not in _LENGTH_BYTES:
        raise Refusal(f"array {shown(key)} does not begin as NumPy's arrays do")
    begin = 8 + _LENGTH_BYTES[head[6]]
    start = begin + int.from_bytes(head[8:begin], "little")
    text = str(head[begin:start], "utf-8")
    found = _HEADER.fullmatch(text)
    if found is None:
        raise Refusal(f"array {shown(key)} is no plain array: {shown(text)}")
    order, kind, fortran, sides = found.groups()
    if kind == "O":
        raise Refusal(f"array {shown(key)} holds Python objects, which rvcnn never unpickles")
    if kind not in _NAMES:
        raise Refusal(f"array {shown(key)} has dtype {order}{kind}")
    if not all(len(side) <= _LONGEST_SIDE for side in re.findall("[0-9]+", sides)):
        raise Refusal(f"array {shown(key)} is too large for any memory")
    shape = tuple(int(side) for side in re.findall("[0-9]+", sides))
    check_shape(f"array {shown(key)}", shape)
    strides = tuple(math.prod(shape[:i]) for i in range(len(shape))) if fortran == "True" else None
    data = functools.partial(_data, archive, name, start)
    stored = Stored(_NAMES[kind], shape, data, 0, strides, order.replace("|", "<"))
    if archive.entries[name].size != start + stored.size * DTYPES[stored.dtype].itemsize:
        raise Refusal(f"array {shown(key)} of {shown(shape)} is not of the size that it states")
    return stored


def _data(archive, name, start):
    return archive.read(name)[start:]
