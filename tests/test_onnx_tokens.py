"""Transformers become plans: attention, normalisation and curves in the spellings of exporters."""

import numpy as np
import pytest
from graph_checks import image
from hostile_onnx import model, node, tensor
from test_backbones import relative_error
from test_onnx_networks import CLOSE, agree, exported

import rvcnn
from rvcnn import ops

pytest.importorskip("onnx", reason="the extra `onnx`")
torch_transformers = pytest.importorskip("torch_transformers", exc_type=ImportError)
pytestmark = pytest.mark.compare


def steps(session, x):
    """What runs: operators of the plans' steps, and nodes on arrays."""
    program = session.program(x)
    plans = [step.node.op for plan in program.plans for step in plan.steps if step.node]
    return plans, [n.op for n in program.nodes]


@pytest.mark.parametrize("opset", [14, 17])
@pytest.mark.parametrize("name", torch_transformers.NETWORKS)
def test_a_network_is_one_plan(torch, onnxruntime, name, opset):
    torch.manual_seed(3)
    network = torch_transformers.NETWORKS[name]().eval()
    file = exported(torch, network, 1, 3, 12, 16, opset=opset)
    x = image(1, 1, 3, 12, 16)
    plans, apart = steps(agree(onnxruntime, file, x), x)
    assert apart == []
    kinds = {type(op) for op in plans}
    assert not kinds & {ops.BatchNorm, ops.Activation}
    assert ops.LayerNorm in kinds
    assert (ops.Attention in kinds) == (name != "convnext")


@pytest.mark.parametrize("name", ["vision transformer", "with biases of places", "convnext"])
def test_several_images_in_one_call(torch, onnxruntime, name):
    torch.manual_seed(4)
    network = torch_transformers.NETWORKS[name]().eval()
    file = exported(torch, network, 2, 3, 12, 16, dynamic=(0,))
    x = image(1, 3, 3, 12, 16)
    assert steps(agree(onnxruntime, file, x, x[:1]), x)[1] == []


