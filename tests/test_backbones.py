"""Every architecture: as its authors count it, and as PyTorch computes it."""

import functools

import numpy as np
import pytest
import torch_nets
from graph_checks import image, random_tensors
from reference_net import ReferenceNet

from rvcnn.errors import ShapeError, WeightsError
from rvcnn.model import create_model
from rvcnn.models import ARCHITECTURES
from rvcnn.weights import save_weights

SMALL = (2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1)
LARGE = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)
NETWORKS = {
    "mobilenetv3_small": functools.partial(torch_nets.mobilenetv3, strides=SMALL, swishes_from=4),
    "mobilenetv3_large": functools.partial(torch_nets.mobilenetv3, strides=LARGE, swishes_from=7),
    "mobilenetv3_small_minimalistic": functools.partial(
        torch_nets.mobilenetv3_minimalistic, strides=SMALL
    ),
    "mobilenetv3_large_minimalistic": functools.partial(
        torch_nets.mobilenetv3_minimalistic, strides=LARGE
    ),
    "mobilenetv2": torch_nets.mobilenetv2,
    "efficientnet_b0": torch_nets.efficientnet_b0,
    "resnet18": torch_nets.resnet,
    "resnet50": torch_nets.resnet,
}
SHUFFLED = {
    ("0_5", ""): {},
    ("1_0", "leaky, no conv5"): {"activation": "leaky_relu_0.1", "conv5": "false"},
    ("1_0", "megvii"): {"shuffle": "before a block"},
    ("1_5", ""): {},
    ("2_0", "megvii, no conv5"): {"shuffle": "before a block", "conv5": "false"},
}


def shufflenet(metadata):
    """PyTorch's ShuffleNetV2 of a file with this metadata."""
    return functools.partial(
        torch_nets.shufflenetv2,
        leaky=0.1 if metadata.get("activation") == "leaky_relu_0.1" else 0.0,
        megvii=metadata.get("shuffle") == "before a block",
    )


