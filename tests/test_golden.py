"""Whole networks: against stored float64 answers, and against an independent float64 network."""

import numpy as np
import pytest
from PIL import Image
from reference_net import ReferenceNet
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import rvcnn

GOLDEN_MAPS = ["features.0", "features.1", "features.4", "features.9", "features.12"]
GOLDEN_MAPS += ["pooled_576", "hidden_1024", "logits_1000"]
LAYER = {"hidden": "classifier.1", "logits": "classifier.3"}
"""Names that rvcnn's layers have in torchvision, where the reference's are plain words."""

EMBEDDED = "mobilenetv3_small_rvcnn.safetensors"


def assert_close(got, want, name):
    """Every value within 1e-5 + 1e-4 of the map's largest."""
    assert got.dtype == np.float32 and got.shape == want.shape, f"{name}: {got.dtype} {got.shape}"
    largest, off = np.abs(want).max(), np.abs(got - want)
    at = np.unravel_index(np.argmax(np.where(np.isnan(off), np.inf, off)), off.shape)
    limit = 1e-5 + 1e-4 * largest
    assert (off <= limit).all(), f"{name} at {at}: got {got[at]}, want {want[at]}, limit {limit}"


def word(golden_name):
    """Return the reference's name of a stored map."""
    return golden_name if "." in golden_name else golden_name.split("_")[0]


def features(model, x, words):
    """Run rvcnn's network up to each cut, by the reference's names; 1 x 1 maps as vectors."""
    cuts = model.forward_features(x, cuts=[LAYER.get(w, w) for w in words])
    cuts = {w: cuts[LAYER.get(w, w)] for w in words}
    return {w: c if "." in w else c.reshape(len(x), -1) for w, c in cuts.items()}


def channels_last(x):
    return np.moveaxis(x, 1, -1) if x.ndim == 4 else x


def normalise(pixels):
    return ((pixels / 255.0 - 0.5) / 0.5).astype(np.float32)


@pytest.fixture(scope="module")
def imagenet_weights(data):
    return data / "weights" / "mobilenetv3_small_in1k_same.safetensors"


@pytest.fixture(scope="module")
def imagenet_golden(data):
    return load_file(data / "golden" / "mobilenetv3_small_in1k_same.safetensors")


@pytest.fixture(scope="module")
def embedded_weights():
    from importlib.resources import as_file, files

    with as_file(files("rvcnn.data") / EMBEDDED) as path:
        yield path


@pytest.fixture(scope="module")
def embedded_golden(request):
    folder = request.config.rootpath / "tests" / "data"
    return load_file(folder / "mobilenetv3_small_rvcnn_golden.safetensors")


@pytest.fixture(scope="module")
def imagenet_cuts(imagenet_weights, imagenet_golden):
    model = rvcnn.create_model("mobilenetv3_small", weights=imagenet_weights, num_classes=1000)
    x = normalise(imagenet_golden["pixels_u8_nhwc"])
    return features(model, x, [word(name) for name in GOLDEN_MAPS])


def test_the_reference_reproduces_the_golden_maps(imagenet_weights, imagenet_golden):
    net = ReferenceNet.from_file(imagenet_weights)
    got = net(net.normalise(imagenet_golden["pixels_u8_nhwc"][:2]))
    for name in GOLDEN_MAPS:
        want = channels_last(imagenet_golden[name][:2])
        off = np.abs(got[word(name)] - want).max()
        assert off <= 1e-6 * np.abs(want).max(), name


@pytest.mark.parametrize("name", GOLDEN_MAPS)
def test_every_golden_cut(imagenet_cuts, imagenet_golden, name):
    want = channels_last(imagenet_golden[name])
    assert_close(imagenet_cuts[word(name)][: len(want)], want, name)


def test_logits_of_the_fused_plan(imagenet_weights, imagenet_golden):
    model = rvcnn.create_model("mobilenetv3_small", weights=imagenet_weights, num_classes=1000)
    got = model(normalise(imagenet_golden["pixels_u8_nhwc"]))
    assert_close(got, imagenet_golden["logits_1000"], "logits")


def test_the_embedded_model(embedded_weights, embedded_golden):
    model = rvcnn.create_model("mobilenetv3_small", weights=embedded_weights, num_classes=0)
    x = normalise(embedded_golden["pixels_u8_nhwc"])
    pooled = features(model, x, ["pooled"])["pooled"]
    assert_close(pooled, embedded_golden["pooled_576"], "pooled")
    got = model(x)
    length = np.linalg.norm(got, axis=1, keepdims=True)
    assert_close(got / length, embedded_golden["embedding_512"], "embedding")


