"""Networks of QuantizeLinear and DequantizeLinear, or of QLinear operators, run on bytes."""

import numpy as np
import pytest
from hostile_onnx import model, node, tensor

import rvcnn
from rvcnn.onnx.model import to_model
from rvcnn.onnx.read import read as read_file
from rvcnn.weights.contents import Refusal

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare

RNG = np.random.default_rng(11)
IMAGE = ("image", 1, ["n", 6, "h", "w"])
SIZE = (2, 6, 9, 11)
TYPES = [np.uint8, np.int8]
STEP = {"g": 1 / 255, "x": 0.03, "c": 0.09, "d": 0.05, "y": 0.07}
ZERO = {"g": 0, "x": 117, "c": 3, "d": 130, "y": 120}


def weights(*shape):
    return RNG.integers(-127, 128, shape, dtype=np.int8)


TENSORS = {
    "w": weights(8, 6, 3, 3),
    "w_scale": np.linspace(0.001, 0.003, 8, dtype=np.float32),
    "w_zero": np.zeros(8, np.int8),
    "one_scale": np.float32(0.002),
    "one_zero": np.int8(0),
    "uneven": RNG.integers(0, 256, (8, 6, 3, 3), dtype=np.uint8),
    "uneven_zero": np.uint8(117),
    "shifted_zero": np.uint8(128),
    "b": RNG.integers(-3000, 3000, 8, dtype=np.int32),
    "b_scale": np.float32(STEP["x"]) * np.linspace(0.001, 0.003, 8, dtype=np.float32),
    "b_zero": np.zeros(8, np.int32),
    "float_bias": np.float32(RNG.uniform(-0.3, 0.3, 8)),
    "w_depthwise": weights(8, 1, 3, 3),
    "depthwise_scale": np.linspace(0.002, 0.006, 8, dtype=np.float32),
    "w_narrow": weights(8, 8, 1, 1),
    "dense": weights(5, 8),
    "dense_scale": np.linspace(0.01, 0.03, 5, dtype=np.float32),
    "dense_zero": np.zeros(5, np.int8),
    "flat": weights(8 * 9 * 11, 4),
    "flat_scale": np.float32(0.0007),
    "square": weights(8, 8),
    "pixels": np.array([2, 3]),
    "slope": np.float32(0.2),
    "zero": np.float32(0),
    "six": np.float32(6),
}


WIDE = {np.uint16: 30000, np.int16: -500}
"""Zero points of types wider than a byte."""


def numbers(dtype):
    """Scales and zero points of the maps, as tensors by name."""
    half = 128 if dtype is np.int8 else 0
    if dtype in WIDE:
        return {
            **{f"{name}_step": np.float32(step / 200) for name, step in STEP.items()},
            **{f"{name}_at": dtype(WIDE[dtype]) for name in ZERO},
        }
    return {
        **{f"{name}_step": np.float32(step) for name, step in STEP.items()},
        **{f"{name}_at": dtype(zero - half) for name, zero in ZERO.items()},
    }


def held(source, name, result=None):
    """Nodes that make bytes of a value, and real values of these."""
    return [
        node("QuantizeLinear", f"{source} {name}_step {name}_at", f"{name}_bytes"),
        read(name, result or name),
    ]


def read(name, result):
    return node("DequantizeLinear", f"{name}_bytes {name}_step {name}_at", result)


def constant(name, scale, zero, axis=0):
    return node("DequantizeLinear", f"{name} {scale} {zero}", f"{name}_real", axis=axis)


START = [
    *held("image", "x"),
    constant("w", "w_scale", "w_zero"),
    constant("b", "b_scale", "b_zero"),
    node("Conv", "x w_real b_real", "f", pads=[1, 1, 1, 1]),
]
"""A convolution of bytes whose result is real."""


