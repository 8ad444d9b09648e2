"""Graphs inside a network, which read its values, against ONNX Runtime."""

import numpy as np
import pytest

from rvcnn.errors import WeightsError
from rvcnn.onnx import control, load


def network(onnx, nodes, outputs):
    """A model whose nodes read a convolution's map ``y``."""
    helper, kind = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    graph = helper.make_graph(
        [conv, *nodes],
        "outer",
        [helper.make_tensor_value_info("x", kind.FLOAT, [1, 3, 8, 7])],
        [helper.make_tensor_value_info(name, kind.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(weights, "w"), *constants(onnx)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def constants(onnx):
    return [
        onnx.numpy_helper.from_array(np.array(value, dtype), name)
        for name, value, dtype in (
            ("count", 5, np.int64),
            ("limit", 60, np.float32),
            ("zero", 0, np.float32),
            ("true", True, bool),
        )
    ]


def branches(onnx):
    """One of two functions of the map, by its sum, times the map."""
    helper, kind = onnx.helper, onnx.TensorProto

    def branch(op):
        return helper.make_graph(
            [helper.make_node(op, ["y"], ["z"]), helper.make_node("Mul", ["z", "y"], ["out"])],
            op,
            [],
            [helper.make_tensor_value_info("out", kind.FLOAT, None)],
        )

    return [
        helper.make_node("ReduceSum", ["y"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node(
            "If", ["positive"], ["r"], then_branch=branch("Relu"), else_branch=branch("Neg")
        ),
    ]


def loop(onnx):
    """Adds the map's mean until it is over a limit, and keeps what there was."""
    helper, kind = onnx.helper, onnx.TensorProto
    body = helper.make_graph(
        [
            helper.make_node("Abs", ["y"], ["a"]),
            helper.make_node("ReduceSum", ["a"], ["m"], keepdims=0),
            helper.make_node("Add", ["state", "m"], ["next"]),
            helper.make_node("Identity", ["next"], ["row"]),
            helper.make_node("Less", ["next", "limit"], ["going"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", kind.INT64, []),
            helper.make_tensor_value_info("before", kind.BOOL, []),
            helper.make_tensor_value_info("state", kind.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("going", kind.BOOL, []),
            helper.make_tensor_value_info("next", kind.FLOAT, []),
            helper.make_tensor_value_info("row", kind.FLOAT, []),
        ],
    )
    return [helper.make_node("Loop", ["count", "true", "zero"], ["end", "rows"], body=body)]


@pytest.fixture
def onnx(onnxruntime):
    """The package, which the extra `compare` brings with ONNX Runtime."""
    return pytest.importorskip("onnx")


@pytest.mark.parametrize("scale", [1.0, -1.0, 0.02])
@pytest.mark.parametrize(
    "make, outputs", [(branches, ["y", "r"]), (loop, ["end", "rows"])], ids=["if", "loop"]
)
def test_graphs_read_the_values_around_them(onnx, onnxruntime, make, outputs, scale):
    model = network(onnx, make(onnx), outputs)
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 7)).astype(np.float32)
    x = (x + 0.5) * np.float32(scale)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for got, want in zip(load(model).run(x), session.run(None, {"x": x}), strict=True):
        assert got.shape == want.shape and want.any()
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_loop_without_end_is_refused(onnx, monkeypatch):
    monkeypatch.setattr(control, "MOST_TURNS", 3)
    session = load(network(onnx, loop(onnx), ["end"]))
    x = np.full((1, 3, 8, 7), 1e-6, np.float32)
    with pytest.raises(WeightsError, match="more than 3 turns"):
        session.run(x)
