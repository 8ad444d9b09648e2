"""Arrays whose data starts where a vector register's loads touch one cache line each."""

import numpy as np

from ._jit import address_of

LINE = 64
"""Bytes of a cache line."""


def aligned(array, dtype=None):
    """A C-contiguous copy that starts at a cache line."""
    array = np.asarray(array, dtype)
    block = np.empty(array.nbytes + LINE, np.uint8)
    start = -address_of(block) % LINE
    copy = block[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
