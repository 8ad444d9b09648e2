"""Networks over sequences (N, C, W) run on plans, as maps of one row: ONNX Runtime's numbers."""

import numpy as np
import pytest
from hostile_onnx import model, node, tensor
from test_onnx_lower import lowered, randoms

import rvcnn
from rvcnn.kernels import igemm

pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare

WIDTH = 23
TENSORS = {
    "w": randoms(12, 8, 3),
    "w_causal": randoms(8, 8, 3),
    "w_groups": randoms(12, 2, 4),
    "w_depthwise": randoms(8, 1, 5),
    "w_point": randoms(8, 8, 1),
    "w_blocks": randoms(8, 6, 2),
    "w_overlap": randoms(8, 6, 4),
    "six_biases": randoms(6),
    "bias": randoms(12),
    "scale": randoms(12),
    "mean": randoms(12),
    "variance": np.abs(randoms(12)) + np.float32(0.5),
    "column": randoms(1, 12, 1),
    "rows": randoms(12, 1),
    "values": randoms(1, 12, WIDTH),
    "squeeze": randoms(4, 8, 1),
    "excite": randoms(8, 4, 1),
    "two": np.float32(2),
    "pads": np.array([0, 0, 3, 0, 0, 1]),
    "last": np.array([2]),
    "back": np.array([-1]),
    "first": np.array([1]),
    "start": np.array([0]),
    "chomp": np.array([-2]),
    "halves": np.array([6, 6]),
    "empty": np.zeros(0, np.float32),
    "twice": np.array([1, 1, 2], np.float32),
    "sizes": np.array([2, 12, 46]),
    "minus": np.array(-1),
    "last_matrix": randoms(12, 5),
    "flat_matrix": randoms(12 * WIDTH, 5),
}
CONV = node("Conv", "image w", "c", pads=[1, 1])
POOL = {"kernel_shape": [3], "strides": [2]}
CASES = {
    "bias": ([node("Conv", "image w bias", pads=[0, 2])], ["Conv2d"]),
    "stride": ([node("Conv", "image w", strides=[3], pads=[1, 1])], ["Conv2d"]),
    "dilation": ([node("Conv", "image w", dilations=[4], kernel_shape=[3])], ["Conv2d"]),
    "groups": ([node("Conv", "image w_groups bias", group=4)], ["Conv2d"]),
    "depthwise": (
        [node("Conv", "image w_depthwise", group=8, dilations=[3], pads=[6, 6])],
        ["Conv2d"],
    ),
    "odd padding behind": (
        [node("Conv", "image w_groups", group=4, auto_pad="SAME_UPPER")],
        ["Conv2d"],
    ),
    "odd padding before": (
        [node("Conv", "image w_groups", group=4, auto_pad="SAME_LOWER")],
        ["Conv2d"],
    ),
    "no padding": ([node("Conv", "image w", auto_pad="VALID")], ["Conv2d"]),
    "blocks": ([node("ConvTranspose", "image w_blocks", strides=[2])], ["Conv2d", "DepthToSpace"]),
    "blocks that overlap": (
        [node("ConvTranspose", "image w_overlap six_biases", strides=[2], pads=[1, 1])],
        ["Conv2d", "DepthToSpace"],
    ),
    "blocks cut off": (
        [node("ConvTranspose", "image w_overlap", strides=[3], pads=[1, 0], output_padding=[1])],
        ["Conv2d", "DepthToSpace", "Crop"],
    ),
    "blocks with gaps": (
        [node("ConvTranspose", "image w_blocks", strides=[5])],
        ["Conv2d", "DepthToSpace", "Crop"],
    ),
    "turned": ([node("ConvTranspose", "image w_overlap", pads=[2, 1])], ["Conv2d"]),
    "causal": (
        [node("Pad", "image pads", "p"), node("Conv", "p w", "c"), node("Relu", "c")],
        ["Conv2d relu"],
    ),
    "normalised": (
        [CONV, node("BatchNormalization", "c scale bias mean variance", "n"), node("Relu", "n")],
        ["Conv2d relu"],
    ),
    "factors": ([CONV, node("Mul", "c column", "m"), node("Add", "rows m")], ["Conv2d"]),
    "silu": ([CONV, node("Sigmoid", "c", "s"), node("Mul", "c s")], ["Conv2d silu"]),
    "residual": (
        [
            *(node("Conv", "image w_causal", "c", pads=[1, 1]), node("Add", "c image", "a")),
            node("Relu", "a"),
        ],
        ["Conv2d + relu"],
    ),
    "squeeze-excite": (
        [
            *(node("Conv", "image w_point", "c"), node("GlobalAveragePool", "c", "p")),
            *(node("Conv", "p squeeze", "s"), node("Relu", "s", "r")),
            *(node("Conv", "r excite", "e"), node("Sigmoid", "e", "g"), node("Mul", "g c")),
        ],
        ["Conv2d", "GlobalAvgPool", "Conv2d relu", "Conv2d sigmoid", "ScaleChannels"],
    ),
    "max": ([CONV, node("MaxPool", "c", **POOL, pads=[1, 1])], ["Conv2d", "MaxPool"]),
    "rounded up": ([CONV, node("MaxPool", "c", **POOL, ceil_mode=1)], ["Conv2d", "MaxPool"]),
    "mean": ([CONV, node("AveragePool", "c", **POOL, pads=[1, 0])], ["Conv2d", "AvgPool"]),
    "mean of all": ([CONV, node("ReduceMean", "c", axes=[-1])], ["Conv2d", "GlobalAvgPool"]),
    "mean of all, no axis": (
        [CONV, node("ReduceMean", "c", axes=[2], keepdims=0)],
        ["Conv2d", "GlobalAvgPool"],
    ),
    "most of all": ([CONV, node("GlobalMaxPool", "c")], ["Conv2d", "MaxPool"]),
    "most of all, reduced": (
        [CONV, node("ReduceMax", "c", axes=[2], keepdims=0)],
        ["Conv2d", "MaxPool"],
    ),
    "joined": (
        [CONV, node("Conv", "image w", "d", pads=[1, 1]), node("Concat", "c d", axis=-2)],
        ["Conv2d", "Conv2d", "Concat"],
    ),
    "halves": (
        [CONV, node("Split", "c halves", "a b", axis=1), node("Relu", "b")],
        ["Conv2d", "Activation"],
    ),
    "channels": (
        [CONV, node("Slice", "c first last first", "s"), node("Relu", "s")],
        ["Conv2d", "Activation"],
    ),
    "twice": ([CONV, node("Resize", "c empty twice", mode="nearest")], ["Conv2d", "Repeat"]),
    "to a size": (
        [CONV, node("Resize", "c empty empty sizes", mode="linear")],
        ["Conv2d", "Bilinear"],
    ),
    "later results dropped": (
        [
            node("Conv", "image w", "c", pads=[4, 4], dilations=[2]),
            *(node("Slice", "c start chomp last", "r"), node("Relu", "r")),
        ],
        ["Conv2d relu"],
    ),
    "dropped after the activation": (
        [
            *(node("Conv", "image w", "c", pads=[5, 4], strides=[2]), node("Relu", "c", "r")),
            node("Slice", "r last chomp last"),
        ],
        ["Conv2d relu"],
    ),
    "more dropped than was padded": (
        [CONV, node("Slice", "c last chomp last", "s"), node("Relu", "s")],
        ["Conv2d", "Crop", "Activation"],
    ),
    "channels of some": (
        [
            *(CONV, node("Slice", "c start chomp last", "s")),
            node("Slice", "s first last first", "t"),
            node("Relu", "t"),
        ],
        ["Conv2d", "Crop", "Activation"],
    ),
    "the last alone": (
        [CONV, node("Gather", "c minus", "s", axis=2), node("Gemm", "s last_matrix")],
        ["Conv2d", "Crop", "Conv2d"],
    ),
    "a gate": (
        [
            *(CONV, node("Split", "c halves", "a b", axis=1), node("Tanh", "a", "t")),
            *(node("Sigmoid", "b", "s"), node("Mul", "t s")),
        ],
        ["Conv2d", "Tanh", "Activation", "Multiply"],
    ),
    "product": (
        [CONV, node("Flatten", "c", "f"), node("Gemm", "f flat_matrix")],
        ["Conv2d", "Conv2d"],
    ),
}


