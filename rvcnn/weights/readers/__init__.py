"""Readers of weights files, one file each, chosen by what a file begins with.

A reader gets the whole file as a memory-mapped buffer. It runs nothing that the file holds, and it
has compared every size with the file before anybody takes memory for it.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from rvcnn.errors import WeightsError
from rvcnn.weights.contents import Contents, Refusal, shown

from . import npz, onnx, safetensors, torch_legacy, torch_zip

ROOM = 64 << 20
"""Bytes that the tensors of any file may take in float32."""

GROWTH = 8
"""How often its own size those of a larger file may take: halves, tied and compressed tensors."""

_PARSING = (ValueError, OverflowError, RecursionError, struct.error, zlib.error)


class Format(NamedTuple):
    """A kind of file.

    Attributes
    ----------
    name : str
    matches : callable
        Whether a buffer looks like one.
    read : callable
        Gives the Contents of a buffer; takes the name of the entry that holds the tensors, or None.
    is_folder : bool
        Whether tensors may lie in other files of the folder, which it then takes too.
    """

    name: str
    matches: Callable[[memoryview], bool]
    read: Callable[..., Contents]
    is_folder: bool = False


FORMATS = (
    Format("PyTorch checkpoint", torch_zip.matches, torch_zip.read),
    Format("NumPy archive", npz.matches, npz.read),
    # Before pickles: the length it begins with may begin as one.
    Format("safetensors", safetensors.matches, safetensors.read),
    Format("PyTorch checkpoint (legacy)", torch_legacy.matches, torch_legacy.read),
    Format("ONNX model", onnx.matches, onnx.read, is_folder=True),
)


def map_file(path: Path) -> memoryview:
    """Map a file into memory, read-only.

    Raises
    ------
    WeightsError
        If there is no such file, or it is empty or no regular file.
    """
    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f"cannot read the weights file {path}: not a regular file")
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise WeightsError(f"{path}: an empty file")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        if isinstance(error, WeightsError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"cannot read the weights file {path}: {reason}") from None


def read(buffer: memoryview, entry=None, folder=None) -> tuple[str, Contents]:
    """Return the name of a buffer's format, and its contents.

    Parameters
    ----------
    buffer : memoryview
    entry : str, optional
        Of a file with several sets of weights, the one to take.
    folder : Path, optional
        Where the file lies.

    Raises
    ------
    Refusal
        If no format fits, or the file is damaged or asks for more than data.
    """
    try:
        for kind in FORMATS:
            if kind.matches(buffer):
                if kind.is_folder:  # it compares sizes with all the files by itself
                    return kind.name, kind.read(buffer, entry, folder)
                contents = kind.read(buffer, entry)
                _check_room(contents, len(buffer))
                return kind.name, contents
    except WeightsError:  # a package that a format needs
        raise
    except _PARSING as error:
        raise Refusal(f"a damaged file: {shown(str(error))}") from None
    known = ", ".join(dict.fromkeys(kind.name.partition(" (")[0] for kind in FORMATS))
    raise Refusal(f"no weights file of a kind that rvcnn reads ({known})")


def _check_room(contents: Contents, length: int) -> None:
    total = sum(4 * tensor.size for tensor in contents.tensors.values())
    if total > max(ROOM, GROWTH * length):
        raise Refusal(f"its tensors would take {total} bytes, the file has {length}")
