"""Operators against ONNX Runtime and PyTorch where the ONNX project's own tests are few.

Inputs are random; bounds are shares of the largest value that is wanted.
"""

import tracemalloc

import numpy as np
import pytest

from rvcnn.errors import ShapeError
from rvcnn.onnx.operators import OPERATORS

SEED = np.random.default_rng


def normal(seed, *shape):
    return SEED(seed).standard_normal(shape).astype(np.float32)


def by_onnx_runtime(onnxruntime, op, inputs, attributes, outputs=1, opset=17):
    """Results of a network of one node."""
    from onnx import TensorProto, helper

    names = [f"x{i}" if x is not None else "" for i, x in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    given = {n: x for n, x in zip(names, inputs, strict=True) if n}
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
            for n, x in given.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in results],
    )
    for value in graph.output:
        value.ClearField("type")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


def assert_same(op, inputs, attributes, wanted, opset=17, share=1e-5):
    got = OPERATORS[op].run(attributes, opset, *inputs, outputs=len(wanted))
    assert len(got) == len(wanted)
    for g, w in zip(got, wanted, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        assert np.abs(w).max() > 0
        np.testing.assert_allclose(g, w, rtol=0, atol=share * np.abs(w).max())


def against_onnx_runtime(onnxruntime, op, inputs, attributes, outputs=1, opset=17, share=1e-5):
    wanted = by_onnx_runtime(onnxruntime, op, inputs, attributes, outputs, opset)
    assert_same(op, inputs, attributes, wanted, opset, share)


CONVOLUTIONS = [
    ((2, 6, 11), (8, 3, 3), dict(group=2, pads=[2, 0], strides=[2])),
    ((1, 4, 23), (4, 1, 5), dict(group=4, strides=[3], auto_pad="SAME_LOWER")),
    ((1, 3, 17, 13), (5, 3, 3, 3), dict(pads=[1, 0, 2, 3], strides=[2, 3])),
    ((2, 8, 9, 10), (8, 1, 3, 3), dict(group=8, pads=[1, 1, 1, 1])),
    ((1, 8, 12, 9), (16, 2, 2, 5), dict(group=4, strides=[2, 1], auto_pad="SAME_UPPER")),
    ((1, 16, 20, 20), (16, 16, 3, 3), dict(pads=[1, 1, 1, 1])),
    ((1, 4, 5, 6, 7), (6, 2, 2, 3, 3), dict(group=2, pads=[0, 1, 2, 1, 0, 2])),
    ((1, 2, 7, 6, 5), (3, 2, 3, 2, 1), dict(strides=[2, 1, 2], dilations=[2, 1, 3])),
]


@pytest.mark.parametrize("x, weights, attributes", CONVOLUTIONS)
@pytest.mark.parametrize("biased", [False, True])
def test_conv(onnxruntime, x, weights, attributes, biased):
    inputs = [normal(0, *x), normal(1, *weights)] + [normal(2, weights[0])] * biased
    against_onnx_runtime(onnxruntime, "Conv", inputs, attributes)


@pytest.mark.parametrize(
    "x, weights, attributes", [case for case in CONVOLUTIONS if "auto_pad" not in case[2]]
)
def test_conv_float64(torch, x, weights, attributes):
    """Against PyTorch, which knows no padding by name with strides."""
    x, weights = normal(0, *x).astype(np.float64), normal(1, *weights).astype(np.float64)
    dims = x.ndim - 2
    pads = attributes.get("pads", [0] * 2 * dims)
    sides = [p for i in reversed(range(dims)) for p in (pads[i], pads[dims + i])]
    conv = getattr(torch.nn.functional, f"conv{dims}d")
    wanted = conv(
        torch.nn.functional.pad(torch.from_numpy(x), sides),
        torch.from_numpy(weights),
        stride=attributes.get("strides", 1),
        dilation=attributes.get("dilations", 1),
        groups=attributes.get("group", 1),
    )
    assert_same("Conv", [x, weights], attributes, [wanted.numpy()], share=1e-13)


@pytest.mark.parametrize(
    "x, weights, attributes",
    [
        ((2, 4, 9), (4, 3, 4), dict(strides=[3], pads=[1, 2], output_padding=[2])),
        ((1, 6, 5, 7), (6, 2, 2, 2), dict(group=3, strides=[2, 2])),
        ((1, 3, 6, 5), (3, 4, 3, 4), dict(pads=[1, 2, 0, 1], dilations=[2, 1])),
        ((1, 3, 6, 5), (3, 4, 3, 3), dict(strides=[2, 3], auto_pad="SAME_UPPER")),
        ((1, 3, 6, 5), (3, 4, 3, 3), dict(strides=[2, 2], output_shape=[13, 10])),
        ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), dict(strides=[2, 1, 2], pads=[0, 1, 0, 1, 1, 0])),
    ],
)
def test_conv_transpose(onnxruntime, x, weights, attributes):
    channels = weights[1] * attributes.get("group", 1)
    inputs = [normal(0, *x), normal(1, *weights), normal(2, channels)]
    against_onnx_runtime(onnxruntime, "ConvTranspose", inputs, attributes)


