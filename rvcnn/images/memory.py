"""An image's pixels without a copy."""

from __future__ import annotations

import ctypes

import numpy as np
from PIL import Image


class _ArrowArray(ctypes.Structure):
    """The Arrow C data interface's array: https://arrow.apache.org/docs/format/CDataInterface.html."""


_ArrowArray._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_ArrowArray))),
    ("dictionary", ctypes.POINTER(_ArrowArray)),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]

# Pillow's largest block of pixels is 16 MiB unless PILLOW_BLOCK_SIZE says otherwise.
_ONE_BLOCK = 8 << 20

_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]


def rgbx(image: Image.Image) -> np.ndarray:
    """Pixels of an RGB image, four bytes each.

    Parameters
    ----------
    image : PIL.Image.Image
        Mode RGB.

    Returns
    -------
    numpy.ndarray
        (H, W, 4) uint8, C-contiguous, to be read only; the fourth byte means nothing. Pillow's own
        memory where it lies in one block, else a copy. The array keeps the image alive.
    """
    width, height = image.size
    try:
        _, capsule = image.__arrow_c_array__()
    except ValueError:
        rows = _ONE_BLOCK // (4 * width)
        if rows == 0 or rows >= height:
            return np.asarray(image.convert("RGBA"))
        strips = ((0, y, width, min(y + rows, height)) for y in range(0, height, rows))
        return np.concatenate([rgbx(image.crop(strip)) for strip in strips])
    array = _ArrowArray.from_address(_pointer_of(capsule, b"arrow_array"))
    pixels = array.children[0].contents
    return np.asarray(_Memory(pixels.buffers[1], (height, width, 4), (image, capsule)))


class _Memory:
    """Memory that belongs to somebody else, as NumPy asks for it."""

    def __init__(self, address, shape, owner):
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": shape,
            "data": (address, True),
        }
