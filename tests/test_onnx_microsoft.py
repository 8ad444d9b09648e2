"""ONNX Runtime's own operators, which its quantiser and optimiser write, as it computes them."""

import numpy as np
import pytest
from hostile_onnx import model, node, tensor

import rvcnn
from rvcnn.errors import WeightsError

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare

RNG = np.random.default_rng(7)
OPSETS = [("", 17), ("com.microsoft", 1)]
MAPS, TOKENS = (2, 6, 5, 7), (2, 5, 12)
CLOSE = 1e-5


def numbers(*shape):
    return np.float32(RNG.normal(0, 1, shape))


KNOWN = {
    "s": np.float32(0.05),
    "z": np.uint8(120),
    "t": np.float32(0.0713),
    "u": np.uint8(131),
    "g": np.float32(1 / 256),
    "none": np.uint8(0),
    "other": RNG.integers(0, 256, (1, 6, 1, 1), dtype=np.uint8),
    "wide": np.array([1], np.float32),
    "choice": RNG.integers(0, 2, (5, 7)).astype(bool),
    "w": numbers(4, 3, 3, 3) / 4,
    "b": numbers(4),
    "added": numbers(2, 4, 5, 7),
    "dense": RNG.integers(-127, 128, (9, 6), dtype=np.int8),
    "dense_turned": RNG.integers(-127, 128, (6, 9), dtype=np.int8),
    "steps": np.linspace(0.01, 0.03, 9, dtype=np.float32),
    "step": np.float32(0.02),
    "zeros": np.zeros(9, np.int8),
    "int8_zero": np.int8(0),
    "biases": RNG.integers(-900, 900, 9, dtype=np.int32),
    "tokens": numbers(2, 9, 12),
    "turned": numbers(2, 12, 9),
    "rows": numbers(9, 2, 12),
    "square": RNG.integers(0, 256, (12, 8), dtype=np.uint8),
    "columns": np.linspace(0.01, 0.02, 8, dtype=np.float32),
    "shift": numbers(8),
    "width": numbers(12),
    "scale": 1 + numbers(12) / 9,
    "qkv": numbers(12, 36) / 3,
    "qkv_bias": numbers(36),
    "skip": numbers(*TOKENS),
    "flat": np.array([-1, 6]),
}


def own(op, inputs, output="y", **attributes):
    return node(op, inputs, output, domain="com.microsoft", **attributes)


def compared(onnxruntime, nodes, shape, outputs=("y",)):
    """Results here and there for a random input."""
    read = {name for n in nodes for name in n.input}
    tensors = [tensor(name, value) for name, value in KNOWN.items() if name in read]
    made = model(nodes, tensors, [("x", 1, list(shape))], list(outputs), OPSETS)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    runtime = onnxruntime.InferenceSession(made, settings, providers=["CPUExecutionProvider"])
    x = numbers(*shape)
    return rvcnn.onnx.load(made).run(x), runtime.run(None, {"x": x})


BYTES = {
    "QLinearAdd": own("QLinearAdd", "q s z other s z t u", "r"),
    "QLinearMul": own("QLinearMul", "q s z other s z t u", "r"),
    "QLinearSigmoid": own("QLinearSigmoid", "q s z g none", "r"),
    "QLinearLeakyRelu": own("QLinearLeakyRelu", "q s z t u", "r", alpha=0.2),
    "QLinearSoftmax": own("QLinearSoftmax", "q s z g none", "r", axis=1, opset=13),
    "QLinearConcat": own("QLinearConcat", "t u q s z q g none", "r", axis=1),
    "QLinearGlobalAveragePool": own("QLinearGlobalAveragePool", "q s z t u", "r", channels_last=0),
    "QLinearAveragePool": own(
        "QLinearAveragePool", "q s z t u", "r", kernel_shape=[3, 2], pads=[1, 0, 1, 1]
    ),
    "QLinearWhere": own("QLinearWhere", "choice q s z other t u t u", "r"),
}


@pytest.mark.parametrize("op", BYTES)
def test_bytes_are_at_most_a_step_apart(onnxruntime, op):
    scale, zero = BYTES[op].input[:2] if op == "QLinearConcat" else BYTES[op].input[-2:]
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        BYTES[op],
        node("DequantizeLinear", f"r {scale} {zero}", "y"),
    ]
    (got,), (want,) = compared(onnxruntime, nodes, MAPS)
    apart = np.abs(got - want) / KNOWN[scale]
    assert got.shape == want.shape and len(np.unique(want)) > 3
    assert apart.max() < 1.001 and (apart > 0.5).mean() < 0.03


@pytest.mark.parametrize("columns", ["steps", "step"])
@pytest.mark.parametrize("bias", ["biases", "''"])
@pytest.mark.parametrize("is_turned", [False, True])
@pytest.mark.parametrize("ends_in_bytes", [False, True])
def test_a_product_of_bytes(onnxruntime, columns, bias, is_turned, ends_in_bytes):
    weights = "dense" if is_turned else "dense_turned"
    zero = "zeros" if columns == "steps" else "int8_zero"
    inputs = ["q", "s", "z", weights, columns, zero, bias.strip("'")]
    inputs += ["t", "u"] if ends_in_bytes else []
    product = own("QGemm", "", "r" if ends_in_bytes else "y", transB=int(is_turned), alpha=0.5)
    product.input.extend(inputs)
    nodes = [node("QuantizeLinear", "x s z", "q"), product]
    nodes += [node("DequantizeLinear", "r t u", "y")] if ends_in_bytes else []
    (got,), (want,) = compared(onnxruntime, nodes, (4, 6))
    apart = np.abs(got - want)
    if not ends_in_bytes:
        assert apart.max() <= CLOSE * np.abs(want).max()
    else:
        assert apart.max() < 1.001 * KNOWN["t"] and (apart > 0.01).mean() < 0.03


