"""Programs: kernel calls one after another, run without the interpreter and without the GIL."""

import ctypes
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._jit import I64, Kernel, address_of, kernel, word


class At(NamedTuple):
    """A place in a buffer: ``offset`` elements from its start."""

    buffer: Any
    offset: int = 0


class Map(NamedTuple):
    """Where an (H, W, C) map lies: channels contiguous, pixels and rows at any distance.

    ``buffer`` is an ndarray, or a plan's symbol for one that exists only at run time; ``offset``,
    ``pixel`` and ``row`` count elements.
    """

    buffer: Any
    offset: int
    height: int
    width: int
    channels: int
    row: int
    pixel: int

    @classmethod
    def of(cls, array):
        """The map of a C-contiguous (H, W, C) array."""
        h, w, c = array.shape
        return cls(array, 0, h, w, c, w * c, c)

    def at(self, y=0, x=0, c=0):
        """The place of channel ``c`` of pixel (y, x); pixels of the border have negative places."""
        return At(self.buffer, self.offset + y * self.row + x * self.pixel + c)

    @property
    def skip(self):
        """Elements from the end of a row's last pixel to the next row's first."""
        return self.row - self.width * self.pixel


class Call(NamedTuple):
    """One kernel call: an argument is a scalar, an ndarray, None or a place in a buffer."""

    kernel: Kernel
    args: tuple


@intrinsic
def _call_address(typingctx, address, argument):
    def codegen(context, builder, sig, args):
        pointer = ir.IntType(64).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [pointer]).as_pointer()
        builder.call(builder.inttoptr(args[0], function), [builder.inttoptr(args[1], pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@kernel("walk")
def walk(program: I64, calls: int):
    """Call ``calls`` kernels; ``program`` holds pairs of kernel address, descriptor address."""
    for i in range(calls):
        _call_address(program[2 * i], program[2 * i + 1])


class Program:
    """Kernel calls laid out in memory, ready to run.

    Parameters
    ----------
    calls : sequence of Call
    buffers : mapping, optional
        The array behind each of a plan's symbols. A symbol without one must be pointed at an array
        before the program runs.
    """

    def __init__(self, calls, buffers=None):
        self._buffers = dict(buffers or {})
        self._keep = []
        self._open = {}
        starts, words = [], []
        for call in calls:
            starts.append(len(words))
            for kind, value in zip(call.kernel.parameters.values(), call.args, strict=True):
                words.append(self._word(kind, value, len(words)))
        self._words = np.array(words, np.int64)
        base = address_of(self._words)
        self._program = np.array(
            [[c.kernel.address, base + 8 * s] for c, s in zip(calls, starts, strict=True)],
            np.int64,
        ).reshape(-1)
        self._descriptor = np.array([address_of(self._program), len(calls)], np.int64)
        self._argument = address_of(self._descriptor)
        self._walk = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(walk().address)

    def _word(self, kind, value, index):
        if kind in (int, float):
            return word(kind(value))
        if value is None:
            return 0
        place = value if isinstance(value, At) else At(value)
        array = place.buffer
        if not isinstance(array, np.ndarray):
            if array not in self._buffers:
                self._open.setdefault(array, []).append((index, place.offset))
                return 0
            array = self._buffers[array]
        if array.dtype != kind.dtype or not array.flags.c_contiguous:
            raise TypeError(f"expected a C-contiguous {kind.dtype} array, not {array.dtype}")
        self._keep.append(array)
        return address_of(array) + place.offset * array.itemsize

    def point(self, symbol, array):
        """Let a symbol mean this array, which the caller keeps alive, from the next run on."""
        base = address_of(array)
        for index, offset in self._open[symbol]:
            self._words[index] = base + offset * array.itemsize

    def run(self):
        """Run all calls in order, in one call that holds no GIL."""
        self._walk(self._argument)


def run(calls):
    """Run kernel calls whose buffers are arrays."""
    Program(calls).run()
