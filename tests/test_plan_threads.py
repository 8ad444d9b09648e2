"""One plan on many threads, and many threads on one image: the same bits, and no memory taken."""

import copy
import gc
import hashlib
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from graph_checks import bordered, calls_of, image, network, residual

from rvcnn.kernels import BARRIER, At, Map, Program, elementwise
from rvcnn.passes import optimise
from rvcnn.plan import ARENA, Plan

SIZE = (64, 47, 3)


@pytest.fixture(scope="module")
def graph():
    return optimise(network(padding="same"))


@pytest.fixture(scope="module")
def plan(graph):
    return Plan(graph, SIZE)


@pytest.fixture(scope="module")
def images():
    return [image(seed, *SIZE) for seed in range(8)]


@pytest.fixture(scope="module")
def expected(plan, images):
    return [plan.run(x)[0].tobytes() for x in images]


# --- shared between threads ---------------------------------------------------------------------


def digest(plan):
    """Digest of every array a plan's program reads from."""
    hashed = hashlib.sha256()
    for call in calls_of(plan):
        for value in call.args:
            place = value.buffer if isinstance(value, At) else value
            if isinstance(place, np.ndarray):
                hashed.update(place.tobytes())
    return hashed.hexdigest()


def test_many_threads_share_one_plan(plan, images, expected):
    before, steps = digest(plan), plan.steps
    start, wrong = threading.Barrier(8), []

    def work(first):
        start.wait()
        for i in range(40):
            k = (first + i) % len(images)
            if plan.run(images[k])[0].tobytes() != expected[k]:
                wrong.append((first, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert plan.steps is steps and digest(plan) == before


def test_a_plan_keeps_what_its_program_points_to(images, expected):
    """Weights packed for a plan outlive the graph they came from, and the plan its workspace."""
    plan = Plan(optimise(network(padding="same")), SIZE)
    workspace = plan.workspace()
    del plan
    rubbish = [np.full(1000, np.nan, np.float32) for _ in range(2000)]
    assert workspace.run(images[0])[0].tobytes() == expected[0]
    del rubbish


def test_running_allocates_only_the_results(plan, images):
    for x in images:
        plan.run(x)
    tracemalloc.start()
    try:
        plan.run(images[0])
        start, _ = tracemalloc.get_traced_memory()
        for i in range(300):
            tracemalloc.reset_peak()
            plan.run(images[i % len(images)])
            assert tracemalloc.get_traced_memory()[1] - start < 16384, f"run {i}"
        end, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert plan.arena_size * 4 > 5 * 16384
    assert end - start < 4096


# --- threads that share one image ---------------------------------------------------------------


def shuffled(plan, threads, rng):
    """Return the plan with its program for threads, the calls of each stage in another order."""
    stages = [[]]
    for call in plan.calls(threads):
        stages.append([]) if call is BARRIER else stages[-1].append(call)
    calls = [stage[i] for stage in stages for i in rng.permutation(len(stage))]
    other = copy.copy(plan)
    other.calls = lambda threads: calls
    return other


@pytest.mark.parametrize("threads", [2, 7, 50])
@pytest.mark.parametrize("make", [bordered, network, residual])
def test_the_calls_of_a_stage_may_run_in_any_order(make, threads):
    """What stands between two barriers depends on nothing else there, and misses no output."""
    plan, x = Plan(optimise(make()), (160, 171, 3)), image(8, 160, 171, 3)
    want = [r.tobytes() for r in plan.run(x)]
    undivided = sum(len(step.calls) for step in plan.steps) + len(plan.steps)
    assert len(plan.calls(threads)) > undivided
    rng = np.random.default_rng(threads)
    for _ in range(3):
        workspace = shuffled(plan, threads, rng).workspace()
        workspace.buffers[ARENA][:] = np.nan
        assert [r.tobytes() for r in workspace.run(x)] == want


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_an_image_on_several_threads_gives_the_same_bits(graph, threads):
    size = (160, 171, 3)
    plan = Plan(graph, size)
    for seed in range(20):
        x = image(seed, *size)
        assert plan.run(x, threads)[0].tobytes() == plan.run(x)[0].tobytes(), seed


def test_threads_that_each_use_several_threads(plan, images, expected):
    start, wrong = threading.Barrier(4), []

    def work(first):
        start.wait()
        for i in range(60):
            k = (first + i) % len(images)
            if plan.run(images[k], 1 + i % 3)[0].tobytes() != expected[k]:
                wrong.append((first, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("take", [lambda p: p.run, lambda p: p.together()[1]], ids=["run", "help"])
def test_a_program_lives_as_long_as_whoever_can_run_it(take):
    x, out = np.ones((2, 2, 4), np.float32), np.empty((2, 2, 4), np.float32)
    alive = weakref.ref(x)
    run = take(Program(elementwise.add(Map.of(out), Map.of(x), Map.of(x))))
    del x
    gc.collect()
    assert alive() is not None
    run()
    del run
    assert alive() is None
