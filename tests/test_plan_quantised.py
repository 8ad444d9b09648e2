"""Networks of bytes: each layer of a plan is its reference bit for bit, float ones to rounding."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from graph_checks import (
    bound_to_random,
    error_bound,
    layers,
    network,
    run_plan,
    run_reference,
    with_all_outputs,
)
from kernels_checks import assert_within

from rvcnn import ops
from rvcnn.graph import INPUT
from rvcnn.ops import Activation, Add, Conv2d, GlobalAvgPool, Linear, ScaleChannels
from rvcnn.passes import optimise
from rvcnn.passes.quantise import quantise
from rvcnn.plan import ARENA, BYTES, Plan
from rvcnn.quantization import Quantization, QuantizedTensor, QuantParams

SIZE = (20, 17, 3)
MEAN, DEVIATION = np.array([0.485, 0.456, 0.5]), np.array([0.229, 0.224, 0.5])
LINE = 1 / (255 * DEVIATION), -MEAN / DEVIATION
"""Scale and shift of pixels."""
BYTES_OF_OPS = (
    ops.QuantizedConv2d,
    ops.Quantize,
    ops.Dequantize,
    ops.QuantizedGlobalAvgPool,
    ops.QuantizedScaleChannels,
)


def pixels(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def normal(x):
    return (x * LINE[0] + LINE[1]).astype(np.float32)


def quantization(graph, shape, float_maps=(), floats=(), per_channel=()):
    """Bytes for every layer and map of a float graph, save for the layers ``floats``.

    The input is its pixels, whose scales are in the weights that read them.
    """
    seen = [run_reference(graph, normal(pixels(seed, *shape))) for seed in range(3)]
    activations = {}
    for node in graph.nodes:
        values = np.concatenate([s[node.name].reshape(-1, s[node.name].shape[2]) for s in seen])
        axis = 0 if node.name in per_channel else None
        activations[node.name] = QuantParams.asymmetric(values.min(axis), values.max(axis))
    activations[INPUT] = QuantParams(LINE[0], 255 * MEAN)
    weights, biases = {}, {}
    for node in graph.nodes:
        if isinstance(node.op, Conv2d | Linear) and node.name not in floats:
            weight, read = node.params["weight"], activations[node.inputs[0]]
            if read.per_channel and getattr(node.op, "groups", 1) == 1:
                weight = weight * read.scale.reshape(1, -1, 1, 1)
            weights[node.name] = QuantizedTensor.from_weights_per_channel(weight)
            biases[node.name] = node.params.get("bias", np.zeros(len(weight), np.float32))
    return Quantization(weights, biases, activations, frozenset(float_maps))


DEPTHWISE = Conv2d(20, 20, (5, 5), (2, 2), ((1, 2), (2, 1)), groups=20, bias=True)


def mobile():
    """Make an inverted residual with squeeze-excite between a stem and a head, optimised."""
    expand = Conv2d(8, 20, bias=True)
    rows = [
        ("stem", Conv2d(3, 8, (3, 3), (2, 2), "same", bias=True, activation="hard_swish")),
        ("expand", replace(expand, activation="relu"), "stem"),
        (
            "depth",
            Conv2d(20, 20, (3, 3), padding="same", groups=20, bias=True, activation="relu6"),
            "expand",
        ),
        ("mean", GlobalAvgPool(), "depth"),
        ("fc1", Linear(20, 8, "relu"), "mean"),
        ("fc2", Linear(8, 20, "hard_sigmoid"), "fc1"),
        ("excite", ScaleChannels(), "depth", "fc2"),
        ("project", Conv2d(20, 8, bias=True, residual=True), "excite", "stem"),
        ("expand2", replace(expand, activation="hard_swish"), "project"),
        ("depth2", replace(DEPTHWISE, activation="hard_swish"), "expand2"),
        ("project2", Conv2d(20, 12, bias=True), "depth2"),
        ("last", Conv2d(12, 32, bias=True, activation="hard_swish"), "project2"),
        ("pool", GlobalAvgPool(), "last"),
        ("head", Linear(32, 10), "pool"),
    ]
    return bound_to_random(layers(*rows))


def awkward():
    """Make layers that bytes reach by detours: other activations, sums, groups, no bias."""
    rows = [
        ("a", Conv2d(3, 12, (3, 3), padding=((0, 2), (1, 0)), activation="leaky_relu")),
        ("b", Conv2d(12, 12, (3, 3), padding="same", groups=2, activation="relu"), "a"),
        ("c", Conv2d(12, 12, (3, 3), padding="same", activation="silu", residual=True), "b", "a"),
        ("d", Conv2d(12, 12, (5, 5), padding="same", groups=12, activation="silu"), "c"),
        ("e", Conv2d(12, 12, (3, 3), dilation=(2, 1), padding="same"), "d"),
        ("f", Activation("hard_sigmoid"), "e"),
        ("g", Conv2d(12, 24, (3, 3), (2, 1), "same", groups=12), "b"),
        ("h", Conv2d(12, 24, (3, 3), (2, 1), "same", bias=True, activation="relu6"), "f"),
        ("i", Add(), "g", "h"),
        ("j", Conv2d(24, 7, (1, 1), (2, 2)), "i"),
        ("k", Conv2d(12, 12, (3, 3), padding="same", groups=12, bias=True), "b"),
    ]
    return bound_to_random(layers(*rows, outputs=["j", "k", "c"]), seed=1)


TRUNK = {"stem", "project", "project2", "pool", "head", "fc1", "fc2"}


def quantised(name):
    graph, given = GRAPHS[name]()
    return graph, quantise(graph, given)


def mobile_case():
    graph = mobile()
    return graph, quantization(graph, SIZE, TRUNK, {"fc1", "fc2"})


def all_bytes_case():
    """Every map is kept as bytes where a kernel can store it so."""
    graph = mobile()
    return graph, quantization(graph, SIZE, per_channel={"expand", "depth2"})


def awkward_case():
    graph = awkward()
    return graph, quantization(graph, SIZE, {"i"}, {"e"})


def mobilenet_case():
    graph = optimise(network(padding="same"))
    trunk = {n.name for n in graph.nodes if isinstance(n.op, Conv2d) and n.op.is_bare}
    trunk |= {n.name for n in graph.nodes if getattr(n.op, "residual", False)}
    trunk |= {n.name for n in graph.nodes if isinstance(n.op, Linear | GlobalAvgPool)}
    trunk.add("unit")
    return graph, quantization(graph, SIZE, trunk)


GRAPHS = {
    "mobile": mobile_case,
    "all bytes": all_bytes_case,
    "awkward": awkward_case,
    "mobilenet": mobilenet_case,
}
"""Float graph and its quantisation, by name."""


@pytest.fixture(scope="module", params=GRAPHS)
def case(request):
    return quantised(request.param)


def plan_of(graph):
    return Plan(graph, SIZE, LINE)


def results_of_all(graph, x):
    every = with_all_outputs(graph)
    values = dict(zip(every.outputs, plan_of(every).run(x), strict=True))
    return values | {INPUT: x}


def test_every_layer_is_its_reference(case):
    _, graph = case
    results = results_of_all(graph, pixels(9, *SIZE))
    seen = set()
    for node in graph.nodes:
        inputs, got = [results[i] for i in node.inputs], results[node.name]
        assert got.dtype == (np.uint8 if node.name in graph.stored else np.float32), node.name
        if isinstance(node.op, BYTES_OF_OPS):
            want = node.op.reference(node.params, *inputs)
            np.testing.assert_array_equal(got, want, err_msg=node.name)
            seen.add(type(node.op))
        else:
            inputs = [i.astype(np.float64) for i in inputs]
            want = node.op.reference(node.params, *inputs)
            assert_within(got, want, error_bound(node, inputs, want), f"{node.name} {node.op}")
    assert ops.QuantizedConv2d in seen


def test_bytes_mean_what_the_float_network_computes(case):
    """Within what eight bits leave: a zero point or a scale that is off is far outside."""
    float_graph, graph = case
    for seed in range(2):  # of the images that the ranges were taken from
        x = pixels(seed, *SIZE)
        wanted, results = run_reference(float_graph, normal(x)), results_of_all(graph, x)
        for name in wanted:
            got = results[name].astype(np.float64)
            if name in graph.stored:
                scale, zero = graph.stored[name]
                got = (got - zero) * scale
            if name != INPUT:
                off = np.linalg.norm(got - wanted[name]) / np.linalg.norm(wanted[name])
                assert off < 0.2, f"{name} is {off:.2f} off"


def test_memory_is_reused_and_may_hold_anything(case):
    _, graph = case
    x = pixels(4, *SIZE)
    every, plan = results_of_all(graph, x), plan_of(graph)
    want = [every[name].tobytes() for name in graph.outputs]
    for fill in (0, 255, 77):
        workspace = plan.workspace()
        workspace.buffers[BYTES][:] = fill
        for _ in range(2):
            assert [r.tobytes() for r in workspace.run(x)] == want
            workspace.run(pixels(5, *SIZE))


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_bits(case, threads):
    _, graph = case
    plan = plan_of(graph)
    for seed in range(5):
        x = pixels(seed, *SIZE)
        want = [r.tobytes() for r in plan.run(x)]
        assert [r.tobytes() for r in plan.run(x, threads)] == want


def test_a_plan_is_shared_by_threads(case):
    _, graph = case
    plan, wrong = plan_of(graph), []
    images = [pixels(seed, *SIZE) for seed in range(4)]
    expected = [plan.run(x)[0].tobytes() for x in images]

    def work(first):
        for i in range(first, first + 40):
            if plan.run(images[i % 4])[0].tobytes() != expected[i % 4]:
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_normalised_floats_give_what_their_pixels_give(case):
    _, graph = case
    x = pixels(6, *SIZE)
    for got, want in zip(run_plan(graph, normal(x)), plan_of(graph).run(x), strict=True):
        assert got.tobytes() == want.tobytes()


def test_borders_hold_what_stands_for_zero():
    """All round a map of bytes; a border of zeros would be far below it."""
    for name in ("mobile", "awkward"):
        graph = with_all_outputs(quantised(name)[1])
        plan = plan_of(graph)
        workspace = plan.workspace()
        workspace.buffers[BYTES][:] = 99
        workspace.run(pixels(7, *SIZE))
        maps = dict(zip(graph.outputs, plan.outputs, strict=True))
        looked_at = 0
        for node in graph.nodes:
            source = node.inputs[0]
            (top, bottom), (left, right) = node.op.border(plan.shapes[source])
            if source not in graph.stored or source == INPUT or not top + bottom + left + right:
                continue
            m, zero = maps[source], np.rint(graph.stored[source].zero)
            buffer = workspace.buffers[BYTES]
            for y in range(-top, m.height + bottom):
                for x in range(-left, m.width + right):
                    if not (0 <= y < m.height and 0 <= x < m.width):
                        at = m.at(y, x).offset
                        assert (buffer[at : at + m.channels] == zero).all(), (name, source, y, x)
                        looked_at += 1
        assert looked_at > 50, name


# --- the pass -----------------------------------------------------------------------------------


def kinds(graph):
    return {node.name: type(node.op).__name__ for node in graph.nodes}


def test_what_a_network_of_bytes_is_made_of():
    _, graph = quantised("mobile")
    made = kinds(graph)
    assert made["stem"] == made["depth"] == made["head"] == "QuantizedConv2d"
    assert made["mean"] == "QuantizedGlobalAvgPool"
    assert made["excite"] == "QuantizedScaleChannels"
    assert made["fc1"] == made["fc2"] == "Linear"
    assert {n for n, kind in made.items() if kind == "Quantize"} == {
        f"bytes:{n}" for n in ("stem", "project", "project2", "pool")
    }
    assert "Dequantize" not in made.values()
    assert set(graph.stored) >= {INPUT, "expand", "depth", "excite", "depth2", "last"}
    assert not {"stem", "project", "head"} & set(graph.stored)


def test_a_map_is_copied_once_for_all_its_readers():
    rows = [
        ("a", Conv2d(3, 8, bias=True)),
        ("b", Conv2d(8, 8, bias=True), "a"),
        ("c", Conv2d(8, 8, bias=True), "a"),
        ("d", Add(), "b", "c"),
        ("e", Add(), "d", "b"),
    ]
    graph = bound_to_random(layers(*rows))
    given = quantization(graph, SIZE, {"a", "d", "e"})
    made = list(kinds(quantise(graph, given)).values())
    assert made.count("Quantize") == 1 and made.count("Dequantize") == 2


def test_a_layer_whose_input_is_float_runs_on_the_weights_that_its_bytes_mean():
    graph = bound_to_random(layers(("a", Conv2d(3, 8, bias=True)), ("b", Conv2d(8, 9), "a")))
    graph = bound_to_random(
        layers(("a", Conv2d(3, 8, bias=True)), ("b", Conv2d(8, 9, bias=True), "a"))
    )
    given = quantization(graph, SIZE)
    given = replace(given, activations={})
    made = quantise(graph, given)
    assert kinds(made) == {"a": "Conv2d", "b": "Conv2d"} and not made.stored
    for node in made.nodes:
        want = given.weights[node.name].dequantize()
        assert (node.params["weight"] == want).all()
        off = np.abs(want - next(n for n in graph.nodes if n.name == node.name).params["weight"])
        assert node.name == "a" or 0 < off.max() <= given.weights["b"].scale.max()


def test_a_network_without_bytes_stays_as_it_is():
    graph = optimise(network(padding="same"))
    made = quantise(graph, Quantization({}, {}, {}, frozenset()))
    assert not made.stored and kinds(made) == kinds(graph)
    x = normal(pixels(8, *SIZE))
    assert run_plan(made, x)[0].tobytes() == run_plan(graph, x)[0].tobytes()
    assert Plan(made, SIZE).workspace().buffers[ARENA].dtype == np.float32


def test_an_activation_that_kernels_of_bytes_lack_comes_before_the_residual():
    _, graph = quantised("awkward")
    made = {node.name: node for node in graph.nodes}
    assert isinstance(made["c"].op, Add)
    curve, other = made["c"].inputs
    assert made[curve].op == Activation("silu") and other == "a"
