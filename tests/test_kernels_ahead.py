"""Products that ask for the next one's weights: which lines, and nothing of a result."""

import copy
import itertools

import pytest
from graph_checks import bound_to_random, image, layers

from rvcnn import ops
from rvcnn.bands import banded
from rvcnn.kernels import BARRIER, At, fetch_ahead
from rvcnn.passes import finish, optimise
from rvcnn.plan import Plan, Workspace

LINE = 64


def chain(*channels):
    """Make a graph of 1x1 convolutions one after another, to so many channels each."""
    pairs = itertools.pairwise((3, *channels))
    rows = [(f"c{i}", ops.Conv2d(*pair), *[f"c{i - 1}"][:i]) for i, pair in enumerate(pairs)]
    return bound_to_random(layers(*rows))


def products_of(graph, size):
    calls = Plan(graph, (*size, 3)).calls()
    return [call for call in calls if call is not BARRIER and "ahead" in call.kernel.parameters]


def named(call):
    constants = call.kernel.constants
    return dict(zip(call.kernel.parameters, call.args, strict=True)) | constants


def address(place):
    buffer, offset = place if isinstance(place, At) else (place, 0)
    return buffer.__array_interface__["data"][0] + 4 * offset


def read(call):
    """Lines of the weights that a call reads."""
    v = named(call)
    length = 4 * v["panels"] * v["NR"] * v["segments"] * v["length"]
    start = address(v["weights"])
    return set(range(start // LINE, (start + length - 1) // LINE + 1))


def asked(call):
    """Lines that a call asks for, step by step."""
    v = named(call)
    steps = v["panels"] * v["rows"] // v["MR"] * v["segments"] * v["length"]
    start = address(v["ahead"])
    if not v["ahead_step"]:
        return {start // LINE}
    return {(start + 4 * (v["ahead_step"] * i >> 16)) // LINE for i in range(steps)}


def by_layer(calls):
    """Lines that are read, and that are asked for, by calls of each layer of a chain."""
    found = {}
    for call in calls:
        weights = named(call)["weights"]
        key = id(weights.buffer if isinstance(weights, At) else weights)
        lines = found.setdefault(key, (set(), set()))
        lines[0].update(read(call))
        lines[1].update(asked(call))
    return list(found.values())


@pytest.mark.parametrize("channels", [(16, 24, 58), (116, 40, 1), (33, 232, 100), (5, 6, 7)])
def test_all_of_the_next_weights_are_asked_for(channels):
    found = by_layer(products_of(chain(*channels), (28, 28)))
    assert len(found) == 3
    for (_, wanted), (needed, _) in itertools.pairwise(found):
        assert needed <= wanted
        assert len(wanted - needed) <= 2, "asks for what nobody reads"
    own, wanted = found[-1]
    assert wanted <= own


def test_large_weights_are_asked_for_as_far_as_the_steps_go():
    (_, wanted), (needed, _) = by_layer(products_of(chain(64, 128, 2000), (7, 7)))[1:]
    assert 100 < len(wanted) < len(needed) and len(wanted & needed) > 0.9 * len(wanted)


def test_products_of_one_row_ask_for_none():
    calls = products_of(chain(64, 48, 32), (1, 1))
    assert len(calls) >= 3 and not any(named(call)["ahead_step"] for call in calls)


def test_weights_beyond_another_kind_of_product_wait_for_their_turn():
    rows = (
        ("a", ops.Conv2d(3, 64)),
        ("b", ops.Conv2d(64, 64, (3, 3), padding=((1, 1), (1, 1))), "a"),
        ("c", ops.Conv2d(64, 64), "b"),
    )
    graph = bound_to_random(layers(*rows))
    kernels = {kernel.family.name for kernel in Plan(graph, (56, 56, 3)).kernels()}
    assert "f32_winograd_product" in kernels
    products = products_of(graph, (56, 56))
    assert len(products) >= 2 and not any(named(call)["ahead_step"] for call in products)


@pytest.mark.parametrize("size", [(7, 7), (30, 31), (112, 96)])
def test_results_are_the_same_bytes(size):
    graph = finish(optimise(chain(24, 58, 116, 58)))
    plan, x = Plan(graph, (*size, 3)), image(4, *size, 3)
    plain = copy.copy(plan)
    plain.calls = lambda threads: banded(plan.steps, plan.shapes)
    assert any(named(call)["ahead_step"] for call in products_of(graph, size))
    (want,), (got,) = Workspace(plain).run(x), plan.run(x)
    assert got.tobytes() == want.tobytes()


def test_barriers_stay():
    assert fetch_ahead([BARRIER, BARRIER]) == [BARRIER, BARRIER]