def session_of(nodes, dtype=np.uint8, outputs=("y",), types=(1,), opset=17):
    """The file of some nodes, and what runs it here."""
    used = {name for n in nodes for name in n.input} - {name for n in nodes for name in n.output}
    known = TENSORS | numbers(dtype)
    tensors = [tensor(name, known[name]) for name in sorted(used & known.keys())]
    made = onnx.load_from_string(model(nodes, tensors, [IMAGE], list(outputs), [("", opset)]))
    for value, kind in zip(made.graph.output, types, strict=True):
        value.type.tensor_type.elem_type = kind
    return made, rvcnn.onnx.load(made)


def runs(session, x):
    """Operators of the plans' steps, and those of nodes on arrays."""
    program = session.program(x)
    steps = [step.node.op for plan in program.plans for step in plan.steps if step.node]
    return [type(op).__name__ for op in steps], [n.op for n in program.nodes]


def image(size=SIZE):
    return np.float32(RNG.normal(0, 1.2, size))


def assert_steps_apart(got, want, step, share=0.01):
    """No further than one step apart, and few of the values so far."""
    apart = np.abs(np.float64(got) - np.float64(want)) / step
    assert apart.max() < 1.001
    assert (apart > 0.5).mean() <= share


def check(onnxruntime, nodes, step, dtype=np.uint8, steps=None, **options):
    """Compare with ONNX Runtime, which computes with integers too, and with what runs.

    Results may be ``step`` apart: one of the last map's steps, two where what is rounded the other
    way in a map before comes on top.
    """
    made, session = session_of(nodes, dtype, **options)
    x = image()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(
        made.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    for got, want in zip(session.run(x), runtime.run(None, {"image": x}), strict=True):
        assert got.shape == want.shape and got.dtype == want.dtype
        assert len(np.unique(got)) > 5
        assert_steps_apart(got, want, step)
    if steps is not None:
        assert runs(session, x) == (steps, [])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["int32", "float", "none"])
