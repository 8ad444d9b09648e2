"""What this machine can do at most: arithmetic in registers, and reading memory of a given size.

A multiplication and the addition of its product count as two operations, of floats and of bytes.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from .kernels import Program, dot, lanes, limits


def timed(program):
    """Seconds that one run of a program takes."""
    start = perf_counter()
    program.run()
    return perf_counter() - start


def _rounds_for(make, seconds):
    """Rounds with which a program of ``make(rounds)`` takes about so many seconds."""
    rounds = 16
    while (taken := timed(make(rounds))) < seconds / 8:
        rounds *= 4
    return max(1, round(rounds * seconds / taken))


SETTLE = 0.002
"""Seconds of a sample that decides which loop is the faster."""


def _multiply_adds(chains, rounds):
    out = np.empty(chains * lanes(), np.float32)
    x = np.full(2 * lanes(), 0.5, np.float32)
    return limits.multiply_adds(out, x, chains, rounds)


def _dots(chains, rounds):
    out = np.zeros(chains * lanes(), np.int32)
    x, w = (np.ones(4 * lanes(), dtype) for dtype in (np.uint8, np.int8))
    return limits.dots(out, x, w, chains, rounds)


LOOPS = {
    "fp32": (_multiply_adds, lambda: 2 * lanes()),
    "int8": (_dots, lambda: 2 * lanes() * dot().group),
}
"""For each arithmetic: the call for some rounds of some chains, and operations of one link."""


class Peak:
    """Multiply-adds that touch no memory, at the lane count of the kernels.

    Parameters
    ----------
    arithmetic : {"fp32", "int8"}
        Fused multiply-adds of float32, or dot products of bytes.
    threads : int
        Threads that compute at the same time, each on its own.
    seconds : float, optional
        About how long a sample takes: by default 0.2 ms, and 20 ms where threads must meet.
    """

    def __init__(self, arithmetic="fp32", threads=1, seconds=None):
        self._loop, operations = LOOPS[arithmetic]
        seconds = seconds or (0.0002 if threads == 1 else 0.02)

        def gflops(chains):
            rounds = _rounds_for(lambda n: self._program(chains, n), SETTLE)
            program = self._program(chains, rounds)
            return rounds * chains / min(timed(program) for _ in range(8))

        best = max(limits.CHAINS, key=gflops)
        rounds = _rounds_for(lambda n: self._program(best, n), seconds)
        self._programs = [self._program(best, rounds) for _ in range(threads)]
        self._operations = threads * rounds * best * operations()
        self._start = threading.Barrier(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rvcnn-peak")

    def _program(self, chains, rounds):
        return Program([self._loop(chains, rounds)])

    def sample(self):
        """Operations a nanosecond of all threads together, over one run."""
        if len(self._programs) == 1:
            return self._operations / timed(self._programs[0]) / 1e9
        starts, ends = zip(*self._pool.map(self._one, self._programs), strict=True)
        return self._operations / (max(ends) - min(starts)) / 1e9

    def _one(self, program):
        self._start.wait()
        start = perf_counter()
        program.run()
        return start, perf_counter()


class ReadBandwidth:
    """Reading a block of memory over and over: from the cache that holds a block of its size.

    Parameters
    ----------
    size : int
        Bytes.
    seconds : float
        About how long a sample takes.
    """

    def __init__(self, size, seconds=0.0005):
        step = limits.STREAMS * lanes()
        self._x = np.ones(max(1, round(size / 4 / step)) * step, np.float32)
        rounds = _rounds_for(self._program, seconds)
        self._reads = self._program(rounds)
        self._bytes = rounds * self._x.nbytes

    def _program(self, rounds):
        out = np.empty(limits.STREAMS * lanes(), np.float32)
        return Program([limits.read(out, self._x, rounds)])

    def sample(self):
        """GB/s of one run."""
        return self._bytes / timed(self._reads) / 1e9
