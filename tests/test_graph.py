"""Shapes, errors, cuts, and every operator's lowering against its own float64 reference."""

import numpy as np
import pytest
from graph_checks import (
    assert_every_layer,
    bound_to_random,
    error_bound,
    image,
    layers,
    run_plan,
    run_reference,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_checks import outside

from rvcnn.errors import ShapeError
from rvcnn.graph import INPUT
from rvcnn.ops import (
    Activation,
    Add,
    BatchNorm,
    Conv2d,
    GlobalAvgPool,
    L2Normalize,
    Linear,
    ScaleChannels,
)
from rvcnn.plan import Plan

ACTIVATIONS = "identity relu relu6 leaky_relu hard_sigmoid hard_swish sigmoid silu".split()

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
sides = st.tuples(st.tuples(*[st.integers(0, 3)] * 2), st.tuples(*[st.integers(0, 3)] * 2))


@st.composite
def convolutions(draw):
    """Any convolution: dense, grouped or depthwise, and a size of input it accepts."""
    groups = draw(st.sampled_from([1, 1, 2, 4]))
    inputs, outputs = (groups * draw(st.integers(1, 9)) for _ in range(2))
    kernel = draw(st.one_of(st.sampled_from([(1, 1), (3, 3), (5, 5)]), pairs))
    if draw(st.booleans()):
        groups = inputs = outputs = draw(st.sampled_from([2, 5, 8, 16, 19, 40]))
    op = Conv2d(
        inputs,
        outputs,
        kernel,
        draw(st.one_of(st.sampled_from([(1, 1), (2, 2)]), pairs)),
        draw(st.one_of(st.just("same"), sides)),
        draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)])),
        groups,
        draw(st.booleans()),
        draw(st.sampled_from(ACTIVATIONS)),
    )
    size = draw(st.tuples(st.integers(1, 17), st.integers(1, 17)))
    return op, (*size, inputs)


def fits(op, shape):
    try:
        op.infer(shape)
    except ShapeError:
        return False
    return True


@settings(max_examples=120, deadline=None)
@given(convolutions(), st.integers(0, 2**32 - 1))
def test_any_convolution_is_its_reference(problem, seed):
    op, shape = problem
    graph = bound_to_random(layers(("layer", op)), seed)
    if not fits(op, shape):
        with pytest.raises(ShapeError, match="layer layer: "):
            graph.shapes(shape)
        return
    x = image(seed, *shape)
    want = run_reference(graph, x)["layer"]
    assert graph.shapes(shape)["layer"] == want.shape
    assert_every_layer(graph, x)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3))
def test_same_padding_is_tensorflows_rule(size, kernel, stride, dilation):
    op = Conv2d(1, 1, (1, kernel), (1, stride), "same", (1, dilation))
    _, (before, after) = op.border((7, size, 1))
    outputs, reach = -(-size // stride), (kernel - 1) * dilation + 1
    assert op.infer((7, size, 1)) == (7, outputs, 1)
    assert after - before in (0, 1) and before >= 0
    # The last window ends with the padding, or there is none: never a pixel more than needed.
    last = (outputs - 1) * stride + reach
    assert before + after == max(0, last - size)


def test_same_padding_in_the_cases_of_the_networks():
    def border(size, kernel):
        return Conv2d(8, 8, (kernel, kernel), (2, 2), "same", groups=8).border((size, size, 8))

    assert border(224, 3) == ((0, 1), (0, 1))
    assert border(14, 5) == ((1, 2), (1, 2))
    assert border(15, 3) == ((1, 1), (1, 1))
    assert border(15, 5) == ((2, 2), (2, 2))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3)])
def test_a_residual_is_added_after_the_activation(kernel, activation):
    same = "same" if kernel > (1, 1) else ((0, 0), (0, 0))
    op = Conv2d(12, 20, kernel, padding=same, activation=activation, bias=True, residual=True)
    graph = layers(("other", Conv2d(12, 20)), ("layer", op, INPUT, "other"))
    assert_every_layer(bound_to_random(graph), 3 * image(1, 5, 9, 12))


def test_the_residual_may_be_the_input_itself():
    op = Conv2d(8, 8, (3, 3), padding="same", residual=True)
    assert_every_layer(bound_to_random(layers(("layer", op, INPUT, INPUT))), image(2, 7, 5, 8))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(1, 1), (3, 5), (16, 8), (96, 33), (33, 96)])
def test_linear(sizes, activation):
    graph = layers(("layer", Linear(*sizes, activation=activation)))
    assert_every_layer(bound_to_random(graph), 3 * image(3, 1, 1, sizes[0]))


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 7, 24), (5, 13, 17), (33, 2, 40)])
def test_operators_without_a_window(shape):
    channels = shape[2]
    graph = layers(
        ("norm", BatchNorm(channels, 1e-3)),
        ("add", Add(), INPUT, "norm"),
        ("mean", GlobalAvgPool(), "add"),
        ("gate", Activation("sigmoid"), "mean"),
        ("scaled", ScaleChannels(), "add", "gate"),
        ("unit", L2Normalize(), "mean"),
        *((name, Activation(name), "scaled") for name in ACTIVATIONS),
    )
    assert_every_layer(bound_to_random(graph), 4 * image(4, *shape))


