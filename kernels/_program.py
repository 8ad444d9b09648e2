"""Programs: kernel calls one after another, run without the interpreter and without the GIL."""

import ctypes
import sys
from array import array
from itertools import starmap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ._jit import I64, Kernel, address_of, kernel, word

if TYPE_CHECKING:
    from ._control import call_address, fetch_add, peek


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


BARRIER = None
"""Among calls: what follows reads what stands before."""


@kernel("walk")
def walk(program: I64, calls: int):
    """Call ``calls`` kernels; ``program`` holds pairs of kernel address, descriptor address."""
    for i in range(calls):
        call_address(program[2 * i], program[2 * i + 1])


_INSIDE, _CLOSED, _TAKEN, _DONE, _BACK, _STAGE = 0, 16, 0, 16, 32, 48
"""Words of the shared state, two cache lines apart so that threads do not disturb each other."""


@kernel("walk_together")
def walk_together(program: I64, ends: I64, stages: int, state: I64, leader: int, give_way: int):
    """Share a program's calls with the other threads that run this at the same time.

    The leader takes a stage's calls from the front, helpers from the back, so that neighbouring
    parts of a map tend to stay in one core's cache. Nobody enters the next stage before all calls
    of this one are done. Helpers may come late, leave early or not come at all. ``ends`` holds the
    index past each stage's last call, ``state`` 48 words and 48 more for each stage. ``give_way``
    is the address of a function that lets another thread run. The leader opens the program, closes
    it, and leaves last, so that no helper is inside between two runs.
    """
    if leader:
        for s in range(stages):
            for place in range(_STAGE * (s + 1), _STAGE * (s + 2), 16):
                fetch_add(state, place, -peek(state, place))
        fetch_add(state, _CLOSED, -1)
    else:
        fetch_add(state, _INSIDE, 1)
    if peek(state, _CLOSED) == 0:
        first = 0
        for s in range(stages):
            last = ends[s] - 1
            count = ends[s] - first
            stage = _STAGE * (s + 1)
            front = first
            while fetch_add(state, stage + _TAKEN, 1) < count:
                i = front if leader else last - fetch_add(state, stage + _BACK, 1)
                front += 1
                call_address(program[2 * i], program[2 * i + 1])
                fetch_add(state, stage + _DONE, 1)
            spins = 0
            while peek(state, stage + _DONE) < count:
                spins += 1
                if spins > 2000:
                    call_address(give_way, 0)
            first = ends[s]
    if leader:
        fetch_add(state, _CLOSED, 1)
        while peek(state, _INSIDE) > 0:
            call_address(give_way, 0)
    else:
        fetch_add(state, _INSIDE, -1)


def _give_way():
    if sys.platform == "win32":
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, ctypes.c_void_p).value
    return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value


def _word(kind, value):
    """An argument as a descriptor's word."""
    if kind is int:
        return int(value)
    if kind is float:
        return word(float(value))
    if value is None:
        return 0
    buffer, offset = value if isinstance(value, At) else (value, 0)
    if buffer.dtype != kind.dtype or not buffer.flags.c_contiguous:
        raise TypeError(f"expected a C-contiguous {kind.dtype} array, not {buffer.dtype}")
    return address_of(buffer) + offset * buffer.itemsize


class Program:
    """Kernel calls laid out in memory, ready to run.

    Parameters
    ----------
    calls : sequence of Call or BARRIER
        In order. Where threads share a program, calls without a barrier between them may run at
        the same time.
    buffers : mapping, optional
        The array behind each of a plan's symbols. A symbol without one must be pointed at an array
        before the program runs.
    """

    def __init__(self, calls, buffers=None):
        self._buffers = dict(buffers or {})
        self._keep = []
        self._open = {}
        kernels, starts, words, ends = [], [], [], []
        for call in (*calls, BARRIER):
            if call is BARRIER:
                ends.append(len(starts))
                continue
            kernels.append(call.kernel)
            starts.append(len(words))
            for kind, value in zip(call.kernel.parameters.values(), call.args, strict=True):
                words.append(self._word(kind, value, len(words)))
        self._words = np.array(words, np.int64)
        base = address_of(self._words)
        self._program = np.array(
            [[k.address, base + 8 * s] for k, s in zip(kernels, starts, strict=True)], np.int64
        ).reshape(-1)
        self._ends = np.array(sorted({e for e in ends if e}), np.int64)
        self._state = np.zeros(_STAGE * (len(self._ends) + 1), np.int64)
        self._state[_CLOSED] = 1
        self._run = Entry(walk(), [address_of(self._program), len(kernels)])

    def _word(self, kind, value, index):
        if kind in (int, float) or value is None:
            return _word(kind, value)
        buffer, offset = value if isinstance(value, At) else (value, 0)
        if not isinstance(buffer, np.ndarray):
            if buffer not in self._buffers:
                self._open.setdefault(buffer, []).append((index, offset))
                return 0
            buffer = self._buffers[buffer]
        self._keep.append(buffer)
        return _word(kind, At(buffer, offset))

    def point(self, symbol, array):
        """Let a symbol mean this array, which the caller keeps alive, from the next run on."""
        base = address_of(array)
        for index, offset in self._open[symbol]:
            self._words[index] = base + offset * array.itemsize

    def run(self):
        """Run all calls in order, in one call that holds no GIL."""
        self._run()

    def together(self):
        """Two functions for a run that threads share: one leads, any number of others help.

        The leader's returns when everything is computed; a helper's takes part while the leader's
        runs, and returns at once where it does not. Both keep the program alive: a helper may come
        when nobody else has it any more.
        """
        shared = [address_of(a) for a in (self._program, self._ends, self._state)]
        shared.insert(2, len(self._ends))
        words = [[*shared, role, _give_way()] for role in (1, 0)]
        return tuple(Entry(walk_together(), w, keep=self) for w in words)


class Entry:
    """A kernel with its descriptor, callable without holding the GIL.

    ``keep`` is what owns the memory that the words point to, unless that is the caller.
    """

    def __init__(self, kernel, words, keep=None):
        self._words = np.array(words, np.int64)
        self._keep = keep
        self._argument = address_of(self._words)
        self._function = kernel.function

    def __call__(self):
        self._function(self._argument)


def run(calls):
    """Run kernel calls whose buffers are arrays, one after another."""
    for called, args in filter(None, calls):
        words = array("q", starmap(_word, zip(called.parameters.values(), args, strict=True)))
        called.function(words.buffer_info()[0])
