"""Memory that programs read: where it starts, and the arrays of a program in one piece of it."""

import numpy as np
import pytest

from rvcnn.kernels import BARRIER, At, Call, elementwise, gathered, room
from rvcnn.kernels._memory import LINE, PAGE


def address(array):
    return array.__array_interface__["data"][0]


@pytest.mark.parametrize("size", [0, 1, 63, 64, PAGE // 2 - 1, PAGE // 2, PAGE, 2 * PAGE + 1])
def test_room(size):
    block = room(size)
    assert block.shape == (size,) and block.dtype == np.uint8
    block[:] = 7
    if size:
        assert address(block) % (PAGE if size >= PAGE // 2 else LINE) == 0


def test_arrays_of_a_program_lie_in_the_order_in_which_they_are_read():
    kernel = elementwise.f32_add(LANES=4)
    rng = np.random.default_rng(3)
    first, second, third = (rng.standard_normal(n).astype(np.float32) for n in (8, 17, 4))
    offsets = np.arange(5, dtype=np.int64)
    programs = [
        [Call(kernel, (At("out", 3), At(second, 2), first)), BARRIER],
        [Call(kernel, (third, None, At(second, 9), 5, offsets))],
    ]
    (one, barrier), (other,) = gathered(programs)
    assert barrier is BARRIER and one.kernel is other.kernel is kernel
    assert one.args[0] == At("out", 3) and other.args[1] is None and other.args[3] == 5
    copies = [one.args[1].buffer, one.args[2], other.args[0], other.args[4]]
    for copy, array in zip(copies, (second, first, third, offsets), strict=True):
        np.testing.assert_array_equal(copy, array)
        assert copy.dtype == array.dtype and address(copy) % LINE == 0
        assert not np.shares_memory(copy, array)
    places = [address(copy) for copy in copies]
    assert places == sorted(places) and places[-1] - places[0] < 5 * LINE + LINE
    assert other.args[2].buffer is one.args[1].buffer
    assert (one.args[1].offset, other.args[2].offset) == (2, 9)
    assert programs[0][0].args[1].buffer is second, "what was given stays as it was"


def test_a_program_without_arrays():
    assert gathered([[], [BARRIER]]) == [[], [BARRIER]]
