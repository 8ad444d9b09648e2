"""Passes change how a network is computed, never what it computes."""

import numpy as np
import pytest
from graph_checks import assert_every_layer, bound_to_random, image, layers, run_plan, run_reference
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_checks import EPS, assert_within

from rvcnn.graph import INPUT
from rvcnn.models import MobileNetConfig, mobilenetv3
from rvcnn.ops import Activation, Add, BatchNorm, Conv2d, GlobalAvgPool, L2Normalize, Linear
from rvcnn.passes import PASSES, fold_batch_norm, fuse_activation, fuse_residual, optimise

ACTIVATIONS = "identity relu relu6 leaky_relu hard_sigmoid hard_swish sigmoid silu".split()
SAME = "same"


def kinds(graph):
    """Return the class of every layer by name."""
    return {node.name: type(node.op) for node in graph.nodes}


def op_of(graph, name):
    return next(node.op for node in graph.nodes if node.name == name)


def assert_same_function(graph, rewritten, x, limit=1e-6):
    """Both graphs in float64 agree: what is left is the rounding of folded weights."""
    before, after = run_reference(graph, x), run_reference(rewritten, x)
    assert rewritten.outputs == graph.outputs
    for name in graph.outputs:
        size = np.abs(before[name]).max()
        assert_within(after[name], before[name], limit * size, name)


# --- folding batch normalisation ----------------------------------------------------------------


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "conv",
    [
        dict(kernel=(1, 1)),
        dict(kernel=(3, 3), padding=SAME, stride=(2, 2)),
        dict(kernel=(5, 5), padding=SAME, groups=8),
        dict(kernel=(3, 1), groups=2),
    ],
    ids=str,
)
def test_folding_is_exact_to_one_rounding_of_each_weight(conv, bias):
    op = Conv2d(8, 8, bias=bias, **conv)
    graph = bound_to_random(layers(("c", op), ("n", BatchNorm(8, 1e-2), "c")))
    folded = fold_batch_norm(graph)
    assert kinds(folded) == {"n": Conv2d} and op_of(folded, "n").bias
    x = image(1, 9, 7, 8)
    want, got = (run_reference(g, x)["n"] for g in (graph, folded))
    (node,) = folded.nodes
    size = node.op.reference({k: np.abs(v) for k, v in node.params.items()}, np.abs(x))
    assert_within(got, want, EPS / 2 * (1 + 1e-6) * size)
    assert np.abs(run_reference(graph, x)["c"] - want).max() > 0.1, "the norm does nothing here"


def test_folding_leaves_the_original_graph_alone():
    graph = bound_to_random(layers(("c", Conv2d(3, 4)), ("n", BatchNorm(4, 1e-3), "c")))
    before = run_reference(graph, image(2, 4, 5, 3))["n"]
    optimise(graph)
    assert kinds(graph) == {"c": Conv2d, "n": BatchNorm}
    assert (run_reference(graph, image(2, 4, 5, 3))["n"] == before).all()


def test_norms_in_a_row_are_all_folded():
    graph = bound_to_random(
        layers(
            ("c", Conv2d(3, 4)),
            ("n", BatchNorm(4, 1e-3), "c"),
            ("m", BatchNorm(4, 1e-3), "n"),
        )
    )
    folded = fold_batch_norm(graph)
    assert kinds(folded) == {"m": Conv2d}
    assert_same_function(graph, folded, image(3, 5, 5, 3))


# --- fusing activations -------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_are_fused_into_convolutions_and_linear_layers(activation):
    graph = bound_to_random(
        layers(
            ("c", Conv2d(3, 12, (3, 3), padding=SAME)),
            ("a", Activation(activation), "c"),
            ("g", GlobalAvgPool(), "a"),
            ("l", Linear(12, 9), "g"),
            ("b", Activation(activation), "l"),
        )
    )
    fused = fuse_activation(graph)
    assert kinds(fused) == {"a": Conv2d, "g": GlobalAvgPool, "b": Linear}
    assert_same_function(graph, fused, image(4, 6, 7, 3), limit=0)
    assert_every_layer(fused, 3 * image(4, 6, 7, 3))


def test_of_two_activations_in_a_row_the_first_is_fused():
    graph = bound_to_random(
        layers(
            ("c", Conv2d(3, 4)),
            ("a", Activation("relu"), "c"),
            ("b", Activation("hard_swish"), "a"),
        )
    )
    once = optimise(graph)
    assert kinds(once) == {"a": Conv2d, "b": Activation}
    for rewritten in (once, optimise(once)):
        assert_same_function(graph, rewritten, image(5, 5, 5, 3), limit=0)


