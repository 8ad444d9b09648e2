"""Networks written as ONNX: what ONNX Runtime computes from the file is what rvcnn computes."""

import sys

import numpy as np
import pytest
from graph_checks import bound_to_random, image, layers, random_tensors
from PIL import Image

import rvcnn
from rvcnn import ops
from rvcnn.errors import ShapeError, UsageError, WeightsError
from rvcnn.images import Preprocess, decode
from rvcnn.model import create_model
from rvcnn.models import ARCHITECTURES
from rvcnn.passes import optimise
from rvcnn.weights import save_weights

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = [pytest.mark.compare, pytest.mark.usefixtures("onnxruntime")]

EPS = np.finfo(np.float32).eps / 2


def run(model, feed):
    """What ONNX Runtime makes of a file or a ModelProto; the output's name stands beside it."""
    import onnxruntime

    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == list(feed)
    return session.get_outputs()[0].name, session.run(None, feed)[0]


def planes(x):
    return {"input": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}


def rounding(model):
    """What two evaluations in float32 may differ by, as a share of the largest value.

    A sum of K products is off by about sqrt(K) roundings of its own size, whatever their order;
    the errors of all layers add up at worst, in both evaluations.
    """
    terms = [np.prod(s[1:]) for s in model.graph.parameters().values() if len(s) > 1]
    return 2 * EPS * sum(np.sqrt(k + 2) for k in terms)


def assert_alike(got, want, bound):
    assert got.shape == want.shape and got.dtype == np.float32
    assert bound < 1e-3 and np.ptp(want) > 0.01 * np.abs(want).max()
    assert np.abs(got - want).max() <= bound * np.abs(want).max()


@pytest.fixture
def random_model(tmp_path):
    """Make a model with random weights and normalisations that do something."""

    def make(name, padding="symmetric", classes=7, **settings):
        options = ARCHITECTURES[name].options(settings)
        heads = dict(num_classes=classes, embedding_dim=0)
        graph = ARCHITECTURES[name].build(padding=padding, bn_eps=1e-5, **heads, **options)
        told = {"padding": padding, "bn_eps": "1e-05", "num_classes": str(classes), **settings}
        told |= {"architecture": name, "embedding": "pooled"}
        save_weights(tmp_path / "w.safetensors", random_tensors(graph), told)
        return create_model(weights=tmp_path / "w.safetensors")

    return make


CASES = [
    ("mobilenetv3_small", {"padding": "same"}),
    ("mobilenetv3_large", {"squeeze": "before activation"}),
    ("mobilenetv3_large_minimalistic", {"padding": "same"}),
    ("mobilenetv2", {}),
    ("efficientnet_b0", {"padding": "same"}),
    ("resnet18", {"padding": "same"}),
    ("shufflenetv2_x0_5", {"padding": "same", "shuffle": "before a block"}),
    ("shufflenetv2_x1_0", {"activation": "leaky_relu_0.1"}),
]


@pytest.mark.parametrize(("name", "settings"), CASES, ids=[name for name, _ in CASES])
def test_logits_of_every_architecture_at_one_size_and_at_any(
    random_model, tmp_path, name, settings
):
    model, file = random_model(name, **settings), tmp_path / "m.onnx"
    rvcnn.export_onnx(model, file, size=64)
    x = image(1, 2, 64, 64, 3)
    kind, got = run(file, planes(x))
    assert kind == "logits"
    assert_alike(got, model(x), rounding(model))
    rvcnn.export_onnx(model, file, any_size=True)
    for shape in ((1, 64, 75, 3), (3, 47, 33, 3)):
        x = image(2, *shape)
        assert_alike(run(file, planes(x))[1], model(x), rounding(model))


def test_the_bound_notices_padding_on_the_wrong_side(random_model, tmp_path):
    same, symmetric = (random_model("mobilenetv3_small", p) for p in ("same", "symmetric"))
    rvcnn.export_onnx(same, tmp_path / "m.onnx", size=64)
    x = image(1, 1, 64, 64, 3)
    got, want = run(tmp_path / "m.onnx", planes(x))[1], symmetric(x)
    assert np.abs(got - want).max() > 100 * rounding(same) * np.abs(want).max()


