"""Layers of transformers: each against its reference, in a plan, and written to ONNX."""

import numpy as np
import pytest
from graph_checks import bound_to_random, image, layers
from kernels_checks import EPS

from rvcnn import ops
from rvcnn.errors import ShapeError, WeightsError
from rvcnn.models.imported import from_text, to_text
from rvcnn.passes import optimise
from rvcnn.plan import Plan

TURN = tuple(int(p) for p in np.random.default_rng(5).permutation(35))


def transformer(bias=()):
    """Make a block of attention over rows of a map, with views, borders and other orders."""
    return bound_to_random(
        layers(
            ("x", ops.Conv2d(3, 24, (3, 3), padding=((1, 1), (1, 1)))),
            ("normal", ops.LayerNorm(24, 1e-5), "x"),
            ("line", ops.BatchNorm(24, 1e-3), "normal"),
            ("qkv", ops.Conv2d(24, 60, bias=True), "line"),
            ("turned", ops.TakePixels(TURN, (5, 7)), "qkv"),
            ("q", ops.SliceChannels(0, 18), "turned"),
            ("k", ops.SliceChannels(18, 36), "turned"),
            ("v", ops.SliceChannels(36, 60), "turned"),
            ("rows", ops.Attention(3, 0.4, bias), "q", "k", "v"),
            ("proj", ops.Conv2d(24, 24), "rows"),
            ("sum", ops.Add(), "proj", "x"),
            ("one row", ops.TakePixels((), (1, 35)), "sum"),
            ("token", ops.ConstantMap((1, 1), 24)),
            ("tokens", ops.ConcatPixels((1, 35)), "token", "one row"),
            ("mlp", ops.Conv2d(24, 40, bias=True), "tokens"),
            ("curve", ops.Activation("gelu"), "mlp"),
            ("other", ops.Conv2d(40, 40), "curve"),
            ("tanh", ops.Activation("gelu_tanh"), "other"),
            ("all", ops.Attention(2, 0.1), "tanh", "tanh", "tanh"),
            ("quick", ops.Activation("quick_gelu"), "all"),
            ("first", ops.TakePixels((0,), (1, 1)), "quick"),
            ("wide", ops.Conv2d(24, 6, (3, 3), padding=((1, 1), (1, 1))), "line"),
            outputs=["rows", "tokens", "first", "wide"],
        )
    )


def worked_out(graph, x):
    """Every layer's result in float64."""
    values = {"input": np.float64(x)}
    for node in graph.nodes:
        values[node.name] = node.op.reference(node.params, *(values[i] for i in node.inputs))
    return values


@pytest.mark.parametrize("bias", [(), (1, 3, 7, 7), (5, 3, 7, 7)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_plan_gives_the_references_results(bias, threads):
    graph, x = transformer(bias), image(1, 5, 7, 3)
    want = worked_out(graph, x)
    for form in (graph, optimise(graph)):
        made = Plan(form, x.shape).run(x, threads)
        for name, got in zip(graph.outputs, made, strict=True):
            assert np.abs(got - want[name]).max() < 200 * EPS * np.abs(want[name]).max(), name


def test_passes_take_a_line_and_sums_into_layers():
    kinds = [type(node.op) for node in optimise(transformer()).nodes]
    assert ops.BatchNorm not in kinds
    assert ops.Add not in kinds


def test_the_graph_is_read_back():
    graph = transformer((1, 3, 7, 7))
    assert [node.op for node in from_text(to_text(graph)).nodes] == [n.op for n in graph.nodes]


def test_references_by_hand():
    x = np.array([[[1.0], [3.0]]])
    scores = ops.Attention(1, np.log(2) / 2)
    got = scores.reference({}, x[:, :1], x, x)  # keys 1 and 3, shares 1 : 2
    np.testing.assert_allclose(got, [[[7 / 3]]], rtol=1e-14)
    params = {"weight": np.array([2.0, 1.0]), "bias": np.array([0.0, 5.0])}
    got = ops.LayerNorm(2, 0.0).reference(params, np.array([[[1.0, 3.0]]]))
    assert got.tolist() == [[[-2.0, 6.0]]]
    two = np.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    assert ops.TakePixels((3, 0), (1, 2)).reference({}, two).ravel().tolist() == [4, 1]
    assert ops.TakePixels((), (1, 4)).reference({}, two).shape == (1, 4, 1)
    assert ops.ConcatPixels((2, 4)).reference({}, x, two).ravel().tolist() == [1, 3, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        (ops.LayerNorm(3, 1e-5), [(1, 2, 4)]),
        (ops.Attention(0, 1.0), [(1, 2, 4)] * 3),
        (ops.Attention(3, 1.0), [(1, 2, 4)] * 3),
        (ops.Attention(2, 1.0), [(1, 2, 4), (1, 3, 4), (1, 2, 4)]),
        (ops.Attention(2, 1.0), [(1, 2, 4), (2, 2, 4), (2, 2, 4)]),
        (ops.Attention(2, 1.0, (1, 2, 2, 3)), [(1, 2, 4)] * 3),
        (ops.Attention(2, 1.0, (3, 2, 2, 2)), [(1, 2, 4)] * 3),
        (ops.TakePixels((0, 6), (1, 2)), [(2, 3, 4)]),
        (ops.TakePixels((), (1, 2)), [(2, 3, 4)]),
        (ops.ConcatPixels((2, 3)), [(1, 2, 4), (1, 2, 4)]),
        (ops.ConcatPixels((2, 3)), [(1, 2, 4), (1, 3, 5)]),
    ],
)
def test_maps_that_do_not_fit_are_refused(op, shapes):
    with pytest.raises(ShapeError):
        op.infer(*shapes)


def test_a_file_that_asks_for_more_memory_than_there_is_is_refused():
    from rvcnn.models.imported import imported

    size = 1 << 10
    graph = layers(
        ("row", ops.TakePixels((), (1, size * size))),
        ("wide", ops.Conv2d(3, 64), "row"),
        ("a", ops.Attention(64, 1.0), "wide", "wide", "wide"),
    )
    with pytest.raises(WeightsError, match="memory"):
        imported({"graph": to_text(graph), "input_size": str(size)})


@pytest.mark.compare
def test_every_layer_is_written_to_onnx():
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from rvcnn.onnx.export.graph import to_onnx

    graph = transformer((5, 3, 7, 7)).cut(["first"])
    file = to_onnx(graph, (5, 7, 3), any_size=False).SerializeToString()
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])
    x = np.stack([image(1, 5, 7, 3), image(2, 5, 7, 3)])
    got = session.run(None, {session.get_inputs()[0].name: x.transpose(0, 3, 1, 2).copy()})[-1]
    want = np.stack([worked_out(graph, one)["first"].ravel() for one in x])
    assert np.abs(got.reshape(2, -1) - want).max() < 200 * EPS * np.abs(want).max()