REAL = {
    "FusedConv": ([own("FusedConv", "x w b", activation="Relu", pads=[1] * 4, group=2)], MAPS),
    "FusedConv, added": (
        [
            own(
                "FusedConv",
                "x w b added",
                activation="LeakyRelu",
                activation_params=[0.3],
                pads=[1] * 4,
                group=2,
            )
        ],
        MAPS,
    ),
    "FusedConv, clipped": (
        [own("FusedConv", "x w", activation="Clip", activation_params=[-0.5, 0.75], group=2)],
        MAPS,
    ),
    "FusedGemm": (
        [
            node("Reshape", "x flat", "f"),
            node("Cast", "dense", "d", to=1),
            own("FusedGemm", "f d", transB=1, activation="LeakyRelu", activation_alpha=0.25),
        ],
        (4, 6),
    ),
    "FusedMatMul": ([own("FusedMatMul", "x tokens", transB=1, alpha=0.25)], TOKENS),
    "FusedMatMul, turned": ([own("FusedMatMul", "turned x", transA=1, transB=1)], (2, 5, 12)),
    "FusedMatMul, rows first": (
        [own("FusedMatMul", "x rows", transBatchA=1, transBatchB=1, transB=1)],
        (5, 2, 12),
    ),
    "FusedMatMul, scaled": ([own("FusedMatMul", "x qkv", alpha=0.25)], TOKENS),
    "Gelu": ([own("Gelu", "x")], TOKENS),
    "BiasGelu": ([own("BiasGelu", "x width")], TOKENS),
    "FastGelu": ([own("FastGelu", "x width")], TOKENS),
    "QuickGelu": ([own("QuickGelu", "x", alpha=1.702)], TOKENS),
    "SkipLayerNormalization": (
        [own("SkipLayerNormalization", "x skip scale width width", epsilon=1e-5)],
        TOKENS,
    ),
    "Attention": ([own("Attention", "x qkv qkv_bias", num_heads=3)], TOKENS),
    "MultiHeadAttention": ([own("MultiHeadAttention", "x tokens tokens", num_heads=2)], TOKENS),
    "DynamicQuantizeMatMul": (
        [own("DynamicQuantizeMatMul", "x square step none shift")],
        TOKENS,
    ),
    "MatMulIntegerToFloat": (
        [
            node("QuantizeLinear", "x s z", "q"),
            own("MatMulIntegerToFloat", "q square s step z u shift"),
        ],
        TOKENS,
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_real_values(onnxruntime, name):
    nodes, shape = REAL[name]
    (got,), (want,) = compared(onnxruntime, nodes, shape)
    assert got.shape == want.shape
    close = 2e-4 if name == "FastGelu" else CLOSE  # whose tanh there is a rougher one
    assert np.abs(got - want).max() <= close * np.abs(want).max()


def test_the_sum_before_a_normalisation(onnxruntime):
    total = own("SkipLayerNormalization", "x skip scale width", "y", epsilon=1e-5)
    total.output.extend(["", "", "sum"])
    got, want = compared(onnxruntime, [total], TOKENS, ("y", "sum"))
    for a, b in zip(got, want, strict=True):
        assert np.abs(a - b).max() <= CLOSE * np.abs(b).max()


@pytest.mark.parametrize(
    "unknown",
    [
        own("Attention", "x qkv qkv_bias", num_heads=3, unidirectional=1),
        own("FusedConv", "x w", activation="Mystery"),
        own("QLinearSoftmax", "x", axis=1, opset=11),
        own("QLinearAdd", "x"),
        own("BiasGelu", "x width x x"),
    ],
)
def test_another_kind_is_refused_by_name(unknown):
    tensors = [tensor(name, KNOWN[name]) for name in unknown.input if name in KNOWN]
    made = model([unknown], tensors, [("x", 1, list(TOKENS))], ["y"], OPSETS)
    with pytest.raises(WeightsError, match=f"com.microsoft::{unknown.op_type}"):
        rvcnn.onnx.load(made)


def test_new_values_have_new_names():
    """A value of the file's may be called as the first new one would be."""
    taken = node("Relu", "x")
    taken.output[:] = ["y/part 0"]
    total = node("Add", "y", "sum")
    total.input.append("y/part 0")
    tensors, inputs = [tensor("width", KNOWN["width"])], [("x", 1, list(TOKENS))]
    gelu, x = own("BiasGelu", "x width"), numbers(*TOKENS)
    (plain,) = rvcnn.onnx.load(model([gelu], tensors, inputs, ["y"], OPSETS)).run(x)
    made = model([taken, gelu, total], tensors, inputs, ["sum"], OPSETS)
    np.testing.assert_array_equal(rvcnn.onnx.load(made).run(x)[0], plain + np.maximum(x, 0))


def test_a_product_times_a_number_is_a_layer():
    """What the optimiser makes of a product with weights and a factor runs on the kernels."""
    nodes = [own("FusedMatMul", "x qkv", alpha=0.25)]
    inputs = [("x", 1, ["n", 12])]
    session = rvcnn.onnx.load(model(nodes, [tensor("qkv", KNOWN["qkv"])], inputs, ["y"], OPSETS))
    x = numbers(5, 12)
    assert session.program(x).nodes == []
    np.testing.assert_allclose(session.run(x)[0], x @ KNOWN["qkv"] / 4, 1e-4, 1e-5)
