"""Memory that notices what a kernel does to it.

Kernel calls are run on copies of their arrays, put where a stray access shows: between guard bands,
or (as a program, in a child process) against pages that may not be touched.

    python kernels_memory.py start|end
"""

import ctypes
import faulthandler
import mmap
import sys

import numpy as np

from rvcnn.kernels import At, functional, functional_u8, resize, run

GUARD = 64


def relocated(calls, place):
    """Return the calls with every array replaced by ``place(array, written)``, and the pairs.

    A kernel writes to its parameters ``out``, ``real`` and ``scratch`` and to no other.
    """
    arrays, written = {}, set()
    for call in filter(None, calls):  # a barrier is None
        for parameter, argument in zip(call.kernel.parameters, call.args, strict=True):
            array = argument.buffer if isinstance(argument, At) else argument
            if isinstance(array, np.ndarray):
                arrays[id(array)] = array
                written |= {id(array)} if parameter in ("out", "real", "scratch") else set()
    copies = {i: place(array, i in written) for i, array in arrays.items()}

    def moved(argument):
        if isinstance(argument, At):
            return argument._replace(buffer=copies[id(argument.buffer)])
        return copies.get(id(argument), argument)

    pairs = [(arrays[i], copies[i], i in written) for i in arrays]
    return [c and c._replace(args=tuple(map(moved, c.args))) for c in calls], pairs


def guarded(array, written):
    """Copy an array between bands of 0xFF, which is NaN; its own values too if it is written."""
    whole = np.full(array.size + 2 * GUARD, 255, np.uint8).repeat(array.itemsize)
    whole = whole.view(array.dtype)
    copy = whole[GUARD : GUARD + array.size].reshape(array.shape)
    if not written:
        copy[...] = array
    return copy


def run_guarded(calls):
    """Run calls between guard bands; fail if a band or an input changed."""
    moved, pairs = relocated(calls, guarded)
    run(moved)
    for array, copy, written in pairs:
        bands = copy.base.view(np.uint8)
        before, after = bands[: GUARD * array.itemsize], bands[-GUARD * array.itemsize :]
        assert (before == 255).all(), f"{calls} wrote before an array of {array.shape}"
        assert (after == 255).all(), f"{calls} wrote behind an array of {array.shape}"
        if written:
            array[...] = copy
        else:
            assert array.tobytes() == copy.tobytes(), f"{calls} changed an input of {array.shape}"


def fenced(side):
    """Return a function that copies an array against an untouchable page at its start or end."""
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    page = mmap.PAGESIZE

    def place(array, written):
        size = -(-array.nbytes // page) * page
        block = mmap.mmap(-1, size + page)
        base = np.frombuffer(block, np.uint8).ctypes.data
        fence, pages, offset = (
            (0, page, page) if side == "start" else (size, 0, size - array.nbytes)
        )
        copy = np.frombuffer(block, array.dtype, array.size, offset).reshape(array.shape)
        copy[...] = array
        if written:
            copy.view(np.uint8).fill(255)  # NaN
        assert protect(base + fence, page, 0) == 0
        if not written:
            assert protect(base + pages, size, mmap.PROT_READ) == 0
        return copy

    return place


def run_fenced(side):
    """Return a function that runs calls on fenced copies of their arrays."""
    place = fenced(side)

    def run_calls(calls):
        moved, pairs = relocated(calls, place)
        run(moved)
        for array, copy, written in pairs:
            if written:
                array[...] = copy

    return run_calls


def resize_fenced(side):
    """Return a function that resamples with the image, the result and the scratch fenced."""
    place = fenced(side)

    class Fenced:
        def __getattr__(self, name):
            return getattr(np, name)

        @staticmethod
        def empty(shape, dtype):
            return place(np.zeros(shape, dtype), True)

    resize.np = Fenced()
    return lambda pixels, *args: resize.resize(place(pixels, False), *args)


def main(side):
    import kernels_list_u8
    from kernels_list import PROBLEMS, calls_of_plans
    from kernels_resizes import CASES, picture

    faulthandler.enable()
    functional.run = functional_u8.run = run_fenced(side)
    for problem in PROBLEMS + kernels_list_u8.PROBLEMS:
        print(problem.name, flush=True)
        problem.got()
    for name, calls in calls_of_plans().items():
        print(name, flush=True)
        functional.run(calls)
    resized = resize_fenced(side)
    for image, box, size in CASES:
        print("resize", image, box, size, flush=True)
        resized(picture(*image), box, size)
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
