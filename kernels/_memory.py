"""Arrays whose data starts where a vector register's loads touch one cache line each."""

import numpy as np

from ._jit import address_of
from ._program import BARRIER, At, Call

LINE = 64
"""Bytes of a cache line."""

PAGE = 1 << 21
"""Bytes of a large page of memory, which takes as little to address as a small one."""

ASKED = 1 << 22
"""Bytes from which NumPy asks Linux for large pages."""


def room(size):
    """``size`` uninitialised bytes from a cache line on.

    From half a large page on they lie in large pages, where the system has them; what is not
    touched of those takes no memory.
    """
    border, least = (PAGE, ASKED) if size >= PAGE // 2 else (LINE, 0)
    block = np.empty(max(size + border, least), np.uint8)
    start = -address_of(block) % border
    return block[start : start + size]


def aligned(array, dtype=None):
    """A C-contiguous copy that starts at a cache line."""
    array = np.asarray(array, dtype)
    return _copy(array, room(array.nbytes))


def _copy(array, block):
    copy = block.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def gathered(programs):
    """Calls that read their arrays from one room, where these lie in the order of the calls.

    Parameters
    ----------
    programs : list of list of Call and BARRIER

    Returns
    -------
    list of list of Call and BARRIER
    """
    calls = [call for program in programs for call in program if call is not BARRIER]
    arrays = {id(a): a for call in calls for a in map(_array, call.args) if a is not None}
    sizes = [-(-a.nbytes // LINE) * LINE for a in arrays.values()]
    block, start = room(sum(sizes)), 0
    for (key, array), size in zip(list(arrays.items()), sizes, strict=True):
        arrays[key] = _copy(array, block[start : start + array.nbytes])
        start += size

    def moved(arg):
        array = _array(arg)
        if array is None:
            return arg
        copy = arrays[id(array)]
        return At(copy, arg.offset) if isinstance(arg, At) else copy

    return [
        [call and Call(call.kernel, tuple(map(moved, call.args))) for call in program]
        for program in programs
    ]


def _array(arg):
    """The array that an argument is or lies in, or None."""
    buffer = arg.buffer if isinstance(arg, At) else arg
    return buffer if isinstance(buffer, np.ndarray) else None
