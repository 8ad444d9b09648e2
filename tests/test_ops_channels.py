"""Slices, concatenations and shuffles of channels, in graphs and in plans."""

import numpy as np
import pytest
from graph_checks import assert_every_layer, bound_to_random, image, layers, run_plan, run_reference
from kernels_checks import assert_within

from rvcnn import ops
from rvcnn.errors import ShapeError
from rvcnn.graph import INPUT
from rvcnn.passes import finish, optimise
from rvcnn.plan import Plan


def sliced():
    """Make a graph whose views are read with borders, viewed again, banded, and given out."""
    padding = ((1, 1), (1, 1))
    rows = (
        ("x", ops.Conv2d(3, 24, (3, 3), padding=padding, activation="relu")),
        ("left", ops.SliceChannels(0, 9), "x"),
        ("right", ops.SliceChannels(9, 24), "x"),
        ("inner", ops.SliceChannels(3, 14), "right"),
        ("wide", ops.Conv2d(11, 8, (5, 5), padding="same"), "inner"),
        ("dense", ops.Conv2d(15, 40), "right"),
        ("unread", ops.SliceChannels(1, 3), "left"),
        ("depthwise", ops.Conv2d(40, 40, (3, 3), padding=padding, groups=40), "dense"),
        ("pool", ops.MaxPool((3, 3), (2, 2), "same"), "left"),
        ("sum", ops.Add(), "left", "left"),
        ("all", ops.Concat((9, 40, 8, 11)), "sum", "depthwise", "wide", "inner"),
        ("mixed", ops.ShuffleChannels(4), "all"),
        ("gap", ops.GlobalAvgPool(), "right"),
    )
    return bound_to_random(layers(*rows, outputs=["mixed", "unread", "gap", "pool", "inner"]))


@pytest.mark.parametrize("size", [(9, 11), (64, 60)])
def test_views_in_a_plan(size):
    graph, x = sliced(), image(2, *size, 3)
    assert_every_layer(graph, x)
    want = run_reference(graph, x)
    for name, got in zip(graph.outputs, run_plan(graph, x), strict=True):
        assert_within(got, want[name], 1e-4 * np.abs(want[name]).max(), name)


def test_a_view_takes_no_memory_and_no_step():
    graph = layers(
        ("x", ops.Conv2d(3, 32)),
        ("a", ops.SliceChannels(4, 20), "x"),
        ("b", ops.Conv2d(16, 2), "a"),
    )
    plan = Plan(bound_to_random(graph), (20, 20, 3))
    assert [step.node and step.node.name for step in plan.steps] == [None, "x", "b"]
    assert plan.arena_size <= 4 * 400 * (3 + 32 + 2) + 4 * 64


def test_a_view_of_the_input():
    convolution = ops.Conv2d(1, 5, (3, 3), padding="same")
    graph = layers(("green", ops.SliceChannels(1, 2)), ("y", convolution, "green"))
    assert_every_layer(bound_to_random(graph), image(3, 6, 7, 3))


def shuffled(first, second, groups):
    rows = (
        ("a", ops.Conv2d(3, first), INPUT),
        ("b", ops.Conv2d(3, second, activation="relu"), INPUT),
        ("both", ops.Concat((first, second)), "a", "b"),
        ("mixed", ops.ShuffleChannels(groups), "both"),
        ("c", ops.Conv2d(first + second, 4), "mixed"),
    )
    return bound_to_random(layers(*rows))


@pytest.mark.parametrize(
    ("first", "second", "groups", "is_fused"),
    [(5, 5, 2, True), (29, 29, 2, True), (6, 6, 3, False), (7, 3, 2, False)],
)
def test_a_shuffled_concatenation_of_two_halves_becomes_one_step(first, second, groups, is_fused):
    graph = shuffled(first, second, groups)
    fused = optimise(graph)
    assert any(isinstance(n.op, ops.Interleave) for n in fused.nodes) == is_fused
    assert any(isinstance(n.op, ops.Concat) for n in fused.nodes) != is_fused
    x = image(4, 5, 6, 3)
    want = run_reference(graph, x)["c"]
    assert_within(run_plan(fused, x)[0], want, 1e-5 * np.abs(want).max())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "silu"])