def test_a_convolution_is_exact_sums(dtype, kind):
    """Bytes that follow from int64 sums and one rounding in float64, but for near halves."""
    bias = {"int32": " b_real", "float": " float_bias", "none": ""}[kind]
    conv = node("Conv", f"x w_real{bias}", "f", pads=[0, 1, 2, 1], strides=[2, 1])
    nodes = [*START[:3], *[START[3]] * (kind == "int32"), conv, held("f", "y")[0]]
    number = {np.uint8: 2, np.int8: 3}[dtype]
    _, session = session_of(nodes, dtype, ("y_bytes",), (number,))
    x = image()
    (got,) = session.run(x)
    assert got.dtype == dtype
    assert runs(session, x) == (["Quantize", "QuantizedConv2d"], [])
    t = TENSORS
    low, high = (0, 255) if dtype is np.uint8 else (-128, 127)
    x_zero, y_zero = (int(numbers(dtype)[name]) for name in ("x_at", "y_at"))
    q = np.clip(np.rint(x / np.float32(STEP["x"])) + x_zero, low, high).astype(np.int64) - x_zero
    padded = np.pad(q, ((0, 0), (0, 0), (0, 2), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2]
    sums = np.einsum("nchwij,ocij->nohw", windows, t["w"].astype(np.int64)).astype(np.float64)
    unit = np.float64(np.float32(STEP["x"])) * np.float64(t["w_scale"])
    add = {"int32": t["b"] * unit, "float": np.float64(t["float_bias"]), "none": np.zeros(8)}
    real = sums * unit.reshape(-1, 1, 1) + add[kind].reshape(-1, 1, 1)
    steps = real / np.float64(np.float32(STEP["y"]))
    want = np.clip(np.rint(steps) + y_zero, low, high)
    apart = np.abs(got - want)
    # A bias is rounded to whole steps of the sums; a float32 holds 24 bits of either.
    near = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < 0.5 * unit.max() / STEP["y"] + 1e-4
    assert apart.max() <= 1 and near.mean() < 0.02
    assert not apart[~near].any()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", ["Relu", "none", "relu6", "after bytes"])
def test_activations(onnxruntime, dtype, name):
    between = {
        "Relu": [node("Relu", "f", "r"), *held("r", "y")],
        "relu6": [node("Clip", "f zero six", "r"), *held("r", "y")],
        "none": held("f", "y"),
        "after bytes": [*held("f", "d"), node("Relu", "d", "r"), *held("r", "y")],
    }[name]
    steps = ["Quantize", "QuantizedConv2d", *["Lookup"] * (name == "after bytes"), "Dequantize"]
    check(onnxruntime, [*START, *between], STEP["y"], dtype, steps)


HARD_SWISH = [node("HardSigmoid", "c", "g", alpha=1 / 6)]
CURVES = {
    "HardSwish": [node("HardSwish", "c", "e")],
    "LeakyRelu": [node("LeakyRelu", "c", "e", alpha=0.3)],
    "PRelu": [node("PRelu", "c slope", "e")],
    "hard_swish in bytes": [*HARD_SWISH, *held("g", "d", "gate"), node("Mul", "c gate", "e")],
    "silu in bytes": [
        *(node("Sigmoid", "c", "g"), *held("g", "d", "gate"), node("Mul", "c gate", "e")),
    ],
}


@pytest.mark.parametrize("name", CURVES)
def test_functions_of_bytes_are_tables(onnxruntime, name):
    nodes = [*START, *held("f", "c"), *CURVES[name], *held("e", "y")]
    steps = ["Quantize", "QuantizedConv2d", "Lookup", "Dequantize"]
    check(onnxruntime, nodes, STEP["y"], steps=steps)


@pytest.mark.parametrize("dtype", TYPES)
def test_residual_blocks(onnxruntime, dtype):
    nodes = [
        *(*START, *held("f", "c"), constant("w_depthwise", "depthwise_scale", "w_zero")),
        node("Conv", "c w_depthwise_real", "g", pads=[1, 1, 1, 1], group=8),
        *(*held("g", "d"), node("Add", "c d", "s"), node("Relu", "s", "r"), *held("r", "y")),
    ]
    steps = ["Quantize", "QuantizedConv2d", "QuantizedConv2d", "QuantizedAdd", "Dequantize"]
    check(onnxruntime, nodes, 2 * STEP["y"], dtype, steps)


def test_pooling_and_concatenation(onnxruntime):
    pool = dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0], ceil_mode=1)
    nodes = [
        *(*START, *held("f", "c"), node("MaxPool", "c", "p", **pool), *held("p", "d")),
        *(node("Concat", "d d", "e", axis=1), *held("e", "y")),
    ]
    steps = ["Quantize", "QuantizedConv2d", "QuantizedMaxPool", "Lookup", "QuantizedConcat"]
    check(onnxruntime, nodes, 2 * STEP["y"], steps=[*steps, "Dequantize"])


