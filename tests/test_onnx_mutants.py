"""Small networks with changed operators, attributes, tensors and edges: refused, or run right.

What ONNX Runtime runs too, it must run to the same numbers.
"""

import hostile_onnx
import numpy as np
import pytest

import rvcnn
from rvcnn.errors import RvcnnError

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare

NUMBERS = [-(2**62), -(2**31), -5, 7, 8, 9, 64, 1000, 2**20, 2**31, 2**40, 2**62, *range(-1, 6)]
OPERATORS = (
    "MaxPool AveragePool Conv ConvTranspose Resize Pad Concat Split Transpose Gather Slice Flatten "
    "Reshape BatchNormalization Mul Add Clip Softmax Gemm MatMul ReduceMean GlobalMaxPool Upsample "
    "LRN Expand Tile PRelu DepthToSpace Sum Squeeze Unsqueeze"
).split()
ATTRIBUTES = (
    "kernel_shape strides pads dilations group axis axes perm ceil_mode count_include_pad transB "
    "transA keepdims split blocksize output_padding"
).split()


def numbers(rng, count):
    return [int(rng.choice(NUMBERS)) for _ in range(count)]


def other_operator(graph, rng):
    graph.node[rng.integers(len(graph.node))].op_type = str(rng.choice(OPERATORS))


def other_attribute(graph, rng):
    node, name = graph.node[rng.integers(len(graph.node))], str(rng.choice(ATTRIBUTES))
    kept = [a for a in node.attribute if a.name != name]
    values = numbers(rng, rng.choice([1, 2, 4]))
    value = values[0] if rng.random() < 0.3 else values
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def other_tensor(graph, rng):
    tensor = graph.initializer[rng.integers(len(graph.initializer))]
    sides = rng.integers(0, 6, rng.integers(0, 5))
    if tensor.data_type == onnx.TensorProto.INT64:
        array = np.array(numbers(rng, len(sides)), np.int64)
    else:
        array = rng.standard_normal(sides).astype(np.float32)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))


def other_edge(graph, rng):
    names = ["image", *(t.name for t in graph.initializer)]
    names += [name for node in graph.node for name in node.output]
    node = graph.node[rng.integers(len(graph.node))]
    node.input[rng.integers(len(node.input))] = str(rng.choice(names))


CHANGES = (other_operator, other_attribute, other_tensor, other_edge)


def mutants(count, seed):
    rng, original = np.random.default_rng(seed), onnx.load_from_string(hostile_onnx.good())
    for _ in range(count):
        model = onnx.ModelProto()
        model.CopyFrom(original)
        for _ in range(rng.integers(1, 3)):
            CHANGES[rng.integers(len(CHANGES))](model.graph, rng)
        yield model.SerializeToString()


def runtimes(onnxruntime, model, x):
    """What ONNX Runtime computes; None where it does not take the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(model, options).run(None, {"image": x})
    except Exception:  # it has classes of its own for each reason
        return None


@pytest.mark.parametrize(
    ("count", "seed"), [(300, 1), pytest.param(3000, 2, marks=pytest.mark.slow)]
)
def test_mutants_are_refused_or_run_right(onnxruntime, count, seed):
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    compared = refused = 0
    for model in mutants(count, seed):
        try:
            results = rvcnn.onnx.load(model).run(x)
        except RvcnnError as error:
            assert "\n" not in str(error)
            refused += 1
            continue
        for got, want in zip(results, runtimes(onnxruntime, model, x) or (), strict=False):
            compared += 1
            largest = np.abs(want[np.isfinite(want)]).max(initial=1.0)
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * largest)
    assert min(compared, refused) >= 5