def test_every_operator_before_and_after_the_passes():
    """Layers that no architecture puts so: a vector that becomes a map again, an odd window."""
    graph = bound_to_random(
        layers(
            ("a", ops.Conv2d(3, 8, (5, 3), (2, 1), "same", bias=True)),
            ("b", ops.MaxPool((3, 3), (2, 2), "same"), "a"),
            ("c", ops.Conv2d(8, 8, (3, 3), (1, 1), "same", (2, 2), groups=8), "b"),
            ("d", ops.BatchNorm(8, 1e-3), "c"),
            ("e", ops.Activation("leaky_relu", 0.2), "d"),
            ("left", ops.SliceChannels(1, 7), "e"),
            ("right", ops.SliceChannels(2, 8), "e"),
            ("f", ops.Concat((6, 6)), "left", "right"),
            ("g", ops.ShuffleChannels(2), "f"),
            ("h", ops.ShuffleChannels(3), "g"),
            ("mean", ops.GlobalAvgPool(), "h"),
            ("i", ops.Linear(12, 12), "mean"),
            ("gate", ops.Activation("hard_sigmoid"), "i"),
            ("j", ops.ScaleChannels(), "h", "gate"),
            ("k", ops.Conv2d(12, 12), "j"),
            ("l", ops.Activation("silu"), "k"),
            ("m", ops.Add(), "l", "j"),
            ("bent", ops.Tanh(), "m"),
            ("product", ops.Multiply(), "bent", "l"),
            ("fewer", ops.Crop(((1, 0), (2, 1))), "product"),
            ("n", ops.Activation("relu6"), "fewer"),
            ("o", ops.AvgPool((3, 2), (2, 1), ((1, 0), (1, 0)), False), "n"),
            ("p", ops.AvgPool((2, 2), (1, 1), "same"), "o"),
            ("q", ops.TakeChannels((3, 0, 11, 3, 5, 6, 7, 8)), "p"),
            ("r", ops.DepthToSpace((2, 2)), "q"),
            ("s", ops.Repeat((3, 2)), "r"),
            ("between", ops.Bilinear((0.5, 1.7), "align_corners"), "s"),
            ("t", ops.ClipCurve(0.3, 0.1, -0.2, np.inf), "between"),
            ("pooled", ops.GlobalAvgPool(), "t"),
            ("flat", ops.Linear(2, 5), "pooled"),
            ("gated", ops.ClipCurve(0.5, 0.2, 0.0, 1.0, gate=True), "flat"),
            ("unit", ops.L2Normalize(), "gated"),
        )
    )
    fused = optimise(graph)
    assert {type(n.op) for n in fused.nodes} >= {ops.Interleave}
    from rvcnn.onnx.export.graph import to_onnx

    x = image(3, 1, 17, 22, 3)
    values = {"input": np.float64(x[0])}
    for node in graph.nodes:
        values[node.name] = node.op.reference(node.params, *(values[i] for i in node.inputs))
    want = values["unit"].reshape(1, -1)
    for some in (graph, fused):
        for any_size in (False, True):
            got = run(to_onnx(some, (17, 22, 3), any_size=any_size), planes(x))[1]
            assert np.abs(got - want).max() < 200 * EPS


@pytest.mark.parametrize("name", ["map", "vector"])
def test_steps(name):
    """Rounded as the layer does, halves to even; steps that are a power of two are exact."""
    from rvcnn.onnx.export.graph import to_onnx

    op = ops.RoundSteps(0.25, -3, 5)
    rows = [("pooled", ops.GlobalAvgPool()), ("steps", op, "pooled")]
    if name == "map":
        rows = [("steps", op), ("pooled", ops.GlobalAvgPool(), "steps")]
    x = np.round(image(4, 1, 6, 7, 3) * 8) / 8
    graph, want = layers(*rows), np.float64(x[0])
    for node in graph.nodes:
        want = node.op.reference({}, want)
    got = run(to_onnx(graph, (6, 7, 3)), planes(x))[1]
    np.testing.assert_allclose(got, want.reshape(1, 3), 4 * EPS, 4 * EPS)