# --- fusing residuals ---------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_the_sum_of_a_block_is_fused_whatever_its_order(first):
    inputs = ("c", "i") if first else ("i", "c")
    graph = bound_to_random(
        layers(
            ("i", Conv2d(3, 8)),
            ("w", Conv2d(8, 16), "i"),
            ("c", Conv2d(16, 8), "w"),
            ("s", Add(), *inputs),
        )
    )
    fused = fuse_residual(graph)
    assert kinds(fused) == {"i": Conv2d, "w": Conv2d, "s": Conv2d} and op_of(fused, "s").residual
    assert_same_function(graph, fused, image(6, 5, 4, 3), limit=0)
    assert_every_layer(fused, image(6, 5, 4, 3))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("size", [(6, 5), (17, 16)])
def test_what_follows_the_sum_of_a_block_is_fused_with_it(activation, size):
    """As a ResNet's relu; of the second size, the convolution goes by Winograd's algorithm."""
    wide = Conv2d(64, 64, (3, 3), padding=SAME)
    graph = layers(
        ("i", Conv2d(3, 64)),
        ("c", wide, "i"),
        ("s", Add(), "i", "c"),
        ("a", Activation(activation), "s"),
    )
    graph = bound_to_random(graph)
    fused = optimise(graph)
    assert kinds(fused) == {"i": Conv2d, "a": Conv2d}
    assert op_of(fused, "a").residual and op_of(fused, "a").sum_first
    assert_same_function(graph, fused, image(6, *size, 3), limit=0)
    assert_every_layer(fused, image(6, *size, 3))


def test_an_activation_before_the_sum_stays_before_it():
    rows = ("c", Conv2d(3, 3)), ("a", Activation("relu"), "c"), ("s", Add(), "a", INPUT)
    graph = bound_to_random(layers(*rows, ("b", Activation("silu"), "s")))
    fused = optimise(graph)
    assert kinds(fused) == {"s": Conv2d, "b": Activation} and not op_of(fused, "s").sum_first
    assert_same_function(graph, fused, image(6, 5, 4, 3), limit=0)


def test_the_sum_of_two_convolutions_keeps_both():
    """As where a residual block changes its width: one of them takes in the other's result."""
    graph = bound_to_random(
        layers(
            ("a", Conv2d(3, 8)), ("b", Conv2d(3, 8, (3, 3), padding=SAME)), ("s", Add(), "a", "b")
        )
    )
    fused = optimise(graph)
    assert len(fused.nodes) == 2 and op_of(fused, "s").residual
    assert_same_function(graph, fused, image(7, 6, 5, 3), limit=0)
    assert_every_layer(fused, image(7, 6, 5, 3))


def test_a_map_added_to_itself_is_not_fused():
    graph = bound_to_random(layers(("c", Conv2d(3, 4)), ("s", Add(), "c", "c")))
    assert kinds(optimise(graph)) == {"c": Conv2d, "s": Add}
    assert_every_layer(optimise(graph), image(8, 3, 5, 3))


def test_a_depthwise_convolution_takes_no_residual():
    depthwise = Conv2d(8, 8, (3, 3), padding=SAME, groups=8)
    graph = bound_to_random(layers(("c", depthwise), ("s", Add(), "c", INPUT)))
    assert kinds(optimise(graph)) == {"c": Conv2d, "s": Add}


# --- what is in the way of fusing ---------------------------------------------------------------

FOLLOWERS = [BatchNorm(3, 1e-3), Activation("relu"), Add()]


@pytest.mark.parametrize("follower", FOLLOWERS, ids=repr)
def test_a_result_with_two_readers_is_kept(follower):
    extra = [INPUT] if isinstance(follower, Add) else []
    graph = bound_to_random(
        layers(
            ("c", Conv2d(3, 3)),
            ("f", follower, "c", *extra),
            ("other", GlobalAvgPool(), "c"),
            outputs=["f", "other"],
        )
    )
    rewritten = optimise(graph)
    assert kinds(rewritten) == {"c": Conv2d, "f": type(follower), "other": GlobalAvgPool}
    assert_same_function(graph, rewritten, image(9, 4, 4, 3), limit=0)


@pytest.mark.parametrize("follower", FOLLOWERS, ids=repr)
def test_a_result_that_is_an_output_is_kept(follower):
    extra = [INPUT] if isinstance(follower, Add) else []
    graph = bound_to_random(
        layers(("c", Conv2d(3, 3)), ("f", follower, "c", *extra), outputs=["c", "f"])
    )
    rewritten = optimise(graph)
    assert kinds(rewritten) == {"c": Conv2d, "f": type(follower)}
    assert_same_function(graph, rewritten, image(10, 4, 4, 3), limit=0)


