"""Write weights: safetensors, the same bytes for the same weights."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from rvcnn.paths import open_whole

from .contents import DTYPES

_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}
_ALIGNMENT = 8


def save_weights(path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, which appears whole or not at all.

    Parameters
    ----------
    path : path-like
    tensors : mapping of str to ndarray
    metadata : mapping of str to str

    Raises
    ------
    OSError
        If it cannot be written.
    """
    arrays = {key: _little_endian(tensors[key]) for key in sorted(tensors)}
    header, end = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}, 0
    for key, array in arrays.items():
        begin, end = end, end + array.nbytes
        header[key] = {
            "dtype": _NAMES[array.dtype],
            "shape": array.shape,
            "data_offsets": (begin, end),
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with open_whole(Path(path)) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(memoryview(array).cast("B") if array.size else b"")


def _little_endian(array):
    array = np.asarray(array, order="C")
    return array.astype(array.dtype.newbyteorder("<"), copy=False)