def test_every_operator_of_floats_is_in_the_table():
    from rvcnn.models.imported import OPS
    from rvcnn.onnx.export.layers import EMITTERS

    assert set(OPS.values()) <= EMITTERS.keys()
    architectures = (
        a.build(padding="same", bn_eps=1e-3, num_classes=3, embedding_dim=2)
        for a in ARCHITECTURES.values()
    )
    used = {type(node.op) for graph in architectures for node in graph.nodes}
    assert used <= EMITTERS.keys()


def photographs(data, count):
    return sorted((data / "images" / "imagenet500").iterdir())[:: 500 // count][:count]


def test_embeddings_of_photographs_with_everything_inside_or_outside(data, tmp_path):
    """Resized by rvcnn, bytes into the file give the Embedder's vectors; so do floats."""
    model, embedder = create_model(num_classes=0), rvcnn.Embedder()
    settings = Preprocess.from_metadata(model.weights.metadata)
    files = photographs(data, 4)
    want = embedder.embed(files)
    pixels = np.stack([settings.pixels(decode(f).image) for f in files])
    rvcnn.export_onnx(model, tmp_path / "m.onnx")
    assert_alike(run(tmp_path / "m.onnx", planes(settings.normalise(pixels)))[1], want, 1e-5)
    rvcnn.export_onnx(model, tmp_path / "p.onnx", preprocess="normalize", postprocess=True)
    kind, got = run(tmp_path / "p.onnx", {"pixels": pixels})
    assert kind == "embedding"
    assert_alike(got, want, rounding(model))
    told = {p.key: p.value for p in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert told["mean"] == model.weights.metadata["mean"] and told["resize"] == "256"
    inside = {p.key for p in onnx.load(tmp_path / "p.onnx").metadata_props}
    assert "source" in inside and "mean" not in inside


SIZES = [(300, 211), (512, 685), (260, 256), (90, 70), (256, 256), (1000, 240)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_are_resized_and_cropped_as_pillow_does(tmp_path, interpolation):
    """Both filters work in bytes: a grey level is the most that their rounding may differ by."""
    from rvcnn.onnx.export.graph import to_onnx

    settings = Preprocess(72, 64, interpolation, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), "bgr")
    graph = bound_to_random(layers(("mean", ops.GlobalAvgPool())))
    model = to_onnx(graph, (64, 64, 3), pixels=settings, resize=True)
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, None)
    )
    rng = np.random.default_rng(0)
    for size in SIZES:
        coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
        picture = np.array(coarse.resize(size, Image.Resampling.BICUBIC))
        got = run(model, {"pixels": picture[None]})[1][0].transpose(1, 2, 0)
        pixels = settings.pixels(Image.fromarray(picture)).astype(int)
        want = settings.normalise(pixels)
        step = 1 / (255 * np.array(settings.std))
        assert got.shape == (64, 64, 3)
        assert (np.abs(got - want) / step).max() < 1 + 1e-3, size


def test_an_image_of_any_size_gives_nearly_the_embedders_vector(data, tmp_path):
    embedder = rvcnn.Embedder()
    rvcnn.export_onnx(create_model(), tmp_path / "m.onnx", preprocess="resize")
    for file in photographs(data, 3):
        picture = np.array(decode(file).image.convert("RGB"))
        (got,) = run(tmp_path / "m.onnx", {"pixels": picture[None]})[1]
        assert got @ embedder.embed([picture])[0] > 0.999


@pytest.mark.parametrize(
    ("name", "settings"), [CASES[0], CASES[4], CASES[6], CASES[7]], ids=lambda v: str(v)[:20]
)
@pytest.mark.parametrize("any_size", [False, True])
def test_rvcnn_reads_its_own_files_to_the_same_bits(
    random_model, tmp_path, name, settings, any_size
):
    model, file = random_model(name, **settings), tmp_path / "m.onnx"
    rvcnn.export_onnx(model, file, size=None if any_size else 64, any_size=any_size)
    x = image(5, 1, 64, 64, 3)
    again = create_model(weights=file)
    assert len(again._optimised.nodes) == len(model._optimised.nodes)
    assert again(x).tobytes() == model(x).tobytes()


