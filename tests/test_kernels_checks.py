"""The kernel tests' own instruments notice what they are there to notice."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernels_checks import assert_within, rounding_bound, ulps
from kernels_memory import run_guarded

from rvcnn.kernels import At, Call, elementwise

HERE = Path(__file__).parent


def test_a_failure_says_where_and_by_how_much():
    got, want = np.float32([[1, 2], [3, np.nan]]), [[1, 2.00001], [3, 4]]
    message = r"k: 2 of 4 .* \(0, 1\): got 2.0, want 2.00001, bound 1e-06; max ULP 42"
    with pytest.raises(AssertionError, match=message):
        assert_within(got, want, 1e-6, "k")


def test_nan_and_infinity_equal_themselves_alone():
    special = np.float32([np.nan, np.inf, -np.inf])
    assert_within(special, special, 0)
    for wrong in ([0, np.inf, -np.inf], [np.nan, -np.inf, -np.inf], [np.nan, np.nan, -np.inf]):
        with pytest.raises(AssertionError):
            assert_within(np.float32(wrong), special, 1e30)


def test_ulps_count_float32_values():
    up = np.nextafter(np.float32(1), np.float32(2))
    down = np.nextafter(np.float32(0), np.float32(-1))
    assert ulps(np.float32([1, 0, -0.0, up]), [up, down, 0, 1]).tolist() == [1, 1, 0, 1]


def test_the_bound_holds_for_sums_in_any_order_and_is_not_far_off():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 1000)).astype(np.float32)
    want, bound = x.sum(1, dtype=np.float64), rounding_bound(np.abs(x).sum(1), 1000)
    for order in (x, x[:, ::-1], np.sort(x)):
        got = np.add.accumulate(order, axis=1, dtype=np.float32)[:, -1]
        assert_within(got, want, bound)
    assert (bound < 0.3).all()


@pytest.mark.parametrize("place, what", [(-1, "before"), (1, "behind")])
def test_guard_bands_notice_a_write(place, what):
    out = np.zeros(16, np.float32)
    call = Call(elementwise.f32_copy(LANES=4), (At(out, place * 16), np.ones(4, "f4"), 1, 4, 4, 4))
    with pytest.raises(AssertionError, match=what):
        run_guarded([call])


@pytest.mark.skipif(os.name == "nt", reason="no mprotect on Windows")
@pytest.mark.parametrize(
    "side, written, offset, store",
    [
        ("end", 1, 12, 0),
        ("start", 1, -4, 0),
        ("end", 0, 8, 1),
        ("start", 0, 0, 1),
        ("end", 1, 8, 1),
    ],
)
def test_fences_notice_an_access(side, written, offset, store):
    """The last case is allowed: the process lives."""
    script = f"""
import ctypes, kernels_memory, numpy
array = kernels_memory.fenced("{side}")(numpy.ones(3, "f4"), {written})
word = ctypes.c_float.from_address(array.ctypes.data + {offset})
if {store}:
    word.value = 2.0
print(word.value)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, capture_output=True, text=True)
    allowed = store and written
    assert (done.returncode == 0) == bool(allowed), done.stderr
    assert done.stdout.strip() == ("2.0" if allowed else "")
