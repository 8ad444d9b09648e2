"""From a float network to bytes: a small network whose every layer can be checked by itself."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from rvcnn.errors import ShapeError, UsageError, WeightsError
from rvcnn.graph import INPUT, Graph, Node
from rvcnn.ops import Conv2d, GlobalAvgPool, Linear, ScaleChannels
from rvcnn.passes.quantise import quantise
from rvcnn.plan import Plan
from rvcnn.quantization import bias, calibrate, passes
from rvcnn.quantization.file import from_tensors, is_int8, to_tensors
from rvcnn.quantization.recipe import Quantization
from rvcnn.quantization.record import Recorder
from rvcnn.weights import save_weights

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SETTINGS = {
    "resize": "32",
    "crop": "24",
    "interpolation": "bilinear",
    "mean": "0.485,0.456,0.406",
    "std": "0.229,0.224,0.225",
}
DEPTHWISE = Conv2d(16, 16, (5, 5), padding="same", groups=16, bias=True, activation="hard_swish")
SUM = Conv2d(8, 8, bias=True, residual=True, activation="silu", sum_first=True)
LAYERS = (
    ("stem", Conv2d(3, 16, (3, 3), (2, 2), "same", bias=True, activation="hard_swish"), (INPUT,)),
    ("depthwise", DEPTHWISE, ("stem",)),
    ("squeezed", GlobalAvgPool(), ("depthwise",)),
    ("fc1", Conv2d(16, 8, bias=True, activation="relu"), ("squeezed",)),
    ("fc2", Conv2d(8, 16, bias=True, activation="hard_sigmoid"), ("fc1",)),
    ("scaled", ScaleChannels(), ("depthwise", "fc2")),
    ("project", Conv2d(16, 8, bias=True), ("scaled",)),
    ("expand", Conv2d(8, 24, activation="relu"), ("project",)),
    ("line", Conv2d(24, 8, bias=True, residual=True), ("expand", "project")),
    ("sum", SUM, ("line", "line")),
    ("last", Conv2d(8, 40, (3, 3), padding="same", bias=True, activation="relu6"), ("sum",)),
    ("pooled", GlobalAvgPool(), ("last",)),
    ("logits", Linear(40, 12), ("pooled",)),
)


def network(seed=0):
    """A graph with random weights, biases that matter, and channels of unlike sizes."""
    rng = np.random.default_rng(seed)
    nodes = []
    for name, op, inputs in LAYERS:
        params = {}
        for key, shape in op.parameters().items():
            deviation = 1.5 / np.sqrt(np.prod(shape[1:])) if key == "weight" else 0.3
            params[key] = rng.normal(0, deviation, shape).astype(np.float32)
            if key == "weight":
                sizes = np.exp(rng.normal(0, 0.7, shape[0]))
                params[key] *= sizes.reshape(-1, *[1] * (len(shape) - 1)).astype(np.float32)
        nodes.append(Node(name, op, inputs, params))
    return Graph(tuple(nodes), ("logits",))


def photographs(count=12, seed=1):
    """Pixels that vary smoothly, as photographs do."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 4, 4, 3))
    return np.kron(coarse, np.ones((1, 6, 6, 1))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    return SimpleNamespace(
        _layers=network(), weights=SimpleNamespace(metadata=SETTINGS, source="test")
    )


@pytest.fixture(scope="module")
def quantization(model):
    return calibrate(model, photographs())


def float_maps(graph, images):
    """Every map of every image by the operators' references, float64."""
    for image in images:
        maps = {INPUT: (image / 255 - MEAN) / STD}
        for node in graph.nodes:
            maps[node.name] = node.op.reference(node.params, *(maps[i] for i in node.inputs))
        yield maps


def test_what_is_held_and_how(quantization):
    assert set(quantization.weights) == {n for n, op, _ in LAYERS if op.parameters()}
    assert set(quantization.biases) == set(quantization.weights)
    per_channel = {n for n, p in quantization.activations.items() if p.per_channel}
    assert per_channel == {INPUT, "stem", "depthwise", "last"}
    assert set(quantization.activations) - per_channel == {
        "scaled",
        "project",
        "expand",
        "line",
        "sum",
        "pooled",
    }
    assert quantization.float_maps == {"project", "line", "sum", "pooled"}


def test_ranges_are_those_of_the_maps(model):
    chosen = calibrate(model, photographs(), "minmax", correct_bias=False).activations
    seen = list(float_maps(model._layers, photographs()))
    for name in ("stem", "scaled", "expand"):
        x = np.stack([maps[name] for maps in seen])
        if chosen[name].per_channel:
            low, high = x.min((0, 1, 2)), x.max((0, 1, 2))
        else:
            low, high = x.min(), x.max()
        width = 255 * np.float64(chosen[name].scale)
        np.testing.assert_allclose(width, np.maximum(high, 0) - np.minimum(low, 0), rtol=1e-4)


def test_pixels_are_held_as_they_are(quantization):
    params = quantization.activations[INPUT]
    pixels = np.arange(256)[:, None] * np.ones(3)
    real = (pixels - params.zero_point) * params.scale
    np.testing.assert_allclose(real, (pixels / 255 - MEAN) / STD, atol=2e-6)


def test_weights_are_the_networks_to_half_a_step(model, quantization):
    for node in model._layers.nodes:
        if node.name not in quantization.weights:
            continue
        held = quantization.weights[node.name]
        weight, scale = node.params["weight"].astype(np.float64), held.scale.astype(np.float64)
        if node.inputs[0] == INPUT:
            weight = weight / (255 * STD).reshape(1, 3, 1, 1)
        steps = weight / scale.reshape(-1, *[1] * (weight.ndim - 1))
        assert np.abs(steps - held.values).max() <= 0.5 + 1e-4
        rows = np.abs(held.values.reshape(len(scale), -1).astype(int)).max(1)
        np.testing.assert_array_equal(rows, 127)


def test_biases_take_up_the_mean_of_what_rounding_loses(model):
    graph, images = model._layers, photographs()
    line = (1 / (255 * STD), -MEAN / STD)
    plain = calibrate(model, images, correct_bias=False)
    quantization = bias._each(plain, Recorder(graph, images, line))
    sums = {}
    for maps in float_maps(graph, images):
        for node in graph.nodes:
            if node.name not in quantization.weights:
                continue
            bare = {"activation": "identity", "residual": False, "sum_first": False}
            op = replace(node.op, **{k: v for k, v in bare.items() if hasattr(node.op, k)})
            x = rounded = maps[node.inputs[0]]
            if node.inputs[0] in quantization.activations and node.inputs[0] != INPUT:
                rounded = quantization.activations[node.inputs[0]].round_trip(x)
            for way, biases in (("corrected", quantization.biases), ("plain", plain.biases)):
                held = {"weight": quantization.float_weight(node), "bias": biases[node.name]}
                lost = op.reference(node.params, x) - op.reference(held, rounded)
                sums.setdefault((node.name, way), []).append(lost.mean((0, 1)))
    for name in quantization.weights:
        left, before = (np.abs(np.mean(sums[name, w], 0)).max() for w in ("corrected", "plain"))
        assert left < 1e-5 + 0.02 * before, name
        assert before > 1e-5, name


def test_sums_that_stay_real_have_the_networks_means(model, quantization):
    graph, images = model._layers, photographs()
    names = bias.watched(graph)
    assert names == ["project", "line", "logits"]
    line = tuple(np.float32(v) for v in (1 / (255 * STD), -MEAN / STD))
    plain = calibrate(model, images, correct_bias=False)
    for name in names:
        exact = np.mean([maps[name].mean((0, 1)) for maps in float_maps(graph, images)], 0)
        off = []
        for held in (quantization, plain):
            whole = replace(quantise(graph, held), outputs=(name,))
            plan = Plan(whole, images.shape[1:], line)
            mean = np.mean([plan.run(image)[0].mean((0, 1)) for image in images], 0)
            off.append(np.abs(mean - exact).max())
        assert off[0] < 0.1 * off[1] + 1e-4, name


def test_the_network_in_bytes_is_near_the_network(model, quantization):
    graph = model._layers
    images = photographs(6, seed=9)
    line = tuple(np.float32(v) for v in (1 / (255 * STD), -MEAN / STD))
    plan = Plan(quantise(graph, quantization), images.shape[1:], line)
    for image, maps in zip(images, float_maps(graph, images), strict=True):
        (y,) = plan.run(image)
        exact = maps["logits"].ravel()
        cosine = y.ravel() @ exact / np.linalg.norm(y) / np.linalg.norm(exact)
        assert cosine > 0.995
        assert 0.97 < np.linalg.norm(y) / np.linalg.norm(exact) < 1.03


def test_the_same_network_of_the_weights_that_bytes_stand_for(model, quantization):
    graph = quantization.bind(model._layers)
    images = photographs(2)
    pairs = zip(float_maps(graph, images), float_maps(model._layers, images), strict=True)
    for held, exact in pairs:
        scale = np.abs(exact["logits"]).max()
        np.testing.assert_allclose(held["logits"], exact["logits"], atol=0.1 * scale)
        assert (held["logits"] != exact["logits"]).all()


def test_one_image_is_enough_and_order_does_not_matter(model):
    one = calibrate(model, photographs(1))
    assert np.isfinite(one.biases["logits"]).all()
    images = photographs(5)
    forth, back = (calibrate(model, v) for v in (images, images[::-1]))
    for name, params in forth.activations.items():
        np.testing.assert_array_equal(params.scale, back.activations[name].scale)
    np.testing.assert_allclose(forth.biases["logits"], back.biases["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("correct", [True, False])
def test_progress_counts_every_image_of_every_pass(model, correct):
    calls = []
    calibrate(model, photographs(3), correct_bias=correct, progress=lambda: calls.append(1))
    assert len(calls) == 3 * passes(model, correct)


def test_images_that_cannot_be(model):
    for images in (np.zeros((0, 8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)):
        with pytest.raises(ShapeError, match="uint8"):
            calibrate(model, images)
    with pytest.raises(ShapeError, match="float32"):
        calibrate(model, np.zeros((1, 8, 8, 3), np.float32))
    with pytest.raises(UsageError, match="unknown calibration"):
        calibrate(model, photographs(1), "entropy")


def test_a_network_that_overflows_is_refused(model):
    graph = model._layers
    stem = graph.nodes[0]
    params = {**stem.params, "bias": np.full(16, np.nan, np.float32)}
    broken = replace(graph, nodes=(replace(stem, params=params), *graph.nodes[1:]))
    with pytest.raises(UsageError, match="NaN"):
        calibrate(SimpleNamespace(_layers=broken, weights=model.weights), photographs(1))


# --- files --------------------------------------------------------------------------------------


def same(a, b):
    """Whether two quantisations hold the same."""
    assert a.float_maps == b.float_maps
    for one, other in ((a.weights, b.weights), (a.biases, b.biases)):
        assert one.keys() == other.keys()
    for name, weight in a.weights.items():
        np.testing.assert_array_equal(weight.values, b.weights[name].values)
        np.testing.assert_array_equal(weight.scale, b.weights[name].scale)
        np.testing.assert_array_equal(a.biases[name], b.biases[name])
    assert a.activations.keys() == b.activations.keys()
    for name, params in a.activations.items():
        np.testing.assert_array_equal(params.scale, b.activations[name].scale)
        np.testing.assert_array_equal(params.zero_point, b.activations[name].zero_point)
        assert params.zero_point.dtype == b.activations[name].zero_point.dtype


def test_a_file_gives_back_what_was_written(model, quantization, tmp_path):
    from safetensors import safe_open

    tensors, metadata = to_tensors(quantization, model._layers)
    save_weights(tmp_path / "q.safetensors", tensors, {**SETTINGS, **metadata})
    with safe_open(str(tmp_path / "q.safetensors"), "np") as file:
        read = {key: file.get_tensor(key) for key in file.keys()}
        assert is_int8(file.metadata()) and not is_int8(SETTINGS)
        again, floats = from_tensors(read, file.metadata())
    same(quantization, again)
    assert floats == {}


def test_what_stays_float_is_in_the_file_too(model, quantization):
    kept = {n: w for n, w in quantization.weights.items() if n != "expand"}
    biases = {n: b for n, b in quantization.biases.items() if n != "expand"}
    part = replace(quantization, weights=kept, biases=biases)
    tensors, metadata = to_tensors(part, model._layers)
    again, floats = from_tensors(tensors, metadata)
    same(part, again)
    assert set(floats) == {"expand.weight"}
    np.testing.assert_array_equal(floats["expand.weight"], model._layers.nodes[7].params["weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem.bias": None}, "stem.bias"),
        ({"stem.output_zero": None}, "stem.output_zero"),
        ({"stem.output_zero": np.zeros(16, np.int32)}, "int32"),
        ({"stem.output_scale": np.zeros(16, np.float32)}, "above 0"),
        ({"stem.output_scale": np.full(16, np.nan, np.float32)}, "above 0"),
        ({"stem.weight": np.zeros((16, 3, 3, 3), np.float32)}, "int8"),
        ({"stem.weight": np.full((16, 3, 3, 3), -128, np.int8)}, "127"),
        ({"stem.weight_scale": np.ones(3, np.float32)}, "scales"),
        ({"stem.bias": np.full(16, np.inf, np.float32)}, "finite"),
    ],
)
def test_damaged_files_are_refused(model, quantization, change, message):
    tensors, metadata = to_tensors(quantization, model._layers)
    tensors = {k: v for k, v in {**tensors, **change}.items() if v is not None}
    with pytest.raises(WeightsError, match=message) as caught:
        from_tensors(tensors, metadata, "q.safetensors")
    assert str(caught.value).startswith("q.safetensors: ")


def test_a_float_file_is_no_int8_file():
    with pytest.raises(WeightsError, match="rvcnn quantize"):
        from_tensors({}, SETTINGS)


def test_a_quantisation_of_another_network_is_refused(model, quantization):
    graph = model._layers
    with pytest.raises(WeightsError, match="no layers .*stem"):
        quantization.bind(replace(graph, nodes=graph.nodes[1:]))
    stem = graph.nodes[0]
    wider = replace(stem, op=replace(stem.op, out_channels=32))
    with pytest.raises(WeightsError, match="stem.weight"):
        quantization.bind(replace(graph, nodes=(wider, *graph.nodes[1:])))
    unbiased = Quantization(quantization.weights, {}, quantization.activations, frozenset())
    with pytest.raises(WeightsError, match="missing"):
        unbiased.bind(graph)


def test_dead_channels_keep_their_biases():
    """Batch normalisation leaves channels of tiny weights, or of none, and a bias that is not."""
    nodes = []
    for node in network().nodes:
        params = dict(node.params)
        if "weight" in params:
            weight = params["weight"].copy()
            weight[0], weight[1] = 0, weight[1] * 1e-12
            params["weight"] = weight
        if "bias" in params:
            params["bias"] = params["bias"] + np.float32(0.25)
        nodes.append(replace(node, params=params))
    graph = replace(network(), nodes=tuple(nodes))
    dead = SimpleNamespace(_layers=graph, weights=SimpleNamespace(metadata=SETTINGS, source="test"))
    images = photographs()
    held = quantise(graph, calibrate(dead, images, correct_bias=False))
    line = tuple(v.astype(np.float32) for v in (1 / (255 * STD), -MEAN / STD))
    exact, rounded = (Plan(g, images.shape[1:], line).run(images[0])[0] for g in (graph, held))
    scale = np.abs(exact).max()
    assert np.abs(exact - rounded)[..., :2].max() < 0.01 * scale