def readers_of_one_map():
    """One map, and the input, each read by layers that want different borders or none."""

    def conv(kernel, padding, stride=1, groups=1, dilation=1):
        pair = [(v, v) for v in (kernel, stride, dilation)]
        return Conv2d(16, 16, pair[0], pair[1], padding, pair[2], groups)

    return layers(
        ("map", Conv2d(3, 16, (3, 3), padding=((0, 2), (2, 0)))),
        ("point", conv(1, ((0, 0), (0, 0))), "map"),
        ("same", conv(3, "same", stride=2), "map"),
        ("wide", conv(5, ((4, 0), (0, 3)), groups=16), "map"),
        ("dilated", conv(3, ((2, 2), (5, 5)), dilation=3), "map"),
        ("mean", GlobalAvgPool(), "map"),
        ("scaled", ScaleChannels(), "map", "mean"),
        ("norm", BatchNorm(16, 1e-3), "map"),
        ("relu", Activation("relu"), "map"),
        ("add", Add(), "relu", "map"),
        ("again", conv(5, "same", groups=16), "add"),
        ("below", Conv2d(3, 4, (1, 1), padding=((0, 3), (0, 0)))),
        ("plain", Conv2d(3, 4)),
    )


@pytest.mark.parametrize("size", [(9, 9), (4, 15), (14, 7)])
def test_readers_with_different_borders(size):
    assert_every_layer(bound_to_random(readers_of_one_map()), image(5, *size, 3))


@pytest.mark.parametrize(
    ("op", "shape"),
    [
        (Conv2d(16, 16, (3, 3), padding="same", bias=True), (8, 8, 16)),
        (Conv2d(16, 16, (5, 5), padding="same", groups=16), (8, 8, 16)),
        (BatchNorm(16, 1e-3), (8, 8, 16)),
        (Linear(16, 8), (1, 1, 16)),
    ],
    ids=repr,
)
def test_the_bounds_notice_a_parameter_changed_by_a_thousandth(op, shape):
    graph, x = bound_to_random(layers(("layer", op))), image(6, *shape)
    (node,) = graph.nodes
    want = run_reference(graph, x)["layer"]
    bound = error_bound(node, [x], want)
    for name, values in node.params.items():
        changed = graph.bind(
            {f"layer.{k}": v for k, v in node.params.items()}
            | {f"layer.{name}": values * np.float32(1.001)}
        )
        assert outside(run_plan(changed, x)[0], want, bound).any(), name


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("graph", "shape", "message"),
    [
        (layers(("a.b", Conv2d(4, 8))), (5, 5, 3), r"layer a\.b: expected 4 channels.*\(5, 5, 3\)"),
        (layers(("a", Conv2d(3, 8, (5, 5)))), (4, 9, 3), r"layer a: .*4 x 9.*too small"),
        (layers(("n", BatchNorm(4, 1e-3))), (5, 5, 3), "layer n: expected 4 channels"),
        (layers(("fc", Linear(3, 8))), (2, 1, 3), r"layer fc: expected \(1, 1, 3\).*\(2, 1, 3\)"),
        (layers(("unit", L2Normalize())), (2, 1, 3), r"layer unit: .*\(2, 1, 3\)"),
        (
            layers(("a", Conv2d(3, 4)), ("sum", Add(), INPUT, "a")),
            (5, 6, 3),
            r"layer sum: .*\(5, 6, 3\).*\(5, 6, 4\)",
        ),
        (
            layers(("a", Conv2d(3, 4)), ("scale", ScaleChannels(), "a", INPUT)),
            (1, 1, 3),
            r"layer scale: .*\(1, 1, 4\).*\(1, 1, 3\)",
        ),
        (
            layers(("a", Conv2d(3, 4, residual=True), INPUT, INPUT)),
            (5, 5, 3),
            r"layer a: a residual of \(5, 5, 3\).*\(5, 5, 4\)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_names_the_layer(graph, shape, message):
    with pytest.raises(ShapeError, match=message):
        graph.shapes(shape)
    with pytest.raises(ShapeError, match=message):
        Plan(bound_to_random(graph), shape)


# --- cuts ---------------------------------------------------------------------------------------


def small_net():
    return layers(
        ("features.1.conv", Conv2d(3, 4)),
        ("features.1.act", Activation("relu"), "features.1.conv"),
        ("features.10.conv", Conv2d(4, 5), "features.1.act"),
        ("side", GlobalAvgPool(), "features.1.conv"),
        ("head", GlobalAvgPool(), "features.10.conv"),
    )


def test_a_module_stands_for_its_last_layer():
    graph = small_net().cut(["features.1"])
    assert graph.outputs == ("features.1.act",)
    assert [n.name for n in graph.nodes] == ["features.1.conv", "features.1.act"]


def test_a_cut_keeps_only_what_its_layers_need():
    graph = small_net().cut(["side", "head"])
    assert {n.name for n in graph.nodes} == {n.name for n in small_net().nodes}
    graph = small_net().cut(["side"])
    assert [n.name for n in graph.nodes] == ["features.1.conv", "side"]


def test_an_unknown_layer_is_named_with_those_that_exist():
    with pytest.raises(ShapeError, match=r"'features\.2'.*features\.1\.conv.*head"):
        small_net().cut(["head", "features.2"])
    with pytest.raises(ShapeError, match="'feat'"):
        small_net().cut(["feat"])


def test_parameters_are_named_and_shaped_as_a_weights_file_has_them():
    graph = layers(
        ("c", Conv2d(8, 12, (3, 5), groups=4)),
        ("b", Conv2d(12, 6, bias=True), "c"),
        ("n", BatchNorm(6, 1e-3), "b"),
        ("g", GlobalAvgPool(), "n"),
        ("l", Linear(6, 2), "g"),
    )
    assert graph.parameters() == {
        "c.weight": (12, 2, 3, 5),
        "b.weight": (6, 12, 1, 1),
        "b.bias": (6,),
        "n.weight": (6,),
        "n.bias": (6,),
        "n.running_mean": (6,),
        "n.running_var": (6,),
        "l.weight": (2, 6),
        "l.bias": (2,),
    }