def test_an_embedder_of_the_exported_model_gives_the_same_vectors(data, tmp_path):
    rvcnn.export_onnx(create_model(), tmp_path / "m.onnx")
    files = photographs(data, 2)
    again = rvcnn.Embedder(weights=tmp_path / "m.onnx")
    assert again.embed(files).tobytes() == rvcnn.Embedder().embed(files).tobytes()


def test_an_imported_network_is_written_again(tmp_path):
    one, two, three = (tmp_path / f"{i}.onnx" for i in range(3))
    rvcnn.export_onnx(create_model(), one, size=64)
    again = create_model(weights=one)
    assert again.weights.metadata["crop"] == "64" and again.weights.metadata["resize"] == "73"
    rvcnn.export_onnx(again, two)
    x = image(6, 2, 64, 64, 3)
    kind, got = run(two, planes(x))
    assert kind == "embedding"
    assert_alike(got, create_model()(x), rounding(again))
    with pytest.raises(UsageError, match="takes images of 64 pixels only"):
        rvcnn.export_onnx(again, three, any_size=True)


def test_without_the_package_a_message_says_how_to_get_it(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("rvcnn.onnx.export.") or n == "onnx"]:
        if not name.endswith(".model"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UsageError, match=r"needs the package onnx: pip install 'rvcnn\[onnx\]'"):
        rvcnn.export_onnx(create_model(), tmp_path / "m.onnx")


def test_probabilities_and_unit_length(random_model, tmp_path):
    model, file = random_model("mobilenetv2"), tmp_path / "m.onnx"
    x = image(4, 2, 64, 64, 3)
    rvcnn.export_onnx(model, file, size=64, postprocess=True)
    kind, got = run(file, planes(x))
    powers = np.exp(np.float64(model(x)))
    assert kind == "probabilities"
    np.testing.assert_allclose(got, powers / powers.sum(1, keepdims=True), rtol=1e-3)
    pooled = create_model(weights=model.weights.source, embedding="features.4 pooled")
    rvcnn.export_onnx(pooled, file, size=64)
    want = pooled(x)
    assert_alike(run(file, planes(x))[1], want, rounding(pooled))
    rvcnn.export_onnx(pooled, file, size=64, postprocess=True)
    want = want / np.linalg.norm(want, axis=1, keepdims=True)
    assert_alike(run(file, planes(x))[1], want, rounding(pooled))


def test_a_file_is_the_same_each_time_fixed_where_asked_and_passes_the_checker(tmp_path):
    model = create_model()
    for name in ("a", "b"):
        rvcnn.export_onnx(model, tmp_path / name, size=96, batch=4)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    written = onnx.load(tmp_path / "a")
    onnx.checker.check_model(written, full_check=True)
    (given,) = written.graph.input
    assert [d.dim_value for d in given.type.tensor_type.shape.dim] == [4, 3, 96, 96]
    rvcnn.export_onnx(model, tmp_path / "a", any_size=True)
    (given,) = onnx.load(tmp_path / "a").graph.input
    assert [d.dim_param for d in given.type.tensor_type.shape.dim] == ["N", "", "H", "W"]


def test_what_cannot_be_written_is_said_and_leaves_no_file(tmp_path):
    file, model = tmp_path / "m.onnx", create_model()
    int8 = create_model(precision="int8")
    lanczos, unclear = create_model(), create_model()
    unclear.weights.metadata["crop"] = "all"
    lanczos.weights.metadata["interpolation"] = "lanczos"
    for error, message, network, options in (
        (UsageError, "written in fp32", int8, {}),
        (UsageError, "one of normalize, resize, not 'all'", model, {"preprocess": "all"}),
        (UsageError, "neither one that is given", model, {"any_size": True, "size": 64}),
        (UsageError, "cropped to 224 pixels, not to 64", model, dict(preprocess="resize", size=64)),
        (
            UsageError,
            "no lanczos resize like Pillow's, only bilinear, bicubic",
            lanczos,
            {"preprocess": "resize"},
        ),
        (WeightsError, "'crop' is 'all', not a number", unclear, {}),
        (ShapeError, "takes images of 32 to", model, {"size": 8}),
    ):
        with pytest.raises(error, match=message):
            rvcnn.export_onnx(network, file, **options)
    assert not any(tmp_path.iterdir())