def crop_224(path):
    """Preprocess one photograph: shorter side to 256 by Pillow's bilinear filter, centre crop."""
    with Image.open(path) as image:
        image = image.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize([round(n * scale) for n in image.size], Image.Resampling.BILINEAR)
    left, top = ((n - 224) // 2 for n in image.size)
    return np.asarray(image.crop((left, top, left + 224, top + 224)))


def test_top_1_over_500_photographs(data, imagenet_weights):
    """The k-th file in sorted order is class 2k; the float64 network classifies the same crops."""
    paths = sorted((data / "images" / "imagenet500").iterdir(), key=lambda p: p.name)
    assert len(paths) == 500
    net = ReferenceNet.from_file(imagenet_weights)
    model = rvcnn.create_model("mobilenetv3_small", weights=imagenet_weights, num_classes=1000)
    got, want = [], []
    for start in range(0, 500, 4):
        pixels = np.stack([crop_224(p) for p in paths[start : start + 4]])
        want.append(net(net.normalise(pixels))["logits"])
        got.append(model(normalise(pixels)))
    got, want = np.concatenate(got), np.concatenate(want)
    assert_close(got, want, "logits")
    truth = 2 * np.arange(500)
    top_1 = 100 * np.mean(got.argmax(axis=1) == truth)
    reference = 100 * np.mean(want.argmax(axis=1) == truth)
    assert top_1 >= 78 and abs(top_1 - reference) <= 0.4, f"{top_1} %, reference {reference} %"


@pytest.mark.compare
def test_logits_of_onnx_runtime_on_the_same_weights(data, imagenet_weights, imagenet_golden):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(
        data / "weights" / "mobilenetv3_small_in1k_same.onnx", providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    model = rvcnn.create_model(weights=imagenet_weights)
    for image in normalise(imagenet_golden["pixels_u8_nhwc"][:4, None]):
        channels_first = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
        (want,) = session.run(None, {name: channels_first})
        assert_close(model(image), want, "logits")


def random_weights(like, path, padding, head):
    """Write a weights file: the embedded model's shapes, random values that stay in range."""
    rng = np.random.default_rng(11)
    with safe_open(str(like), "np") as file:
        shapes = {k: file.get_slice(k).get_shape() for k in file.keys() if "embed" not in k}
        metadata = file.metadata()
    if head == "classifier":
        shapes |= {"classifier.0.weight": [1024, 576], "classifier.0.bias": [1024]}
        shapes |= {"classifier.3.weight": [10, 1024], "classifier.3.bias": [10]}
    else:
        shapes |= {"embed.weight": [640, 576], "embed.bias": [640]}
    tensors = {}
    for key, shape in shapes.items():
        if "running_var" in key or (key.endswith("weight") and len(shape) == 1):
            values = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            values = rng.standard_normal(shape) * 0.3
        else:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        tensors[key] = values.astype(np.float32)
    if head == "classifier":
        metadata |= {"num_classes": "10", "embedding": "pooled"}
    else:
        metadata |= {"num_classes": "0", "embedding": "embed", "embedding_dim": "640"}
    save_file(tensors, path, metadata | {"padding": padding})
    return path


SIZES = [(32, 32), (33, 32), (47, 61), (96, 64), (128, 161), (224, 224), (255, 225), (256, 256)]


@pytest.mark.parametrize("head", ["embed", "classifier"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_random_weights_at_any_size(embedded_weights, tmp_path, padding, head):
    """Every cut and the output, at every size, with the padding rule of either framework."""
    path = random_weights(embedded_weights, tmp_path / "random.safetensors", padding, head)
    net = ReferenceNet.from_file(path)
    classes = 10 if head == "classifier" else 0
    model = rvcnn.create_model("mobilenetv3_small", weights=path, num_classes=classes)
    for height, width in SIZES:
        rng = np.random.default_rng(height * 1000 + width)
        x = rng.standard_normal((2, height, width, 3)).astype(np.float32)
        want = net(x)
        output = want.pop("output")
        cuts = features(model, x, list(want))
        for name, value in want.items():
            assert_close(cuts[name], value, f"{padding} {height}x{width} {name}")
        assert_close(model(x), output, f"{padding} {height}x{width} output")


def test_padding_given_wins_over_the_file(embedded_weights):
    x = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    for padding in ("same", "symmetric"):
        model = rvcnn.create_model("mobilenetv3_small", weights=embedded_weights, padding=padding)
        want = ReferenceNet.from_file(embedded_weights, padding=padding)(x)
        got = model.forward_features(x, cuts=["features.12"])["features.12"]
        assert_close(got, want["features.12"], padding)


def test_the_same_image_gives_the_same_bytes_in_any_batch_on_any_threads(embedded_weights):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((9, 64, 80, 3)).astype(np.float32)
    one, three = (rvcnn.create_model(weights=embedded_weights, threads=n) for n in (1, 3))
    want = [one(image[None])[0].tobytes() for image in x]
    order = rng.permutation(9)
    for model in (one, three):
        assert [row.tobytes() for row in model(x)] == want
        assert [row.tobytes() for row in model(x[order])] == [want[i] for i in order]
