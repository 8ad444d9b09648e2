"""Patterns of ONNX nodes become rvcnn's layers: the same fusions, and ONNX Runtime's numbers."""

import numpy as np
import pytest
from hostile_onnx import model, node, tensor
from test_backbones import relative_error

import rvcnn
from rvcnn.errors import ShapeError, UsageError

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare

RNG = np.random.default_rng(7)
SHAPE = ["n", 3, "h", "w"]
IMAGE = ("image", 1, SHAPE)
CLOSE = 1e-5  # of the largest value
CONV = node("Conv", "image w", "c", pads=[1, 1, 1, 1])
NUMBERS = {
    "slope": 0.2,
    "zero": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "six": 6,
    "sixth": 1 / 6,
    "half": 0.5,
}


def randoms(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


TENSORS = {
    **{name: np.float32(value) for name, value in NUMBERS.items()},
    "w": randoms(8, 3, 3, 3),
    "w_depthwise": randoms(8, 1, 3, 3),
    "bias": randoms(8),
    "mean": randoms(8),
    "column": randoms(1, 8, 1, 1),
    "scale": randoms(8),
    "variance": np.abs(randoms(8)) + np.float32(0.5),
    "squeeze": randoms(4, 8, 1, 1),
    "excite": randoms(8, 4, 1, 1),
    "squeeze_matrix": randoms(8, 4),
    "excite_matrix": randoms(4, 8),
    "flat_matrix": randoms(8 * 7 * 9, 5),
    "transposed": randoms(8, 6, 2, 3),
    "six_biases": randoms(6),
    "five_biases": randoms(5),
    "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
    "low": np.float32(-np.inf),
    "pixels": np.array([2, 3]),
    "column_shape": np.array([0, 8, 1, 1]),
    "row_shape": np.array([0, -1]),
    "groups": np.array([0, 2, 4, 7, 9]),
    "together": np.array([0, 8, 7, 9]),
    "halves": np.array([4, 4]),
    "from": np.array([2]),
    "to": np.array([7]),
    "channel_axis": np.array([1]),
    "empty": np.zeros(0, np.float32),
    "twice": np.array([1, 1, 2, 2], np.float32),
    "uneven": np.array([1, 1, 1.7, 2.5], np.float32),
    "fewer": np.array([1, 1, 0.6, 1], np.float32),
    "sizes": np.array([2, 8, 20, 5]),
    "odd_shape": np.array([-1, 2, 63]),
    "odd_back": np.array([2, -1, 4, 7, 9]),
    "first": np.array(0),
    "second": np.array(1),
}


def lowered(
    onnxruntime, nodes, outputs=("y",), opset=17, image=(2, 3, 7, 9), shape=None, known=TENSORS
):
    """What runs for these nodes: operators of the plans' steps, and nodes on arrays.

    Fails unless ONNX Runtime computes the same.
    """
    read = {name for n in nodes for name in n.input} - {name for n in nodes for name in n.output}
    tensors = [tensor(name, value) for name, value in known.items() if name in read]
    made = model(nodes, tensors, [("image", 1, shape or SHAPE)], outputs, [("", opset)])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    x = randoms(*image)
    session = rvcnn.onnx.load(made)
    for got, want in zip(session.run(x), runtime.run(None, {"image": x}), strict=True):
        assert got.shape == want.shape and relative_error(got, want) <= CLOSE
    program = session.program(x)
    steps = [step for plan in program.plans for step in plan.steps if step.node]
    return [_name(step.node.op) for step in steps], [n.op for n in program.nodes]


def _name(op):
    """An operator's name, with what is fused into it."""
    activation = getattr(op, "activation", "identity")
    more = [activation] * (activation != "identity")
    if getattr(op, "residual", False):
        more = ["+", *more] if op.sum_first else [*more, "+"]
    return " ".join([type(op).__name__, *more])


ACTIVATIONS = {
    "relu": [node("Relu", "c")],
    "relu6": [node("Clip", "c zero six")],
    "relu6 as minimum": [node("Relu", "c", "r"), node("Clip", "r low six")],
    "hard_sigmoid": [node("HardSigmoid", "c", alpha=1 / 6)],
    "hard_sigmoid spelt out": [
        *(node("Add", "c three", "a"), node("Clip", "a zero six", "b"), node("Div", "b six")),
    ],
    "hard_swish": [node("HardSwish", "c")],
    "hard_swish of a gate": [node("HardSigmoid", "c", "g", alpha=1 / 6), node("Mul", "g c")],
    "hard_swish, divided at the end": [
        *(node("Add", "c three", "a"), node("Clip", "a zero six", "b")),
        *(node("Mul", "c b", "m"), node("Div", "m six")),
    ],
    "hard_swish, divided before": [
        *(node("Add", "three c", "a"), node("Clip", "a zero six", "b")),
        *(node("Mul", "b sixth", "m"), node("Mul", "m c")),
    ],
    "hard_swish of a half": [
        *(node("Mul", "c sixth", "a"), node("Add", "a half", "b")),
        *(node("Clip", "b zero one", "g"), node("Mul", "c g")),
    ],
    "silu": [node("Sigmoid", "c", "g"), node("Mul", "c g")],
    "sigmoid": [node("Sigmoid", "c")],
    "leaky_relu": [node("LeakyRelu", "c", alpha=0.3)],
    "leaky_relu of one slope": [node("PRelu", "c slope")],
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_fused(onnxruntime, name):
    steps, apart = lowered(onnxruntime, [CONV, *ACTIVATIONS[name]])
    assert (steps, apart) == ([f"Conv2d {name.split()[0].strip(',')}"], [])


@pytest.mark.parametrize("name", ["hard_swish", "hard_swish, divided at the end", "silu"])
def test_an_activation_after_normalisation(onnxruntime, name):
    norm = node("BatchNormalization", "r scale bias mean variance", "c")
    nodes = [node("Conv", "image w", "r", pads=[1, 1, 1, 1]), norm, *ACTIVATIONS[name]]
    steps, apart = lowered(onnxruntime, nodes)
    assert (steps, apart) == ([f"Conv2d {name.split(',')[0]}"], [])


def test_a_curve_with_numbers_of_its_own(onnxruntime):
    steps, apart = lowered(onnxruntime, [CONV, node("HardSigmoid", "c", alpha=0.2)])
    assert (steps, apart) == (["Conv2d", "ClipCurve"], [])
    nodes = [CONV, node("Mul", "c two", "a"), node("Sub", "one a", "b"), node("Clip", "b zero six")]
    assert lowered(onnxruntime, nodes) == (["Conv2d", "ClipCurve"], [])


def test_lines_are_folded_into_the_convolution(onnxruntime):
    nodes = [
        *(CONV, node("Add", "c column", "a"), node("Mul", "column a", "m")),
        *(node("Neg", "m", "n"), node("Sub", "n column", "s"), node("Relu", "s")),
    ]
    assert lowered(onnxruntime, nodes) == (["Conv2d relu"], [])


SQUEEZED = {
    "convolutions": [
        *(node("GlobalAveragePool", "c", "p"), node("Conv", "p squeeze", "q")),
        *(node("Relu", "q", "r"), node("Conv", "r excite", "e")),
    ],
    "products": [
        *(
            node("ReduceMean", "c", "p", axes=[2, 3], keepdims=0),
            node("MatMul", "p squeeze_matrix", "q"),
        ),
        *(
            node("Relu", "q", "r"),
            node("MatMul", "r excite_matrix", "s"),
            node("Reshape", "s column_shape", "e"),
        ),
    ],
}


@pytest.mark.parametrize("name", SQUEEZED)
def test_squeeze_excite(onnxruntime, name):
    gate = [
        *(node("Add", "e three", "a"), node("Clip", "a zero six", "b"), node("Div", "b six", "g")),
        node("Mul", "c g"),
    ]
    steps, apart = lowered(onnxruntime, [CONV, *SQUEEZED[name], *gate])
    wanted = ["Conv2d", "GlobalAvgPool", "Conv2d relu", "Conv2d hard_sigmoid", "ScaleChannels"]
    assert (steps, apart) == (wanted, [])


@pytest.mark.parametrize("kind", ["Conv", "AveragePool"])
def test_padding_by_itself_goes_into_the_layer(onnxruntime, kind):
    last = {
        "Conv": node("Conv", "p w_depthwise", group=8, auto_pad="VALID"),
        "AveragePool": node("AveragePool", "p", kernel_shape=[3, 3], strides=[1, 2]),
    }[kind]
    steps, apart = lowered(onnxruntime, [CONV, node("Pad", "c pads", "p"), last])
    assert (steps, apart) == (["Conv2d", {"Conv": "Conv2d", "AveragePool": "AvgPool"}[kind]], [])


@pytest.mark.parametrize("kind", ["Add", "Sum"])
def test_residual_and_concatenation(onnxruntime, kind):
    nodes = [
        *(CONV, node("Conv", "image w", "d", auto_pad="SAME_UPPER"), node(kind, "c d", "s")),
        *(node("Relu", "s", "r"), node("Concat", "r c", axis=1)),
    ]
    steps, apart = lowered(onnxruntime, nodes)
    assert (sorted(steps), apart) == (["Concat", "Conv2d", "Conv2d + relu"], [])


def shuffle(source, result):
    """ShuffleNet's shuffle in two groups, as PyTorch writes it."""
    return [
        node("Reshape", f"{source} groups", f"{source}1"),
        node("Transpose", f"{source}1", f"{source}2", perm=[0, 2, 1, 3, 4]),
        node("Reshape", f"{source}2 together", result),
    ]


def test_a_shuffle_and_its_halves(onnxruntime):
    nodes = [CONV, *shuffle("c", "s"), node("Split", "s halves", "a b", axis=1)]
    nodes += [node("Concat", "b a", "t", axis=1), *shuffle("t", "y")]
    steps, apart = lowered(onnxruntime, nodes)
    assert (steps, apart) == (["Conv2d", "ShuffleChannels", "Interleave"], [])


def test_even_and_odd_channels(onnxruntime):
    nodes = [
        *(CONV, node("Reshape", "c odd_shape", "r"), node("Transpose", "r", "t", perm=[1, 0, 2])),
        *(node("Reshape", "t odd_back", "u"), node("Gather", "u first", "a", axis=0)),
        *(node("Gather", "u second", "b", axis=0), node("Add", "a b")),
    ]
    steps, apart = lowered(onnxruntime, nodes)
    assert (steps, apart) == (["Conv2d", "TakeChannels", "TakeChannels", "Add"], [])


def test_a_slice_is_a_view(onnxruntime):
    cut = node("Slice", "c from to channel_axis", "s")
    steps, apart = lowered(onnxruntime, [CONV, cut, node("Relu", "s")])
    assert (steps, apart) == (["Conv2d", "Activation"], [])


HEADS = {
    "Gemm": [
        node("Flatten", "c", "f"),
        node("Gemm", "f flat_matrix five_biases", alpha=0.5, beta=2.0),
    ],
    "MatMul": [
        *(
            node("Reshape", "c row_shape", "f"),
            node("MatMul", "f flat_matrix", "p"),
            node("Add", "p five_biases"),
        ),
    ],
    "channels last": [
        *(node("Transpose", "c", "t", perm=[0, 2, 3, 1]), node("Flatten", "t", "f")),
        node("Gemm", "f flat_matrix five_biases"),
    ],
}


@pytest.mark.parametrize("name", HEADS)
def test_flattened_maps_in_products(onnxruntime, name):
    assert lowered(onnxruntime, [CONV, *HEADS[name]]) == (["Conv2d", "Conv2d"], [])


def test_a_value_may_be_called_as_the_graphs_input_is(onnxruntime):
    nodes = [node("Conv", "image w", "input"), node("Relu", "input")]
    assert lowered(onnxruntime, nodes) == (["Conv2d relu"], [])
    nodes = [node("Mul", "image two", "input"), node("Conv", "input w")]
    assert lowered(onnxruntime, nodes) == (["BatchNorm", "Conv2d"], [])


def test_vectors_are_the_pixels_of_one_image(onnxruntime):
    """A plan runs once for a matrix of them, unless a layer's result is of a whole vector."""
    nodes = [
        *(node("Gemm", "image squeeze_matrix", "g"), node("Relu", "g", "r")),
        *(node("Gemm", "r excite_matrix", "e"), node("Add", "image e", "s")),
        *(node("HardSwish", "s", "h"), node("LpNormalization", "h", "l", axis=1)),
    ]
    for count, output, images in ((4, "s", 1), (5, "h", 1), (6, "l", 9)):
        tensors = [tensor(name, TENSORS[name]) for name in ("squeeze_matrix", "excite_matrix")]
        made = model(nodes[:count], tensors, [("image", 1, ["n", 8])], [output, "r"], [("", 17)])
        x, session = randoms(9, 8), rvcnn.onnx.load(made)
        want = onnxruntime.InferenceSession(made, providers=["CPUExecutionProvider"])
        for got, expected in zip(session.run(x), want.run(None, {"image": x}), strict=True):
            assert got.shape == expected.shape and relative_error(got, expected) <= CLOSE
        program = session.program(x)
        assert [plan.input_shape for plan in program.plans] == [(1, 9 // images, 8)]
        assert not program.nodes


def test_an_image_that_comes_with_its_channels_last(onnxruntime):
    nodes = [node("Transpose", "image", "t", perm=[0, 3, 1, 2]), node("Conv", "t w")]
    steps = lowered(onnxruntime, nodes, image=(2, 7, 9, 3), shape=["n", "h", "w", 3])
    assert steps == (["Conv2d"], ["Transpose"])


def test_enlargements(onnxruntime):
    up = node("Resize", "c empty twice", "u", coordinate_transformation_mode="asymmetric")
    up.attribute.extend([onnx.helper.make_attribute("nearest_mode", "floor")])
    turned = node("ConvTranspose", "u transposed six_biases", strides=[2, 3])
    steps, apart = lowered(onnxruntime, [CONV, up, turned])
    assert (steps, apart) == (["Conv2d", "Repeat", "Conv2d", "DepthToSpace"], [])


WAYS = "half_pixel pytorch_half_pixel align_corners asymmetric".split()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", ["twice", "uneven", "fewer", "sizes"])
def test_interpolation(onnxruntime, way, by):
    inputs = "c empty empty sizes" if by == "sizes" else f"c empty {by}"
    up = node("Resize", inputs, "u", mode="linear", coordinate_transformation_mode=way)
    steps, apart = lowered(onnxruntime, [CONV, up, node("Conv", "u w_depthwise", group=8)])
    assert (steps, apart) == (["Conv2d", "Bilinear", "Conv2d"], [])


@pytest.mark.parametrize("opset, kind", [(9, "Upsample"), (10, "Resize")])
def test_interpolation_of_older_operators(onnxruntime, opset, kind):
    up = node(kind, "c twice", "u", mode="linear")
    steps, apart = lowered(onnxruntime, [CONV, up, node("Relu", "u")], opset=opset)
    assert (steps, apart) == (["Conv2d", "Bilinear", "Activation"], [])


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_poolings_that_round(onnxruntime, kind, ceil):
    pool = node(kind, "c", kernel_shape=[3, 2], strides=[2, 2], ceil_mode=ceil, pads=[1, 0, 0, 1])
    steps, apart = lowered(onnxruntime, [CONV, pool])
    assert (steps, apart) == (["Conv2d", kind.replace("erage", "g")], [])


def test_what_has_no_layer_runs_on_arrays_between_plans(onnxruntime):
    nodes = [
        CONV,
        node("Softplus", "c", "s"),
        node("Conv", "s w_depthwise", group=8),
        node("Relu", "c", "z"),
    ]
    steps, apart = lowered(onnxruntime, nodes, outputs=("y", "z"))
    assert (sorted(steps), apart) == (["Activation", "Conv2d", "Conv2d"], ["Softplus"])


def test_one_session_takes_any_batch_and_size(onnxruntime):
    nodes = [CONV, node("Relu", "c", "r"), node("GlobalAveragePool", "r")]
    for shape in ((1, 3, 5, 6), (3, 3, 8, 4)):
        assert lowered(onnxruntime, nodes, image=shape)[1] == []


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 21, 23])
def test_opsets(onnxruntime, opset):
    bounds = {"min": 0.0, "max": 6.0} if opset < 11 else {}
    clip = node("Clip", "c" if opset < 11 else "c zero six", "d", **bounds)
    moved = {"keepdims": 0} | ({"axes": [2, 3]} if opset < 18 else {})
    mean = node("ReduceMean", "d" if opset < 18 else "d pixels", **moved)
    steps, apart = lowered(onnxruntime, [CONV, clip, mean], opset=opset)
    assert (steps, apart) == (["Conv2d relu6", "GlobalAvgPool"], [])


def test_inputs_that_do_not_fit():
    session = rvcnn.onnx.load(model([CONV], [tensor("w", TENSORS["w"])], [IMAGE], ["c"]))
    good = np.zeros((1, 3, 5, 5), np.float32)
    for wrong in ((), (good, good), ({"other": good},), (good.astype(float),), (good[0],)):
        with pytest.raises(UsageError):
            session.run(*wrong)
    with pytest.raises(UsageError, match=r"image takes \('n', 3, 'h', 'w'\), not \(1, 4, 5, 5\)"):
        session.run(np.zeros((1, 4, 5, 5), np.float32))
    large = node("Conv", "image w", "c")
    session = rvcnn.onnx.load(model([large], [tensor("w", TENSORS["w"])], [IMAGE], ["c"]))
    with pytest.raises(ShapeError, match="too small"):
        session.run(good[:, :, :2, :2])


def branching(branches):
    """A network whose branch depends on the image's largest value."""
    graphs = {
        f"{name}_branch": onnx.helper.make_graph(
            nodes, "g", [], [onnx.ValueInfoProto(name=f"{name} result") for _ in nodes[-1:]]
        )
        for name, nodes in branches.items()
    }
    return [
        *(CONV, node("ReduceMax", "c", "m", keepdims=0), node("Greater", "m zero", "b")),
        onnx.helper.make_node("If", ["b"], ["y"], **graphs),
    ]


def test_branches_that_depend_on_the_image(onnxruntime):
    branches = {
        name: [onnx.helper.make_node(op, ["c"], [f"{name} result"])]
        for name, op in (("then", "Relu"), ("else", "Neg"))
    }
    assert lowered(onnxruntime, branching(branches)) == (["Conv2d"], ["ReduceMax", "Greater", "If"])


def test_a_branch_without_results():
    names = {"w", "zero"}
    tensors = [tensor(name, TENSORS[name]) for name in names]
    made = model(branching({"then": [], "else": []}), tensors, [IMAGE])
    with pytest.raises(ShapeError, match="a graph with 0 results for 1"):
        rvcnn.onnx.load(made).run(np.ones((1, 3, 4, 4), np.float32))