@pytest.mark.parametrize(("count", "size"), [(5, (4, 5)), (29, (7, 7)), (58, (9, 8))])
def test_the_convolution_before_an_interleaving_stores_between(count, size, activation):
    graph = layers(
        ("x", ops.Conv2d(3, 2 * count, activation="relu")),
        ("left", ops.SliceChannels(0, count), "x"),
        ("right", ops.SliceChannels(count, 2 * count), "x"),
        ("made", ops.Conv2d(count, count, bias=True, activation=activation, slope=0.1), "right"),
        ("mixed", ops.Interleave(), "left", "made"),
        ("pool", ops.MaxPool((3, 3), (2, 2), "same"), "mixed"),
    )
    graph = bound_to_random(graph)
    fused = finish(graph)
    assert [type(n.op).__name__ for n in fused.nodes[-2:]] == ["InterleavedConv2d", "MaxPool"]
    x = image(6, *size, 3)
    assert_every_layer(fused, x)
    assert run_plan(fused, x)[0].tobytes() == run_plan(graph, x)[0].tobytes()


KEPT_APART = {
    "is the first": (ops.Conv2d(8, 8), ("made", INPUT)),
    "has a window": (ops.Conv2d(8, 8, (3, 3), padding=((1, 1), (1, 1))), (INPUT, "made")),
    "has groups": (ops.Conv2d(8, 8, groups=2), (INPUT, "made")),
    "is both": (ops.Conv2d(8, 8), ("made", "made")),
    "is no convolution": (ops.Activation("relu"), (INPUT, "made")),
}


@pytest.mark.parametrize("case", KEPT_APART)
def test_what_is_interleaved_as_it_is(case):
    op, both = KEPT_APART[case]
    graph = bound_to_random(layers(("made", op, INPUT), ("mixed", ops.Interleave(), *both)))
    fused = finish(graph)
    assert [n.name for n in fused.nodes] == ["made", "mixed"]
    assert_every_layer(fused, image(7, 6, 5, 8))


def test_a_convolution_that_others_read_is_not_interleaved_as_it_is_stored():
    rows = ("made", ops.Conv2d(8, 8), INPUT), ("mixed", ops.Interleave(), INPUT, "made")
    graph = bound_to_random(layers(*rows, outputs=["made", "mixed"]))
    assert [n.name for n in finish(graph).nodes] == ["made", "mixed"]


def test_a_concatenation_that_others_read_stays():
    graph = layers(
        ("a", ops.Conv2d(3, 4)),
        ("both", ops.Concat((4, 4)), "a", "a"),
        ("mixed", ops.ShuffleChannels(2), "both"),
        ("sum", ops.Add(), "mixed", "both"),
    )
    assert len(optimise(bound_to_random(graph)).nodes) == 4


BAD = {
    "no channels 4 to 8": ("y", ops.SliceChannels(4, 9), "x"),
    "no channels 3 to 2": ("y", ops.SliceChannels(3, 3), "x"),
    "no 3 equal groups": ("y", ops.ShuffleChannels(3), "x"),
    "expected maps of one size": ("y", ops.Concat((8, 8)), "x", INPUT),
    "cannot interleave": ("y", ops.Interleave(), "x", INPUT),
    "cannot interleave maps": ("y", ops.InterleavedConv2d(ops.Conv2d(8, 8)), "x", INPUT),
    "too small": ("y", ops.MaxPool((9, 9), (1, 1)), "x"),
}


@pytest.mark.parametrize("message", BAD)
def test_shapes_that_do_not_fit(message):
    graph = layers(("x", ops.Conv2d(3, 8)), BAD[message])
    with pytest.raises(ShapeError, match=f"layer y: .*{message}"):
        graph.shapes((6, 6, 3))