SWISH = {"activation": "hard_swish"}
SUM = {"residual": True}


@pytest.mark.parametrize("busy", [SWISH, SUM, SUM | SWISH], ids=str)
@pytest.mark.parametrize("follower", FOLLOWERS[:2], ids=repr)
def test_a_convolution_that_does_more_already_takes_nothing_in(busy, follower):
    inputs = [INPUT, INPUT] if "residual" in busy else [INPUT]
    graph = layers(("c", Conv2d(3, 3, **busy), *inputs), ("f", follower, "c"))
    graph = bound_to_random(graph)
    rewritten = optimise(graph)
    if busy == SUM and isinstance(follower, Activation):
        assert kinds(rewritten) == {"f": Conv2d}
    else:
        assert kinds(rewritten) == {"c": Conv2d, "f": type(follower)}
    assert_same_function(graph, rewritten, image(11, 4, 5, 3), limit=0)


def test_a_linear_layer_with_an_activation_takes_no_second():
    graph = bound_to_random(
        layers(("l", Linear(3, 4, activation="relu")), ("a", Activation("sigmoid"), "l"))
    )
    assert kinds(optimise(graph)) == {"l": Linear, "a": Activation}


@st.composite
def networks(draw):
    """A random network of equal maps: any layer may read any earlier one, any may be an output."""
    rows, names = [], [INPUT]
    makers = {
        "conv": lambda: Conv2d(4, 4, (3, 3), padding=SAME, bias=draw(st.booleans())),
        "depthwise": lambda: Conv2d(4, 4, (3, 3), padding=SAME, groups=4),
        "norm": lambda: BatchNorm(4, 1e-2),
        "activation": lambda: Activation(draw(st.sampled_from(ACTIVATIONS))),
        "add": lambda: Add(),
    }
    for i in range(draw(st.integers(2, 9))):
        op = makers[draw(st.sampled_from(sorted(makers)))]()
        # Mostly the newest map, so that chains arise.
        inputs = [names[-1] if draw(st.integers(0, 3)) else draw(st.sampled_from(names))]
        if isinstance(op, Add):
            inputs.append(draw(st.sampled_from(names)))
        rows.append((f"layer{i}", op, *inputs))
        names.append(f"layer{i}")
    outputs = draw(st.lists(st.sampled_from(names[1:]), unique=True, max_size=2))
    return layers(*rows, outputs=[*outputs, names[-1]])


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(0, 2**32 - 1))
def test_any_network_is_the_same_function_after_each_pass(graph, seed):
    graph, x = bound_to_random(graph, seed), image(seed, 3, 4, 4)
    rewritten = graph
    for rewrite in PASSES:
        before, rewritten = rewritten, rewrite(rewritten)
        assert_same_function(before, rewritten, x, limit=2e-6)
    assert len(rewritten.nodes) <= len(graph.nodes)
    want = run_reference(graph, x)
    for name, got in zip(graph.outputs, run_plan(rewritten, x), strict=True):
        size = max(np.abs(v).max() for v in want.values())
        assert_within(got, want[name], 1e-4 * size, name)


# --- whole networks -----------------------------------------------------------------------------


@pytest.mark.parametrize("use_se", [True, False])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("variant", ["small", "large"])
def test_mobilenetv3_is_convolutions_and_pooling_alone(variant, padding, use_se):
    config = MobileNetConfig(variant, use_se=use_se, padding=padding, num_classes=10)
    graph = mobilenetv3(config).cut(["classifier.3"])
    graph = bound_to_random(graph.followed_by("unit", L2Normalize()))
    rewritten = optimise(graph)
    left = set(kinds(rewritten).values())
    assert not left & {BatchNorm, Activation, Add}
    fused = [n.op for n in rewritten.nodes if isinstance(n.op, Conv2d) and n.op.residual]
    assert len(fused) == sum(isinstance(n.op, Add) for n in graph.nodes) > 0
    convolutions = [[n for n in g.nodes if isinstance(n.op, Conv2d)] for g in (graph, rewritten)]
    assert len(convolutions[0]) == len(convolutions[1])
    x = image(12, 45, 64, 3)
    want = run_reference(graph, x)
    (got,) = run_plan(rewritten, x)
    assert_within(got, want["unit"], 1e-5, "rewritten")
    (got,) = run_plan(graph, x)
    assert_within(got, want["unit"], 1e-5, "as it was")
