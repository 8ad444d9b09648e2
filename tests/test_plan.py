"""Plans: one arena, reused and never trusted to be clean; immutable, shared, without allocation."""

import numpy as np
import pytest
from graph_checks import (
    assert_every_layer,
    bordered,
    bound_to_random,
    calls_of,
    image,
    layers,
    network,
    residual,
    run_plan,
    with_all_outputs,
)
from kernels_checks import EPS, assert_within

from rvcnn.graph import INPUT
from rvcnn.ops import Add, Conv2d
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


# --- right, layer by layer ----------------------------------------------------------------------


@pytest.mark.parametrize("rewrite", [optimise, lambda g: g], ids=["optimised", "as it is"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize(("variant", "size"), [("small", (57, 33)), ("large", (32, 45))])
def test_every_layer_of_a_network(variant, size, padding, rewrite):
    assert_every_layer(rewrite(network(variant, padding=padding)), image(1, *size, 3))


def test_every_layer_of_a_residual_network():
    graph, x = residual(), image(1, *SIZE)
    assert_every_layer(graph, x)
    chosen = {call.kernel.family.name for call in calls_of(Plan(graph, SIZE))}
    assert "f32_winograd_product" in chosen


# --- the arena ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rewrite", [optimise, lambda g: g], ids=["optimised", "as it is"])
@pytest.mark.parametrize("make", [bordered, network, residual])
def test_what_the_arena_held_before_does_not_matter(make, rewrite):
    plan, x = Plan(rewrite(make()), SIZE), image(2, *SIZE)
    clean, dirty = plan.workspace(), plan.workspace()
    clean.buffers[ARENA][:] = 0
    dirty.buffers[ARENA][:] = np.nan
    want = clean.run(x)
    for run in range(2):  # the second finds the first one's remains
        for got, w in zip(dirty.run(x), want, strict=True):
            assert np.isfinite(got).all() and got.tobytes() == w.tobytes(), run
        dirty.run(image(3, *SIZE))


@pytest.mark.parametrize("make", [bordered, network, residual])
def test_reused_memory_gives_what_memory_of_its_own_gives(make):
    graph, x = make(), image(4, *SIZE)
    names = [node.name for node in graph.nodes]
    every = dict(zip(names, run_plan(with_all_outputs(graph), x), strict=True))
    for name, got in zip(graph.outputs, run_plan(graph, x), strict=True):
        assert got.tobytes() == every[name].tobytes(), name


def test_memory_is_reused(graph):
    plan = Plan(graph, (224, 224, 3))
    sizes = [4 * np.prod(shape) for shape in plan.shapes.values()]
    largest = max(
        sizes[i] + sizes[i + 1] for i in range(len(sizes) - 1)
    )  # a layer's input and output must be there together
    assert plan.arena_size < 1.3 * largest < 0.4 * sum(sizes)


def test_an_output_is_not_overwritten_by_later_layers():
    first = Conv2d(3, 8)
    rows = [
        ("first", first),
        *((f"l{i}", Conv2d(8, 8), f"l{i - 1}" if i else "first") for i in range(6)),
    ]
    graph = bound_to_random(layers(*rows, outputs=["first", "l5", "l0"]))
    x = image(5, 6, 7, 3)
    alone = [run_plan(graph.cut([name]), x)[0] for name in graph.outputs]
    for got, want in zip(run_plan(graph, x), alone, strict=True):
        assert got.tobytes() == want.tobytes()


def test_a_result_belongs_to_the_caller(plan, images, expected):
    (first,) = plan.run(images[0])
    plan.run(images[1])
    assert first.tobytes() == expected[0]
    first[:] = 0
    assert plan.run(images[0])[0].tobytes() == expected[0]


# --- what goes in -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[:-1],
        lambda x: x.transpose(1, 0, 2),
        lambda x: x[None],
        lambda x: x[:, :, :2],
        lambda x: x.astype(np.float64),
        lambda x: x.astype(np.uint8),
        lambda x: x.astype(">f4"),
    ],
    ids=["rows", "turned", "batch", "channels", "float64", "uint8", "byte order"],
)
def test_another_shape_or_dtype_is_refused(plan, images, expected, change):
    with pytest.raises(ValueError, match=r"takes float32 \(64, 47, 3\), not "):
        plan.run(change(images[0]))
    assert plan.run(images[0])[0].tobytes() == expected[0]


def test_any_memory_layout_will_do(plan, images, expected):
    x = images[0]
    locked = x.copy()
    locked.flags.writeable = False
    wide = np.full((*SIZE[:2], 7), np.nan, np.float32)
    wide[:, :, 1:7:2] = x
    for other in (
        locked,
        np.asfortranarray(x),
        wide[:, :, 1:7:2],
        x[::-1, ::-1].copy()[::-1, ::-1],
    ):
        assert plan.run(other)[0].tobytes() == expected[0]
    assert (x == image(0, *SIZE)).all()


# --- pixels -------------------------------------------------------------------------------------

LINE = (
    np.array([1 / 127.5, 0.017, 0.02], np.float32),
    np.array([-1.0, -2.1, 0.3], np.float32),
)


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (5, 1), (7, 16), (33, 21)])
def test_pixels_are_scaled_and_shifted_by_channel(size):
    copy = layers(("copy", Conv2d(3, 3, padding=((1, 0), (0, 2)))))
    copy = copy.bind({"copy.weight": np.eye(3, dtype=np.float32)[:, :, None, None]})
    x = pixels(1, *size, 3)
    (got,) = Plan(copy, x.shape, LINE).run(x)
    scale, shift = (v.astype(np.float64) for v in LINE)
    want = np.pad(x * scale + shift, ((1, 0), (0, 2), (0, 0)))
    size = np.pad(x * np.abs(scale) + np.abs(shift), ((1, 0), (0, 2), (0, 0)))
    assert_within(got, want, EPS * size)


def test_a_plan_of_pixels_is_the_plan_of_floats(graph):
    x = pixels(2, *SIZE)
    normal = (x * LINE[0].astype(np.float64) + LINE[1]).astype(np.float32)
    (got,), (want,) = Plan(graph, SIZE, LINE).run(x), Plan(graph, SIZE).run(normal)
    assert_within(got, want, 4e-6, "unit vectors")


def test_a_plan_of_pixels_takes_nothing_else(graph, images):
    with pytest.raises(ValueError, match=r"takes uint8 \(64, 47, 3\), not float32 \(64, 47, 3\)"):
        Plan(graph, SIZE, LINE).run(images[0])


def test_every_kernel_of_a_plan_is_named_once(plan):
    kernels = plan.kernels()
    assert len({k.name for k in kernels}) == len(kernels) > 5
    assert {k.name for k in kernels} == {call.kernel.name for call in calls_of(plan)}


def test_the_input_may_be_read_by_several_layers_to_the_end():
    rows = [("a", Conv2d(3, 3, (3, 3), padding="same")), ("b", Conv2d(3, 3), "a")]
    graph = bound_to_random(layers(*rows, ("s", Add(), "b", INPUT), ("t", Add(), "s", INPUT)))
    assert_every_layer(graph, image(6, 9, 4, 3))
    x = image(7, 9, 4, 3)
    every = run_plan(with_all_outputs(graph), x)
    assert run_plan(graph, x)[0].tobytes() == every[-1].tobytes()