POOLS = [
    ((2, 3, 14), dict(kernel_shape=[4], strides=[3], pads=[1, 2])),
    ((1, 5, 13, 11), dict(kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])),
    ((1, 5, 13, 12), dict(kernel_shape=[3, 5], strides=[2, 3], auto_pad="SAME_LOWER")),
    ((1, 5, 13, 12), dict(kernel_shape=[3, 3], dilations=[2, 3], strides=[1, 2])),
    ((1, 2, 6, 7, 8), dict(kernel_shape=[2, 3, 2], strides=[2, 2, 1], pads=[1, 1, 0] * 2)),
]
# ONNX Runtime rounds the number of windows of LpPool down.
ROUNDED_UP = [((1, 5, 13, 12), dict(kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1))]


@pytest.mark.parametrize("x, attributes", POOLS + ROUNDED_UP)
@pytest.mark.parametrize(
    "op, more",
    [("MaxPool", {}), ("AveragePool", {}), ("AveragePool", dict(count_include_pad=1))],
)
def test_pool(onnxruntime, op, more, x, attributes):
    against_onnx_runtime(onnxruntime, op, [normal(0, *x)], attributes | more, opset=19)


@pytest.mark.parametrize("x, attributes", POOLS)
def test_lp_pool(onnxruntime, x, attributes):
    against_onnx_runtime(onnxruntime, "LpPool", [normal(0, *x)], dict(attributes, p=3), opset=18)


@pytest.mark.parametrize("storage_order", [0, 1])
def test_max_pool_places(onnxruntime, storage_order):
    attributes = dict(
        kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], storage_order=storage_order
    )
    against_onnx_runtime(onnxruntime, "MaxPool", [normal(0, 2, 3, 8, 7)], attributes, outputs=2)


SIZES = [
    ((1, 2, 7, 6), (1, 2, 12, 17)),
    ((1, 2, 12, 17), (1, 2, 7, 6)),
    ((1, 1, 5, 9), (1, 1, 9, 4)),
]


@pytest.mark.parametrize("before, after", SIZES)
@pytest.mark.parametrize(
    "place", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
)
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(onnxruntime, before, after, place, mode):
    inputs = [normal(0, *before), None, None, np.array(after)]
    attributes = dict(mode=mode, coordinate_transformation_mode=place)
    against_onnx_runtime(onnxruntime, "Resize", inputs, attributes)
    if mode == "nearest":
        for rounding in ("round_prefer_ceil", "floor", "ceil"):
            against_onnx_runtime(
                onnxruntime, "Resize", inputs, {**attributes, "nearest_mode": rounding}
            )
    if mode == "cubic":
        attributes["exclude_outside"] = 1
        against_onnx_runtime(onnxruntime, "Resize", inputs, attributes)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resize_antialias(torch, mode):
    """PyTorch leaves out what lies beyond the border."""
    x = normal(0, 1, 2, 31, 40)
    sizes = np.array([1, 2, 11, 13])
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(x), size=(11, 13), mode=mode, antialias=True
    ).numpy()
    (got,) = OPERATORS["Resize"].run(
        dict(
            mode={"bilinear": "linear", "bicubic": "cubic"}[mode],
            antialias=1,
            cubic_coeff_a=-0.5,
            exclude_outside=1,
        ),
        18,
        x,
        None,
        None,
        sizes,
    )
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align_corners", [0, 1])
def test_grid_sample(torch, mode, padding_mode, align_corners):
    x, grid = normal(0, 2, 3, 5, 6), normal(1, 2, 7, 4, 2) * 1.2
    wanted = torch.nn.functional.grid_sample(
        torch.from_numpy(x),
        torch.from_numpy(grid),
        mode=mode,
        padding_mode=padding_mode,
        align_corners=bool(align_corners),
    )
    attributes = dict(mode=mode, padding_mode=padding_mode, align_corners=align_corners)
    assert_same("GridSample", [x, grid], attributes, [wanted.numpy()], opset=16)