@pytest.mark.parametrize("dtype", TYPES)
def test_squeeze_excite(onnxruntime, dtype):
    nodes = [
        *(*START, *held("f", "c"), node("GlobalAveragePool", "c", "p"), *held("p", "x2", "x3")),
        constant("w_narrow", "one_scale", "one_zero"),
        *(node("Conv", "x3 w_narrow_real", "e"), node("HardSigmoid", "e", "h", alpha=1 / 6)),
        *(*held("h", "d"), node("Mul", "c d", "m"), *held("m", "y")),
    ]
    for n in nodes:  # a second map in steps of x
        for names in (n.input, n.output):
            names[:] = [s.replace("x2_step", "x_step").replace("x2_at", "x_at") for s in names]
    check(onnxruntime, nodes, 2 * STEP["y"], dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
def test_products(onnxruntime, dtype, kind):
    start = [*START, *held("f", "c")]
    if kind == "Gemm":
        nodes = [
            *(
                *start,
                node("GlobalAveragePool", "c", "p"),
                *held("p", "d"),
                node("Flatten", "d", "e"),
            ),
            constant("dense", "dense_scale", "dense_zero"),
            *(node("Gemm", "e dense_real", "g", transB=1), *held("g", "y")),
        ]
    else:
        nodes = [
            *(*start, node("Flatten", "c", "e"), constant("flat", "flat_scale", "one_zero")),
            *(node("MatMul", "e flat_real", "g"), *held("g", "y")),
        ]
    made, session = session_of(nodes, dtype)
    assert runs(session, image())[0].count("QuantizedConv2d") == 2
    check(onnxruntime, nodes, 2 * STEP["y"], dtype)


@pytest.mark.parametrize("zero", ["shifted_zero", "uneven_zero"])
def test_weights_of_other_zeros(onnxruntime, zero):
    """Those that fit a byte are taken as they are, others as real values."""
    nodes = [
        *(*START[:2], constant("uneven", "one_scale", zero)),
        *(node("Conv", "x uneven_real", "f"), *held("f", "y")),
    ]
    _, session = session_of(nodes)
    steps, apart = runs(session, image())
    assert apart == [] and ("QuantizedConv2d" in steps) == (zero == "shifted_zero")
    check(onnxruntime, nodes, STEP["y"])


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bias", [" b", ""])
def test_operators_from_bytes_to_bytes(onnxruntime, dtype, bias):
    first = "x_bytes x_step x_at w w_scale w_zero y_step y_at" + bias
    second = "y_bytes y_step y_at flat flat_scale one_zero d_step d_at"
    flat = {"pads": [1, 1, 1, 1]}
    nodes = [
        *(START[0], node("QLinearConv", first, "y_bytes", **flat)),
        *(node("MaxPool", "y_bytes", "p", kernel_shape=[1, 1]), node("Flatten", "p", "e")),
        *(node("QLinearMatMul", second.replace("y_bytes", "e"), "d_bytes"), read("d", "y")),
    ]
    steps = ["Quantize", "QuantizedConv2d", "QuantizedMaxPool", "QuantizedConv2d", "Dequantize"]
    check(onnxruntime, nodes, 2 * STEP["d"], dtype, steps)


@pytest.mark.parametrize("dtype", TYPES)
def test_parts_that_begin_and_end_with_bytes(dtype):
    """Nodes that run on arrays between them change no number."""
    number, x = {np.uint8: 2, np.int8: 3}[dtype], image()
    between = [
        node("Cast", "c_bytes", "whole", to=onnx.TensorProto.INT32),
        node("Cast", "whole", "again", to=number),
    ]
    start, results = [*START, held("f", "c")[0]], []
    for more, source in (([], "c_bytes"), (between, "again")):
        inputs = f"{source} c_step c_at w_narrow one_scale one_zero y_step y_at"
        last = node("QLinearConv", inputs, "y_bytes", pads=[0, 1, 0, 1])
        outputs, numbers = ("y_bytes", "c_bytes"), (number, number)
        _, session = session_of([*start, *more, last], dtype, outputs, numbers)
        results.append(session.run(x))
        assert runs(session, x)[1] == ["Cast"] * len(more)
    for got, want in zip(*results, strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", WIDE)
def test_wider_integers_run_as_real_values(onnxruntime, dtype):
    """On the plan, rounded as the file says; what reads the integers themselves runs on arrays."""
    nodes = [
        *(held("image", "x")[0], node("Flatten", "x_bytes", "flat_bytes")),
        node("DequantizeLinear", "flat_bytes x_step x_at", "e"),
        *(*held("image", "x")[1:], constant("w", "w_scale", "w_zero")),
        *(node("Conv", "x w_real", "f"), node("Relu", "f", "r"), *held("r", "y")),
    ]
    made, session = session_of(nodes, dtype, ("y", "e"), (1, 1), opset=21)
    x = image()
    assert runs(session, x) == (["RoundSteps", "Conv2d", "RoundSteps"], [])
    check(onnxruntime, nodes, STEP["y"] / 200, dtype, outputs=("y", "e"), types=(1, 1), opset=21)
    kind = {np.uint16: 4, np.int16: 5}[dtype]
    _, session = session_of(nodes, dtype, ("y_bytes",), (kind,), opset=21)
    (got,) = session.run(x)
    assert got.dtype == dtype and len(np.unique(got)) > 50


def test_a_quantised_network_is_no_model():
    """Its numbers are not those of a weights file; the message says how to run it."""
    nodes = [*START, *held("f", "c"), node("GlobalAveragePool", "c", "y")]
    made, _ = session_of(nodes)
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    made.graph.initializer[[t.name for t in made.graph.initializer].index("w")].CopyFrom(
        tensor("w", TENSORS["w"][:, :3])
    )
    with pytest.raises(Refusal, match=r"its layers are quantised.*rvcnn\.onnx\.load"):
        to_model(read_file(made))


LONG = {
    "few channels": (6, 8, 1, (3, 3)),
    "sums beyond 24 bits": (700, 4, 1, (2, 1)),
    "in groups": (6, 8, 2, (3, 3)),
    "channel by channel": (8, 8, 8, (3, 3)),
}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("name", LONG)
def test_convolutions_to_integers(dtype, name):
    """Equal to int64 sums, by weights that are constant, and the same by weights that are not."""
    channels, outputs, groups, kernel = LONG[name]
    x = RNG.integers(200, 256, (2, channels, 5, 6)).astype(np.uint8).astype(dtype)
    w = RNG.integers(60, 128, (outputs, channels // groups, *kernel), dtype=np.int8)
    zero, w_zero = dtype(-7 if dtype is np.int8 else 2), np.int8(-1)
    conv = node("ConvInteger", "x w xz wz", group=groups, pads=[1, 0, 0, 2], strides=[1, 2])
    kinds = {np.uint8: 2, np.int8: 3}
    tensors = [tensor("w", w), tensor("xz", zero), tensor("wz", w_zero)]
    given = ("x", kinds[dtype], [None, channels, None, None])
    fixed = rvcnn.onnx.load(model([conv], tensors, [given]))
    free = rvcnn.onnx.load(model([conv], tensors[1:], [given, ("w", 3, list(w.shape))]))
    padded = np.pad(np.int64(x) - int(zero), ((0, 0), (0, 0), (1, 0), (0, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, (2, 3))[:, :, :, ::2]
    windows = windows.reshape(2, groups, -1, *windows.shape[2:])
    filters = (np.int64(w) + 1).reshape(groups, -1, *w.shape[1:])
    want = np.einsum("ngchwij,gocij->ngohw", windows, filters).reshape(
        2, outputs, *windows.shape[3:5]
    )
    for (got,) in (fixed.run(x), fixed.run(x), free.run(x, w)):
        assert got.dtype == np.int32
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("length", [1, 5, 513, 514, 515, 2000])
def test_products_to_integers(dtype, length):
    a = RNG.integers(230, 256, (2, 3, length)).astype(np.uint8).astype(dtype)
    b, zeros = RNG.integers(90, 127, (length, 9), dtype=np.int8), np.arange(-1, 8, dtype=np.int8)
    kind = {np.uint8: 2, np.int8: 3}[dtype]
    tensors = [tensor("b", b), tensor("az", dtype(3)), tensor("bz", zeros)]
    product = node("MatMulInteger", "a b az bz")
    session = rvcnn.onnx.load(model([product], tensors, [("a", kind, [2, 3, length])]))
    want = (np.int64(a) - 3) @ (np.int64(b) - zeros)
    np.testing.assert_array_equal(session.run(a)[0], want)


def test_a_gate_of_vectors(onnxruntime):
    """Factors that products make, and that are put in a map's shape after."""
    nodes = [
        *(*START, *held("f", "c"), node("ReduceMean", "c", "p", axes=[2, 3], keepdims=0)),
        *(*held("p", "d"), constant("square", "one_scale", "one_zero", axis=1)),
        *(node("MatMul", "d square_real", "e"), node("Sigmoid", "e", "h"), *held("h", "g")),
        *(node("Unsqueeze", "g pixels", "u"), node("Mul", "c u", "m"), *held("m", "y")),
    ]
    check(onnxruntime, nodes, 2 * STEP["y"])
    _, session = session_of(nodes)
    assert runs(session, image())[1] == []


DYNAMIC = [node("DynamicQuantizeLinear", "image", "q s z")]
TAIL = [node("Relu", "f", "y")]


def scaled(sums, source, turned=False):
    """Sums in their unit, as ONNX Runtime's quantiser writes it, plus a bias."""
    unit = node("Mul", f"s {source}", "u")
    product = node("Mul", "u c" if turned else "c u", "r")
    return [sums, node("Cast", "i", "c", to=1), unit, product, node("Add", "r shift", "f"), *TAIL]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize(
    ("weights", "zero", "scale"),
    [
        ("w", "int8_zero", "one_scale"),
        ("uneven", "uneven_zero", "one_scale"),
        ("w", "int8_zero", "each_scale"),
    ],
)
def test_steps_found_while_it_runs(onnxruntime, monkeypatch, images, turned, weights, zero, scale):
    """A convolution and what follows it are one layer of real values, the sums as exact."""
    known = {"shift": np.float32(RNG.normal(0, 1, (1, 8, 1, 1))), "int8_zero": np.int8(0)}
    known["each_scale"] = np.linspace(0.001, 0.003, 8, dtype=np.float32).reshape(8, 1, 1)
    for name, value in known.items():
        monkeypatch.setitem(TENSORS, name, value)
    sums = node("ConvInteger", f"q {weights} z {zero}", "i", pads=[1, 0, 1, 2], strides=[1, 2])
    made, session = session_of([*DYNAMIC, *scaled(sums, scale, turned)])
    x = image((images, *SIZE[1:]))
    want = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"image": x})[0]
    (got,) = session.run(x)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
    assert runs(session, x) == (["Conv2d"], ["DynamicQuantizeLinear", "DequantizeLinear"])


@pytest.mark.parametrize("scale", ["one_scale", "columns"])
def test_a_product_whose_steps_are_found_while_it_runs(onnxruntime, monkeypatch, scale):
    known = {"shift": np.float32(RNG.normal(0, 1, 8)), "int8_zero": np.int8(0)}
    known["columns"] = np.linspace(0.001, 0.003, 8, dtype=np.float32)
    known["long"] = np.array([-1, 8])
    for name, value in known.items():
        monkeypatch.setitem(TENSORS, name, value)
    flat = [node("Reshape", "image long", "l"), node("DynamicQuantizeLinear", "l", "q s z")]
    nodes = [*flat, *scaled(node("MatMulInteger", "q square z int8_zero", "i"), scale)]
    made, session = session_of(nodes)
    x = image((1, 6, 4, 5))
    want = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"image": x})[0]
    (got,) = session.run(x)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
    assert runs(session, x)[0] == ["Conv2d"]


@pytest.mark.parametrize("other", ["x_scale of another", "a zero point of another", "a vector"])
def test_other_units_stay_sums_of_integers(onnxruntime, monkeypatch, other):
    """Each differs in one place from the pattern, and stays right."""
    monkeypatch.setitem(TENSORS, "shift", np.float32(RNG.normal(0, 1, (1, 8, 1, 1))))
    monkeypatch.setitem(TENSORS, "int8_zero", np.int8(0))
    monkeypatch.setitem(TENSORS, "row", np.linspace(0.1, 0.3, 11, dtype=np.float32))
    sums = node("ConvInteger", "q w z int8_zero", "i", pads=[1] * 4)
    nodes = [*DYNAMIC, *scaled(sums, "row" if other == "a vector" else "one_scale")]
    if other != "a vector":
        nodes.insert(1, node("Neg", "image", "n"))
        nodes.insert(2, node("DynamicQuantizeLinear", "n", "q2 s2 z2"))
        nodes[5 if other.startswith("x_") else 3].input[0 if other.startswith("x_") else 2] = (
            "s2" if other.startswith("x_") else "z2"
        )
    made, session = session_of(nodes)
    x = image()
    want = onnxruntime.InferenceSession(
        made.SerializeToString(), providers=["CPUExecutionProvider"]
    ).run(None, {"image": x})[0]
    (got,) = session.run(x)
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()
    assert "ConvInteger" in runs(session, x)[1]