def run(onnxruntime, nodes, **options):
    options = {"image": (2, 8, WIDTH), "shape": ["n", 8, "w"], "known": TENSORS} | options
    return lowered(onnxruntime, nodes, **options)


@pytest.mark.parametrize("name", CASES)
def test_one_plan(onnxruntime, name):
    nodes, wanted = CASES[name]
    operators, rest = run(onnxruntime, nodes)
    assert (operators, rest) == (wanted, ["Unsqueeze"])


def test_attributes_that_later_became_inputs(onnxruntime):
    pads = node("Pad", "image", "p", pads=[0, 0, 3, 0, 0, 1])
    slices = node("Slice", "c", axes=[1], starts=[2], ends=[9])
    operators, rest = run(onnxruntime, [pads, node("Conv", "p w", "c"), slices], opset=9)
    assert (operators, rest) == (["Conv2d"], ["Unsqueeze"])


def test_axes_that_are_inputs(onnxruntime):
    nodes = [CONV, node("ReduceMean", "c back")]
    assert run(onnxruntime, nodes, opset=18) == (["Conv2d", "GlobalAvgPool"], ["Unsqueeze"])


def test_a_reduction_that_leaves_the_width(onnxruntime):
    nodes = [CONV, node("ReduceMean", "c", axes=[1], keepdims=0)]
    assert run(onnxruntime, nodes) == (["Conv2d"], ["Unsqueeze", "ReduceMean"])