@pytest.mark.parametrize("mode", ["linear", "nearest"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_grid_sample_of_volumes(torch, mode, padding_mode):
    x, grid = normal(0, 1, 2, 4, 5, 6), normal(1, 1, 3, 4, 5, 3)
    wanted = torch.nn.functional.grid_sample(
        torch.from_numpy(x),
        torch.from_numpy(grid),
        mode={"linear": "bilinear"}.get(mode, mode),
        padding_mode=padding_mode,
        align_corners=False,
    )
    attributes = dict(mode=mode, padding_mode=padding_mode)
    assert_same("GridSample", [x, grid], attributes, [wanted.numpy()], opset=20)


@pytest.mark.parametrize("way", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("scale", [0.7, 1.1, 2.3, 1 / 3, 1.7, 0.1])
def test_scales_that_float32_rounds(onnxruntime, way, mode, scale):
    """Sizes that are whole, and places halfway between pixels, by ONNX Runtime's rounding."""
    scales = np.array([1, 1, scale, scale], np.float32)
    for height, width in ((20, 10), (15, 30), (18, 23)):
        inputs = [normal(0, 1, 2, height, width), None, scales]
        attributes = dict(mode=mode, coordinate_transformation_mode=way)
        against_onnx_runtime(onnxruntime, "Resize", inputs, attributes)


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    "op, attributes",
    [
        ("RNN", dict(clip=0.7)),
        ("GRU", dict(linear_before_reset=0)),
        ("GRU", dict(linear_before_reset=1)),
        ("LSTM", dict()),
        ("LSTM", dict(peepholes=True)),
        ("LSTM", dict(input_forget=1, clip=1.5)),
    ],
)
@pytest.mark.parametrize("ragged", [False, True])
def test_recurrent(onnxruntime, op, attributes, direction, ragged):
    length, batch, size, hidden, gates = 5, 3, 4, 6, GATES[op]
    d = 2 if direction == "bidirectional" else 1
    inputs = [
        normal(0, length, batch, size),
        normal(1, d, gates * hidden, size),
        normal(2, d, gates * hidden, hidden),
        normal(3, d, 2 * gates * hidden),
        np.array([3, 5, 1], np.int32) if ragged else None,
        normal(4, d, batch, hidden),
    ]
    attributes = dict(attributes, direction=direction, hidden_size=hidden)
    if op == "LSTM":
        inputs.append(normal(5, d, batch, hidden))
    if attributes.pop("peepholes", False):
        inputs.append(normal(6, d, 3 * hidden))
    outputs = 3 if op == "LSTM" else 2
    against_onnx_runtime(onnxruntime, op, inputs, attributes, outputs)


@pytest.mark.parametrize("op", ["GRU", "LSTM"])
def test_recurrent_activations(onnxruntime, op):
    hidden, gates = 3, GATES[op]
    inputs = [
        normal(0, 4, 2, 5),
        normal(1, 1, gates * hidden, 5),
        normal(2, 1, gates * hidden, hidden),
    ]
    names = ["HardSigmoid", "LeakyRelu", "ScaledTanh"][: 3 if op == "LSTM" else 2]
    attributes = dict(
        hidden_size=hidden,
        activations=names,
        activation_alpha=[0.3, 0.2, 0.8][: len(names)],
        activation_beta=[0.4, 0.7][: len(names) - 1],
    )
    if op == "GRU":
        attributes["activation_beta"] = [0.4]
    against_onnx_runtime(onnxruntime, op, inputs, attributes, 3 if op == "LSTM" else 2)


@pytest.mark.parametrize("rows, hidden", [(1 << 20, 1), (7, 2), (4, 0)])
def test_recurrent_weights_of_no_gates_are_not_packed(rows, hidden):
    """Padding one unit of very many gates would take 16 times a file's size."""
    shapes = {"w": (1, rows, 1), "r": (1, rows, hidden), "b": (1, 2 * rows)}
    constants = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    tracemalloc.start()
    assert OPERATORS["LSTM"].packed(["x", *constants], constants) is None
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    with pytest.raises(ShapeError, match="LSTM"):
        OPERATORS["LSTM"].run({}, 14, np.ones((2, 1, 1), np.float32), *constants.values())


@pytest.mark.parametrize("op, attributes", [("GRU", {"linear_before_reset": 1}), ("LSTM", {})])
@pytest.mark.parametrize("clip", [None, 10.0])
@pytest.mark.parametrize(
    "place, wrong",
    [
        (3, np.ones((2, 7), np.float32)),
        (4, np.array([5, 6, 1], np.int32)),
        (4, np.array([5, -1, 1], np.int32)),
        (4, np.array([5, 5], np.int32)),
        (5, np.ones((1, 3, 6), np.float32)),
    ],
)
def test_recurrent_arrays_that_do_not_fit_are_refused(op, attributes, clip, place, wrong):
    """Lengths beyond the input among them, which kernels would follow."""
    shapes = (5, 3, 4), (2, GATES[op] * 6, 4), (2, GATES[op] * 6, 6)
    inputs = [*(normal(i, *shape) for i, shape in enumerate(shapes)), None, None, None]
    attributes = dict(attributes, direction="bidirectional", hidden_size=6)
    if clip:
        attributes["clip"] = clip
    OPERATORS[op].run(attributes, 14, *inputs)
    inputs[place] = wrong
    with pytest.raises(ShapeError, match="fit"):
        OPERATORS[op].run(attributes, 14, *inputs)


def test_qlinear_conv(onnxruntime):
    random = SEED(0)
    inputs = [
        random.integers(0, 256, (1, 6, 9, 8)).astype(np.uint8),
        np.float32(0.02),
        np.uint8(117),
        random.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        random.uniform(0.01, 0.03, 4).astype(np.float32),
        np.zeros(4, np.int8),
        np.float32(0.31),
        np.uint8(91),
        random.integers(-999, 999, 4).astype(np.int32),
    ]
    inputs = [np.asarray(x) for x in inputs]
    attributes = dict(group=2, pads=[1, 2, 0, 1], strides=[2, 1])
    (wanted,) = by_onnx_runtime(onnxruntime, "QLinearConv", inputs, attributes)
    (got,) = OPERATORS["QLinearConv"].run(attributes, 17, *inputs)
    assert got.dtype == wanted.dtype and 20 < np.ptp(wanted)
    # A tie may be rounded the other way where the factor is rounded otherwise.
    assert np.abs(got.astype(int) - wanted).max() <= 1 and (got != wanted).mean() < 0.01


def boxes(seed, count):
    corners = SEED(seed).uniform(0, 1, (2, count, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(2), corners.max(2)], -1)


@pytest.mark.parametrize("center_point_box", [0, 1])
def test_non_max_suppression(onnxruntime, center_point_box):
    inputs = [
        boxes(0, 60),
        SEED(1).uniform(0, 1, (2, 3, 60)).astype(np.float32),
        np.array([20]),
        np.array([0.05], np.float32),
        np.array([0.25], np.float32),
    ]
    attributes = dict(center_point_box=center_point_box)
    (wanted,) = by_onnx_runtime(onnxruntime, "NonMaxSuppression", inputs, attributes)
    (got,) = OPERATORS["NonMaxSuppression"].run(attributes, 11, *inputs)
    assert 12 < len(wanted) < 120
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_before_operator_set_13(onnxruntime, op):
    """Over all dimensions from the axis on, by default from the second on."""
    x = normal(0, 3, 4, 5)
    for attributes in ({}, {"axis": 2}, {"axis": 0}):
        against_onnx_runtime(onnxruntime, op, [x], attributes, opset=11)
        against_onnx_runtime(onnxruntime, op, [x], attributes, opset=13)


def test_resize_and_upsample_of_old_operator_sets(onnxruntime):
    x, scales = normal(0, 1, 2, 5, 4), np.array([1, 1, 2.4, 3], np.float32)
    for mode in ("nearest", "linear"):
        against_onnx_runtime(onnxruntime, "Resize", [x, scales], dict(mode=mode), opset=10)
        against_onnx_runtime(onnxruntime, "Upsample", [x, scales], dict(mode=mode), opset=9)
        got = OPERATORS["Upsample"].run(dict(mode=mode, scales=tuple(scales)), 7, x)
        want = OPERATORS["Upsample"].run(dict(mode=mode), 9, x, scales)
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("op", ["Erf", "Gelu", "Softplus", "Mish"])
def test_curves_of_large_arrays(torch, op):
    """In pieces or at once, in any layout, at every size of value; NaN and infinities stay."""
    functions = torch.nn.functional
    curves = {"Erf": torch.erf, "Gelu": functions.gelu}
    curves |= {"Softplus": functions.softplus, "Mish": functions.mish}
    x = np.geomspace(1e-20, 200, 60_007).astype(np.float32)
    x = np.stack([x, -x, np.roll(x, 7)], 1).T[::2]
    x[0, ::9973] = np.nan, np.inf, -np.inf, 0, -0.0, 89, -104
    want = curves[op](torch.from_numpy(x.astype(np.float64))).numpy()
    (got,) = OPERATORS[op].run({}, 20, x)
    assert got.dtype == np.float32 and got.shape == x.shape
    assert np.array_equal(np.isnan(got), np.isnan(want))
    ends = np.isfinite(want)
    np.testing.assert_array_equal(got[~ends], want[~ends])
    near = 8 * np.finfo(np.float32).eps * np.maximum(1, np.abs(want))
    assert (np.abs(got[ends] - want[ends]) <= near[ends]).all()
