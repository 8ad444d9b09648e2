"""Programs of kernel calls: divided, out of order, shared by threads, kept alive."""

import gc
import threading

import numpy as np
import pytest
from kernels_list import PROBLEMS

from rvcnn.kernels import At, Program, _divide, functional, run


def by_name(problem):
    return problem.name


def stages(calls):
    """Split calls at their barriers."""
    found = [[]]
    for call in calls:
        if call is None:
            found.append([])
        else:
            found[-1].append(call)
    return found


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_divided_calls_in_any_order_give_the_same_bytes(problem, monkeypatch):
    """Between two barriers: that is what lets threads share a program."""
    want, counts = problem.got(), []

    def run_divided(calls):
        for stage in stages(calls):
            parts = [part for call in stage for part in _divide.divide(call, 3)]
            counts.append((len(stage), len(parts)))
            run(parts[::-1])

    monkeypatch.setattr(_divide, "SMALLEST", 1)
    monkeypatch.setattr(functional, "run", run_divided)
    assert problem.got().tobytes() == want.tobytes()
    assert counts


def test_large_products_are_divided(monkeypatch):
    divided = []
    monkeypatch.setattr(
        functional, "run", lambda calls: divided.extend(len(_divide.divide(c, 2)) for c in calls)
    )
    rng = np.random.default_rng(0)
    functional.linear(rng.random((784, 96)), rng.random((96, 96)))
    functional.linear(rng.random((1, 2048)), rng.random((1024, 2048)))
    functional.depthwise_conv2d(rng.random((56, 56, 64)), rng.random((64, 3, 3)), padding=1)
    assert len(divided) == 4 and min(divided) >= 2, divided


def recorded(problem, monkeypatch):
    """Calls of a problem that runs one program, with its output."""
    programs = []

    def run_and_record(calls):
        programs.append(calls)
        run(calls)

    with monkeypatch.context() as patch:
        patch.setattr(functional, "run", run_and_record)
        out = problem.got()
    (calls,) = programs
    return calls, out


CONVOLUTION = next(
    p for p in PROBLEMS if p.name.startswith("conv2d") and p.name.endswith("residual=1-tile2")
)
"""By Winograd's algorithm: three stages."""


def test_a_program_outlives_the_names_of_its_arrays(monkeypatch):
    calls, out = recorded(CONVOLUTION, monkeypatch)
    want = out.tobytes()
    program = Program(calls)
    arrays = [a.buffer if isinstance(a, At) else a for c in filter(None, calls) for a in c.args]
    sizes = [a.nbytes for a in arrays if isinstance(a, np.ndarray)]
    del calls, arrays
    gc.collect()
    rubbish = [np.full(n, 255, np.uint8) for n in sizes for _ in range(20)]
    out.fill(np.nan)
    program.run()
    assert out.tobytes() == want and rubbish


def test_threads_share_a_program_and_give_the_same_bytes(monkeypatch):
    calls, out = recorded(CONVOLUTION, monkeypatch)
    assert len(stages(calls)) == 3
    want = out.tobytes()
    leader, helper = Program(calls).together()
    stop = threading.Event()

    def help_on():
        while not stop.is_set():
            helper()

    helpers = [threading.Thread(target=help_on) for _ in range(3)]
    for thread in helpers:
        thread.start()
    try:
        for _ in range(300):
            out.fill(np.nan)
            leader()
            assert out.tobytes() == want
    finally:
        stop.set()
        for thread in helpers:
            thread.join()