def test_a_sequence_that_a_map_became(onnxruntime):
    """The usual neck of text recognition: a map of one row, squeezed."""
    nodes = [
        *(node("Squeeze", "image last", "s"), node("Conv", "s w", "c"), node("Relu", "c")),
    ]
    image = {"image": (2, 8, 1, WIDTH), "shape": ["n", 8, 1, "w"]}
    operators, rest = run(onnxruntime, nodes, **image)
    assert (operators, sorted(rest)) == (["Conv2d relu"], ["Squeeze", "Unsqueeze"])


def test_layers_that_read_sequences_as_such(onnxruntime):
    """What no plan has runs on arrays, between plans that have the rest."""
    nodes = [
        *(CONV, node("Softmax", "c", "s", axis=2), node("Add", "s values", "a")),
        *(node("Transpose", "a", "t", perm=[0, 2, 1]), node("Transpose", "t", "u", perm=[0, 2, 1])),
        *(node("Conv", "u column_conv", "y"),),
    ]
    known = TENSORS | {"column_conv": randoms(4, 12, 1)}
    operators, rest = run(onnxruntime, nodes, known=known)
    assert operators == ["Conv2d", "Conv2d"]
    assert rest == ["Unsqueeze", "Softmax", "Add", "Transpose", "Transpose", "Unsqueeze"]


def test_weights_that_are_computed(onnxruntime):
    """Such convolutions stay as they are."""
    nodes = [node("Mul", "image two", "m"), node("Conv", "image m")]
    assert run(onnxruntime, nodes, image=(2, 8, 8)) == ([], ["Mul", "Conv"])


def test_a_name_that_is_taken(onnxruntime):
    nodes = [node("Relu", "image", "image/row"), node("Conv", "image w", "c"), node("Relu", "c")]
    operators, rest = run(onnxruntime, nodes, outputs=("y", "image/row"))
    assert (operators, sorted(rest)) == (["Conv2d relu"], ["Relu", "Unsqueeze"])


def test_weights_of_volumes_are_packed_once(monkeypatch):
    weights = tensor("w", randoms(8, 3, 3, 3, 3))
    volume = ("image", 1, [1, 3, 4, 5, 6])
    session = rvcnn.onnx.load(model([node("Conv", "image w")], [weights], [volume]))
    x = randoms(1, 3, 4, 5, 6)
    (first,) = session.run(x)
    monkeypatch.delattr(igemm, "pack")
    assert np.array_equal(session.run(x)[0], first)