# Parameters and multiply-adds (in units of 10^9, 1000 classes, 224 x 224) as torchvision
# publishes them with its weights; the minimalistic network's as TensorFlow's authors do, rounded.
PUBLISHED = {
    "mobilenetv3_small": (2_542_856, 0.057),
    "mobilenetv3_large": (5_483_032, 0.217),
    "mobilenetv3_large_minimalistic": (3_924_288, 0.209),
    "mobilenetv2": (3_504_872, 0.301),
    "efficientnet_b0": (5_288_548, 0.386),
    "resnet18": (11_689_512, 1.814),
    "resnet50": (25_557_032, 4.089),
    "shufflenetv2_x0_5": (1_366_792, 0.04),
    "shufflenetv2_x1_0": (2_278_604, 0.145),
    "shufflenetv2_x1_5": (3_503_624, 0.296),
    "shufflenetv2_x2_0": (7_393_996, 0.583),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    parameters, multiply_adds = PUBLISHED[name]
    architecture = ARCHITECTURES[name]
    assert create_model(name, weights="random", num_classes=1000).num_parameters == parameters
    graph = architecture.build(padding=None, bn_eps=1e-5, num_classes=1000, embedding_dim=0)
    assert round(graph.multiply_adds((224, 224, 3)) / 1e9, 3) == multiply_adds


def relative_error(got, want):
    """Largest error against the largest value."""
    assert got.shape == want.shape and np.abs(want).max() > 0
    return np.abs(got - want).max() / np.abs(want).max()


def random_file(path, name, padding="symmetric", **metadata):
    """Write a file of random weights with 10 classes; return its tensors."""
    settings = {"padding": padding, "bn_eps": "1e-05", "num_classes": "10", **metadata}
    options = ARCHITECTURES[name].options(settings)
    graph = ARCHITECTURES[name].build(
        padding=padding, bn_eps=1e-5, num_classes=10, embedding_dim=0, **options
    )
    tensors = random_tensors(graph)
    settings |= {"architecture": name, "embedding": "pooled"}
    save_weights(path, tensors, settings)
    return tensors


def check_cuts(model, want, x):
    """Compare every block's map, unfused, and the fused network's result."""
    cuts = model.forward_features(x, list(want))
    for name, expected in want.items():
        got = cuts[name].reshape(np.shape(expected))
        assert relative_error(got, np.asarray(expected)) <= 1e-4, name
    last = np.asarray(want[list(want)[-1]])
    assert relative_error(model(x).reshape(last.shape), last) <= 1e-4


@pytest.mark.parametrize("padding", ["symmetric", "same"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_block_equals_pytorchs(torch, tmp_path, name, padding):
    tensors = random_file(tmp_path / "w.safetensors", name, padding)
    x = image(3, 2, 64, 75, 3)
    want = torch_nets.Net(tensors, 1e-5, padding).run(NETWORKS[name], x)
    check_cuts(create_model(weights=tmp_path / "w.safetensors"), want, x)


WIDE = [("small", "0.5"), ("small", "1.25"), ("large", "0.75"), ("large", "1.25")]


@pytest.mark.parametrize(("size", "width"), WIDE)
def test_every_block_of_other_widths_and_d_li14s_squeeze(torch, tmp_path, size, width):
    name = f"mobilenetv3_{size}"
    metadata = {"width": width, "squeeze": "before activation"}
    tensors = random_file(tmp_path / "w.safetensors", name, **metadata)
    x = image(3, 1, 64, 75, 3)
    network = functools.partial(NETWORKS[name], squeeze_first=True)
    want = torch_nets.Net(tensors, 1e-5).run(network, x)
    check_cuts(create_model(weights=tmp_path / "w.safetensors"), want, x)


@pytest.mark.parametrize(("width", "kind"), SHUFFLED)
def test_every_shuffled_block_equals_pytorchs(torch, tmp_path, width, kind):
    metadata = SHUFFLED[width, kind]
    tensors = random_file(tmp_path / "w.safetensors", f"shufflenetv2_x{width}", **metadata)
    x = image(4, 2, 64, 75, 3)
    want = torch_nets.Net(tensors, 1e-5).run(shufflenet(metadata), x)
    check_cuts(create_model(weights=tmp_path / "w.safetensors"), want, x)


REAL_SHUFFLENETS = {
    "shufflenetv2_x1_0_nanodet_backbone": {"activation": "leaky_relu_0.1"},
    "shufflenetv2_x0_5_fastestdet_backbone": {"shuffle": "before a block"},
}


@pytest.mark.parametrize("name", REAL_SHUFFLENETS)
def test_shufflenets_with_real_weights(torch, data, name):
    model = create_model(weights=data / "weights" / f"{name}.safetensors", bn_eps=1e-5)
    x = image(5, 1, 224, 224, 3)
    net = torch_nets.Net(model.weights.tensors, 1e-5)
    check_cuts(model, net.run(shufflenet(REAL_SHUFFLENETS[name]), x), x)


def test_large_minimalistic_with_real_weights(data):
    file = data / "weights" / "mobilenetv3_large_minimalistic_in1k_same.safetensors"
    x = image(5, 1, 224, 224, 3)
    want = ReferenceNet.from_file(file)(x)
    cuts = {name: value for name, value in want.items() if name.startswith("features.")}
    check_cuts(create_model(weights=file), cuts | {"classifier.3": want["logits"]}, x)


# --- where an embedding is taken from -------------------------------------------------------------


def test_embeddings_from_named_layers(tmp_path):
    file = tmp_path / "w.safetensors"
    random_file(file, "mobilenetv3_small")
    x = image(6, 2, 64, 64, 3)
    layers = create_model(weights=file).forward_features(
        x, ["pooled", "classifier.1", "features.4"]
    )
    want = {
        "pooled": layers["pooled"][:, 0, 0],
        "pre_logits": layers["classifier.1"][:, 0, 0],
        "features.4 pooled": layers["features.4"].mean(axis=(1, 2)),
    }
    assert [v.shape[1] for v in want.values()] == [576, 1024, 40]
    for layer, expected in want.items():
        model = create_model(weights=file, embedding=layer)
        assert model.dim == expected.shape[1]
        assert relative_error(model(x), expected) <= 1e-5
        assert model.weights.metadata["embedding"] == layer
    assert create_model(weights=file, num_classes=0).dim == 576


def test_the_embedded_models_own_head_or_its_pooling():
    assert create_model().dim == 512
    assert create_model(embedding="pooled").dim == 576
    assert create_model(embedding="embed").dim == 512


def test_pre_logits_of_a_network_without_a_hidden_layer_are_its_pooling():
    for layer in ("pooled", "pre_logits"):
        model = create_model("resnet18", weights="random", num_classes=7, embedding=layer)
        assert model.graph.outputs == ("pooled",) and model.dim == 512


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        ("pre_logits", WeightsError, "no classifier, so no pre_logits"),
        ("features.4", WeightsError, "is a map, not an embedding"),
        ("features.99", ShapeError, "no layer 'features.99'"),
        ("features.99 pooled", ShapeError, "no layer 'features.99'"),
    ],
)
def test_embeddings_that_cannot_be_had(layer, error, message):
    with pytest.raises(error, match=message):
        create_model(embedding=layer, normalize=False)