def test_an_image_encoder_is_a_model(torch, tmp_path):
    torch.manual_seed(5)
    file = tmp_path / "clip.onnx"
    network = torch_transformers.Clip().eval()
    # twelve patches are of no square
    network.places = torch.nn.Parameter(torch.randn(17, 24))
    file.write_bytes(exported(torch, network, 1, 3, 16, 16))
    encoder = rvcnn.create_model(weights=str(file))
    x = image(2, 1, 16, 16, 3)
    want = network(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach().numpy()
    assert relative_error(encoder(x), want) <= CLOSE
    encoder.save_weights(tmp_path / "clip.safetensors")
    again = rvcnn.create_model(weights=str(tmp_path / "clip.safetensors"))
    np.testing.assert_array_equal(again(x), encoder(x))


@pytest.mark.parametrize(
    ("name", "places", "embedding"),
    [
        ("clip", (17, 24), "output"),
        ("in two products, pooled by a mean", (1, 16, 24), "pooled"),
        ("vision transformer", (1, 17, 24), "output"),
    ],
)
def test_a_token_that_is_taken_is_no_pooling(torch, tmp_path, name, places, embedding):
    """CLIP's vector is its projection, which nothing but the class token goes into."""
    network = torch_transformers.NETWORKS[name]().eval()
    network.places = torch.nn.Parameter(torch.randn(places))
    file = tmp_path / "network.onnx"
    file.write_bytes(exported(torch, network, 1, 3, 16, 16))
    encoder = rvcnn.create_model(weights=str(file))
    assert encoder.weights.metadata["embedding"] == embedding


RNG = np.random.default_rng(11)


def numbers(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


KNOWN = {
    "w": numbers(24, 3, 2, 2),
    "dense": numbers(24, 24) / 5,
    "one": np.ones(24, np.float32),
    "row_shape": np.array([0, 24, -1]),
    "heads": np.array([0, 0, 3, 8]),
    "width": np.array([0, 0, 24]),
    "windows": np.array([0, 2, 2, 3, 2, 24]),
    "windowed": np.array([-1, 4, 3, 8]),
    "pixels": np.array([-1, 2, 3, 2, 2, 24]),
    "back": np.array([0, 4, 6, 24]),
    "scale": np.float32(0.3),
    "mask": numbers(1, 1, 24, 24),
    "other": numbers(24, 1),
}
START = [
    node("Conv", "image w", "c", strides=[2, 2]),
    *(node("Reshape", "c row_shape", "r"), node("Transpose", "r", "t", perm=[0, 2, 1])),
]
SPLIT = [
    *(node("MatMul", "t dense", "p"), node("Reshape", "p heads", "h")),
    node("Transpose", "h", "q", perm=[0, 2, 1, 3]),
]
KEYS = [node("Transpose", "h", "k", perm=[0, 2, 3, 1])]
JOIN = [node("Transpose", "a", "j", perm=[0, 2, 1, 3]), node("Reshape", "j width", "y")]
WINDOWS = [
    *(node("Conv", "image w", "c", strides=[2, 2]), node("Transpose", "c", "l", perm=[0, 2, 3, 1])),
    *(node("Reshape", "l windows", "n"), node("Transpose", "n", "m", perm=[0, 1, 3, 2, 4, 5])),
    *(node("Reshape", "m windowed", "h"), node("Transpose", "h", "q", perm=[0, 2, 1, 3])),
    node("Transpose", "h", "k", perm=[0, 2, 3, 1]),
    *(node("MatMul", "q k", "s"), node("Softmax", "s", "u", axis=-1), node("MatMul", "u q", "a")),
    *(node("Transpose", "a", "b", perm=[0, 2, 1, 3]), node("Reshape", "b pixels", "d")),
    *(node("Transpose", "d", "e", perm=[0, 1, 3, 2, 4, 5]), node("Reshape", "e back", "y")),
]


def compared(onnxruntime, nodes, opset=17, images=2):
    """What runs for nodes after an image, if ONNX Runtime computes the same."""
    read = {name for n in nodes for name in n.input}
    tensors = [tensor(name, value) for name, value in KNOWN.items() if name in read]
    made = model(nodes, tensors, [("image", 1, ["n", 3, 8, 12])], ["y"], [("", opset)])
    x = numbers(images, 3, 8, 12)
    plans, apart = steps(agree(onnxruntime, made, x), x)
    return [type(op) for op in plans], apart


def two_products(*between):
    """Attention with these nodes between its product "s" and what the softmax "u" reads."""
    last = between[-1].output[0] if between else "s"
    tail = [node("Softmax", last, "u", axis=-1), node("MatMul", "u q", "a"), *JOIN]
    return [*START, *SPLIT, *KEYS, node("MatMul", "q k", "s"), *between, *tail]


@pytest.mark.parametrize(
    "between",
    [
        [],
        [node("Mul", "s scale", "f")],
        [node("Add", "s mask", "f"), node("Mul", "f scale", "g")],
        [node("Div", "s scale", "e"), node("Add", "mask e", "f"), node("Add", "f mask", "g")],
    ],
)
def test_scores_scaled_and_shifted(onnxruntime, between):
    kinds, apart = compared(onnxruntime, two_products(*between))
    assert ops.Attention in kinds
    assert apart == []


@pytest.mark.parametrize(
    "between",
    [
        [node("Relu", "s", "f")],
        [node("Add", "s one_score", "f")],
        [node("Softmax", "s", "f", axis=2)],
        [node("Sigmoid", "s", "f")],
    ],
)
def test_what_is_no_attention_runs_on_arrays(onnxruntime, monkeypatch, between):
    monkeypatch.setitem(KNOWN, "one_score", numbers(2, 1, 24, 24))
    kinds, apart = compared(onnxruntime, two_products(*between))
    assert ops.Attention not in kinds
    assert "MatMul" in apart


def test_windows_are_rows_of_a_map(onnxruntime):
    kinds, apart = compared(onnxruntime, WINDOWS)
    assert kinds.count(ops.Attention) == 1
    assert apart == []


def test_attention_as_one_operator(onnxruntime):
    nodes = [*START, *SPLIT, node("Attention", "q q q", "a", scale=0.2), *JOIN]
    kinds, apart = compared(onnxruntime, nodes, opset=23)
    assert ops.Attention in kinds
    assert apart == []


@pytest.mark.parametrize("causal", [0, 1])
def test_a_causal_attention_runs_on_arrays(onnxruntime, causal):
    nodes = [*START, *SPLIT, node("Attention", "q q q", "a", is_causal=causal), *JOIN]
    assert compared(onnxruntime, nodes, opset=23)[1].count("Attention") == causal


def test_tokens_in_every_place(onnxruntime):
    """Results whose channels are last, of maps and of sums with what is not a vector."""
    nodes = [
        *(*START, node("LayerNormalization", "t one", "n"), node("MatMul", "n dense", "p")),
        *(node("Add", "p other", "o"), node("Concat", "o t", "d", axis=2)),
        *(node("Concat", "d d", "e", axis=1), node("Transpose", "e", "y", perm=[1, 0, 2])),
    ]
    kinds, apart = compared(onnxruntime, nodes, images=1)
    assert {ops.Concat, ops.ConcatPixels, ops.ConstantMap} <= set(kinds)
    assert apart == []
    compared(onnxruntime, nodes, images=3)


def test_vectors_that_become_one(onnxruntime):
    """Vectors are the pixels of one image; put together, they stay in their order."""
    tensors = [tensor("w", numbers(5, 4)), tensor("shape", np.array([3, -1]))]
    for last in (node("Flatten", "g", "y", axis=0), node("Reshape", "g shape", "y")):
        nodes = [node("MatMul", "image w", "m"), node("Clip", "m", "g"), last]
        made = model(nodes, tensors, [("image", 1, ["n", 5])], ["y"], [("", 17)])
        agree(onnxruntime, made, numbers(6, 5))


def test_a_value_without_elements(onnxruntime):
    known = {"w": numbers(5, 4), "from": np.array([2]), "to": np.array([2]), "axis": np.array([1])}
    tensors = [tensor(name, value) for name, value in known.items()]
    nodes = [node("MatMul", "image w", "m"), node("Slice", "m from to axis", "y")]
    made = model(nodes, tensors, [("image", 1, ["n", 5])], ["y", "m"], [("", 17)])
    (empty, _) = rvcnn.onnx.load(made).run(numbers(3, 5))
    assert empty.shape == (3, 0)


def test_a_channel_axis_that_is_as_long_as_another(onnxruntime):
    """Rows, columns and channels of one length: a vector belongs to one of them."""
    some = {"w": numbers(6, 3, 2, 2), "v": numbers(6), "c1": numbers(6, 1, 1), "m": numbers(6, 6)}
    for turn in ([0, 2, 3, 1], [0, 3, 2, 1], [0, 1, 3, 2], [0, 3, 1, 2]):
        nodes = [
            *(node("Conv", "image w", "c", strides=[2, 2]), node("Transpose", "c", "t", perm=turn)),
            *(node("Mul", "t v", "a"), node("Add", "a c1", "b"), node("MatMul", "b m", "y")),
        ]
        tensors = [tensor(name, value) for name, value in some.items()]
        made = model(nodes, tensors, [("image", 1, ["n", 3, 12, 12])], ["y"], [("", 17)])
        agree(onnxruntime, made, numbers(2, 3, 12, 12))


TURN = [
    node("Conv", "image w", "c", strides=[2, 2]),
    node("Transpose", "c", "l", perm=[0, 2, 3, 1]),
]
BACK = [node("Transpose", "r", "y", perm=[0, 3, 1, 2])]
ROLLED = [
    *(node("Slice", "l from3 end d1", "a1"), node("Slice", "l start to3 d1", "a2")),
    *(node("Concat", "a1 a2", "o", axis=1), node("Slice", "o from3 end d2", "b1")),
    *(node("Slice", "o start to3 d2", "b2"), node("Concat", "b1 b2", "r", axis=2)),
]
ROLL = {
    **{"from3": np.array([3]), "to3": np.array([3]), "start": np.array([0])},
    **{"end": np.array([1 << 40]), "d1": np.array([1]), "d2": np.array([2])},
}


def test_a_roll_is_a_move(onnxruntime, monkeypatch):
    """Parts of a map put together in another order, twice: one operator takes its pixels so."""
    for name, value in ROLL.items():
        monkeypatch.setitem(KNOWN, name, value)
    kinds, apart = compared(onnxruntime, [*TURN, *ROLLED, *BACK])
    assert apart == [] and ops.TakePixels in kinds
    assert not {ops.ConcatPixels, ops.Concat} & set(kinds)
    for parts in ("a2 a2 a1", "a2 a1 l"):
        twice = [*ROLLED[:2], node("Concat", parts, "r", axis=1)]
        compared(onnxruntime, [*TURN, *twice, *BACK])


def test_windows_that_are_shifted(onnxruntime, monkeypatch):
    """A mask is another one for each window: the scores take their windows' axis for it."""
    known = {**ROLL, "mask": numbers(1, 4, 1, 6, 6), "parted": np.array([-1, 4, 3, 6, 6])}
    known |= {"whole": np.array([-1, 3, 6, 6]), "positions": numbers(1, 3, 6, 6)}
    known |= {"sides": np.array([0, 2, 2, 2, 3, 24]), "windowed": np.array([-1, 6, 3, 8])}
    known |= {"pixels": np.array([-1, 2, 2, 2, 3, 24])}
    for name, value in known.items():
        monkeypatch.setitem(KNOWN, name, value)
    masked = [
        *(node("Add", "s positions", "p"), node("Reshape", "p parted", "i")),
        *(node("Add", "i mask", "j"), node("Reshape", "j whole", "k2")),
        node("Softmax", "k2", "u", axis=-1),
    ]
    nodes = [*TURN, *ROLLED, node("Reshape", "r sides", "n"), *WINDOWS[3:8], *masked, *WINDOWS[9:]]
    kinds, apart = compared(onnxruntime, nodes)
    assert kinds.count(ops.Attention) == 1
    assert apart == []


def test_a_gated_layer(onnxruntime, monkeypatch):
    """One half of a product's channels, through a curve, times the other half."""
    monkeypatch.setitem(KNOWN, "halves", np.array([12, 12]))
    monkeypatch.setitem(KNOWN, "half", numbers(12, 24) / 5)
    nodes = [
        *(*START, node("MatMul", "t dense", "p"), node("Split", "p halves", "a b", axis=2)),
        *(node("Sigmoid", "a", "s"), node("Mul", "a s", "g"), node("Mul", "g b", "m")),
        node("MatMul", "m half", "y"),
    ]
    kinds, apart = compared(onnxruntime, nodes)
    assert apart == [] and ops.Multiply in kinds


@pytest.mark.parametrize("last", [False, True])
def test_a_difference_of_two_maps(onnxruntime, last):
    first, second = ("l", "n") if last else ("c", "c2")
    nodes = [
        *(*TURN, node("LayerNormalization", "l one", "n"), node("Relu", "c", "c2")),
        *(node("Sub", f"{second} {first}", "d"), node("Sub", f"{first} d", "e")),
        node("Mul", "e scale", "y"),
    ]
    assert compared(onnxruntime, nodes)[1] == []


def test_a_mean_over_some_tokens(onnxruntime, monkeypatch):
    monkeypatch.setitem(KNOWN, "from5", np.array([5]))
    monkeypatch.setitem(KNOWN, "end", np.array([1 << 40]))
    monkeypatch.setitem(KNOWN, "d1", np.array([1]))
    mean = node("ReduceMean", "some", "y", axes=[1], keepdims=0)
    nodes = [*START, node("LayerNormalization", "t one", "n")]
    nodes += [node("Slice", "n from5 end d1", "some"), mean]
    kinds, apart = compared(onnxruntime, nodes)
    assert apart == [] and ops.GlobalAvgPool in kinds
