"""The same network under other projects' names."""

import checkpoints as c
import numpy as np
import pytest
from graph_checks import random_tensors
from layouts import to_d_li14, to_megvii, to_timm, to_timm_of_stages
from reference_net import ReferenceNet

from rvcnn.errors import UsageError, WeightsError
from rvcnn.images import Preprocess
from rvcnn.model import create_model
from rvcnn.models import ARCHITECTURES, MobileNetConfig, mobilenetv3
from rvcnn.weights import load_weights
from rvcnn.weights.convert import import_weights

NAMES = ("mobilenetv3_small", "mobilenetv3_large")
SETTINGS = {"padding": "symmetric", "bn_eps": "0.001", "mean": "0,0,0", "std": "1,1,1"}
FIRST = {"squeeze": "before activation"}

LAYOUTS = {
    "timm": (to_timm, {}),
    "d-li14": (to_d_li14, FIRST),
    "d-li14 of old": (lambda t, n: to_d_li14(t, n, "conv.6"), {}),
    "torchvision": (lambda t, n: t, {}),
}


def tensors_of(name, **options):
    config = MobileNetConfig(name.removeprefix("mobilenetv3_"), embedding_dim=0, **options)
    return random_tensors(mobilenetv3(config))


@pytest.fixture(params=NAMES)
def network(request):
    """A network's name and random tensors for it, with a classifier of 10 classes."""
    return request.param, tensors_of(request.param, num_classes=10)


@pytest.fixture
def image():
    return np.random.default_rng(1).standard_normal((1, 64, 64, 3)).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("write", [c.as_zip, c.as_legacy])
def test_every_layout_loads_to_the_same_tensors(network, tmp_path, layout, write):
    name, tensors = network
    rename, facts = LAYOUTS[layout]
    path = tmp_path / "w.pth"
    path.write_bytes(write(rename(tensors, name)))
    weights = load_weights(path)
    assert weights.tensors.keys() == tensors.keys()
    for key, want in tensors.items():
        assert weights.tensors[key].shape == want.shape
        assert weights.tensors[key].tobytes() == want.tobytes()
    assert weights.metadata == {"architecture": name, "num_classes": "10"} | facts
    project = layout.removesuffix(" of old")
    told = f"names are {project}'s; translated to torchvision's"
    assert (told in weights.notes) == (project != "torchvision")


@pytest.mark.parametrize("layout", ["timm", "d-li14 of old"])
def test_every_layout_computes_the_same_bits(network, tmp_path, image, layout):
    name, tensors = network
    results = []
    for rename in (LAYOUTS[layout][0], LAYOUTS["torchvision"][0]):
        (tmp_path / "w.pth").write_bytes(c.as_zip(rename(tensors, name)))
        model = create_model(weights=tmp_path / "w.pth", padding="symmetric", bn_eps=1e-5)
        results.append(model(image))
    assert results[0].tobytes() == results[1].tobytes()
    assert np.isfinite(results[0]).all() and np.ptp(results[0]) > 0


def test_squeeze_excite_before_the_activation_as_d_li14_has_it(network, tmp_path, image):
    name, tensors = network
    (tmp_path / "w.pth").write_bytes(c.as_zip(to_d_li14(tensors, name)))
    model = create_model(weights=tmp_path / "w.pth", padding="symmetric", bn_eps=0.001)
    want = ReferenceNet(tensors, SETTINGS | FIRST | {"architecture": name})(image)["logits"]
    usual = ReferenceNet(tensors, SETTINGS | {"architecture": name})(image)["logits"]
    scale = np.abs(want).max()
    assert np.abs(model(image) - want).max() < 1e-4 * scale
    assert np.abs(usual - want).max() > 1e-2 * scale


@pytest.mark.parametrize("width", [0.5, 0.75, 1.25])
def test_the_tables_serve_every_width(tmp_path, width):
    for name in NAMES:
        tensors = tensors_of(name, width_multiplier=width, num_classes=3)
        for rename, _ in LAYOUTS.values():
            (tmp_path / "w.pth").write_bytes(c.as_zip(rename(tensors, name)))
            weights = load_weights(tmp_path / "w.pth")
            assert {k: v.shape for k, v in weights.tensors.items()} == {
                k: v.shape for k, v in tensors.items()
            }
            assert weights.metadata["architecture"] == name
            assert weights.metadata["width"] == str(width)


@pytest.mark.parametrize("layout", ["timm", "d-li14"])
def test_squeeze_excite_may_be_left_out(tmp_path, layout):
    tensors = tensors_of("mobilenetv3_large", num_classes=3, use_se=False)
    (tmp_path / "w.pth").write_bytes(c.as_zip(_without_squeeze(LAYOUTS[layout][0], tensors)))
    assert load_weights(tmp_path / "w.pth").tensors.keys() == tensors.keys()


def _without_squeeze(rename, tensors):
    """Rename tensors of a network without squeeze-excite: the numbers of its blocks close up."""
    full = tensors_of("mobilenetv3_large", num_classes=3)
    renamed = rename(full, "mobilenetv3_large")
    kept = {k: v for k, v in renamed.items() if ".se." not in k and ".fc." not in k}
    assert len(kept) == len(tensors)
    return kept


@pytest.mark.parametrize("layout", ["timm", "d-li14"])
def test_a_tensor_that_no_table_knows_is_named_as_the_file_names_it(network, tmp_path, layout):
    name, tensors = network
    renamed = LAYOUTS[layout][0](tensors, name) | {"blocks.9.norm.weight": np.ones(3, np.float32)}
    (tmp_path / "w.pth").write_bytes(c.as_zip(renamed))
    with pytest.raises(WeightsError, match=r"unexpected: blocks\.9\.norm\.weight$"):
        create_model(name, weights=tmp_path / "w.pth", padding="same", bn_eps=1e-3, num_classes=10)


def test_two_tensors_for_one_place_are_refused(tmp_path):
    tensors = tensors_of("mobilenetv3_small")
    renamed = to_timm(
        tensors | {"classifier.0.weight": np.ones((4, 4)), "classifier.0.bias": np.ones(4)},
        "mobilenetv3_small",
    )
    twice = renamed | {"features.0.0.weight": tensors["features.0.0.weight"]}
    (tmp_path / "w.pth").write_bytes(c.as_zip(twice))
    with pytest.raises(WeightsError, match="same name in rvcnn's layout"):
        load_weights(tmp_path / "w.pth")


def test_what_metadata_says_of_the_squeeze_must_mean_something(tmp_path):
    from rvcnn.weights import save_weights

    tensors = tensors_of("mobilenetv3_small")
    metadata = {"embedding": "pooled", "padding": "same", "bn_eps": "0.001", "squeeze": "now"}
    save_weights(tmp_path / "w.safetensors", tensors, metadata)
    with pytest.raises(WeightsError, match="squeeze = 'now', not one of before activation, after"):
        create_model(weights=tmp_path / "w.safetensors")


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("conv5", [True, False])
def test_a_shufflenet_under_megviis_names(tmp_path, conv5, numbered):
    build = ARCHITECTURES["shufflenetv2_x0_5"].build
    heads = dict(num_classes=3 if conv5 else 0, embedding_dim=0)
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, conv5=conv5, **heads))
    (tmp_path / "w.pth").write_bytes(c.as_zip(to_megvii(tensors, numbered)))
    weights = load_weights(tmp_path / "w.pth")
    assert weights.tensors.keys() == tensors.keys()
    assert all(weights.tensors[k].tobytes() == v.tobytes() for k, v in tensors.items())
    assert weights.metadata["shuffle"] == "before a block"
    assert weights.metadata["conv5"] == str(conv5).lower()
    assert "names are megvii's; translated to torchvision's" in weights.notes


def test_megviis_classifier_has_no_bias(tmp_path, image):
    """Its bytes go into the network as they are, blue first."""
    build = ARCHITECTURES["shufflenetv2_x0_5"].build
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, num_classes=3, embedding_dim=0))
    renamed = to_megvii(tensors)
    del renamed["classifier.0.bias"]
    (tmp_path / "w.pth").write_bytes(c.as_zip(renamed))
    target = tmp_path / "w.safetensors"
    weights = import_weights(tmp_path / "w.pth", target, preset="megvii")
    assert "fc has no bias there: zeros" in weights.notes
    assert weights.tensors["fc.bias"].tolist() == [0, 0, 0]
    rest = tensors.keys() - {"fc.bias"}
    assert all(weights.tensors[k].tobytes() == tensors[k].tobytes() for k in rest)
    pixels = np.random.default_rng(2).integers(0, 256, (5, 4, 3), np.uint8)
    seen = Preprocess.from_metadata(weights.metadata)
    np.testing.assert_allclose(seen.normalise(pixels), pixels, rtol=1e-6)
    assert seen.channel_order == "bgr"
    whole = create_model(weights=target)
    (tmp_path / "b.pth").write_bytes(c.as_zip(to_megvii(tensors)))
    biased = create_model(weights=tmp_path / "b.pth", padding="symmetric", bn_eps=1e-5)
    np.testing.assert_allclose(whole(image) + tensors["fc.bias"], biased(image), rtol=1e-5)


def test_a_matrix_of_no_elements_gets_no_bias(tmp_path):
    """Its rows cost nothing in a file; a bias for each would fill the memory."""
    build = ARCHITECTURES["shufflenetv2_x0_5"].build
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, num_classes=3, embedding_dim=0))
    renamed = to_megvii(tensors) | {"classifier.0.weight": np.zeros((2**40, 0), np.float32)}
    del renamed["classifier.0.bias"]
    np.savez(tmp_path / "w.npz", **renamed)
    assert "fc.bias" not in load_weights(tmp_path / "w.npz").tensors


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("resnet18", {"activation": "relu"}, "resnet18 has no activation to choose; it has one"),
        ("mobilenetv3_small", {"conv5": "true"}, "no conv5 to choose; it has width, squeeze"),
        ("shufflenetv2_x0_5", {"normalize": "yes"}, "normalize is true or false, not 'yes'"),
    ],
)
def test_what_a_network_would_not_listen_to_is_refused(tmp_path, name, given, message):
    build = ARCHITECTURES[name].build
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, num_classes=2, embedding_dim=0))
    (tmp_path / "w.pth").write_bytes(c.as_zip(tensors))
    with pytest.raises(UsageError, match=message):
        import_weights(tmp_path / "w.pth", tmp_path / "w.safetensors", preset="timm", **given)
    assert not (tmp_path / "w.safetensors").exists()


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnet_b0"])
def test_networks_of_stages_under_timms_names(tmp_path, name):
    build = ARCHITECTURES[name].build
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, num_classes=4, embedding_dim=0))
    renamed = to_timm_of_stages(tensors, name)
    assert not renamed.keys() & tensors.keys()
    (tmp_path / "w.pth").write_bytes(c.as_zip(renamed))
    weights = load_weights(tmp_path / "w.pth")
    assert weights.tensors.keys() == tensors.keys()
    assert all(weights.tensors[k].tobytes() == v.tobytes() for k, v in tensors.items())
    assert weights.metadata == {"architecture": name, "num_classes": "4"}
    assert "names are timm's; translated to torchvision's" in weights.notes


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "shufflenetv2_x1_5"])
def test_torchvisions_names_are_known_by_their_shapes(tmp_path, name):
    build = ARCHITECTURES[name].build
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, num_classes=5, embedding_dim=0))
    (tmp_path / "w.pth").write_bytes(c.as_zip(tensors))
    weights = load_weights(tmp_path / "w.pth")
    assert weights.metadata == {"architecture": name, "num_classes": "5"}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("mobilenetv3_small", {"bn_eps": "0.001", "interpolation": "bilinear"}),
        ("mobilenetv2", {"bn_eps": "1e-05", "interpolation": "bilinear"}),
        ("efficientnet_b0", {"bn_eps": "1e-05", "interpolation": "bicubic"}),
    ],
)
def test_torchvisions_way_to_run_each_network(tmp_path, name, facts):
    build = ARCHITECTURES[name].build
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, num_classes=2, embedding_dim=0))
    (tmp_path / "w.pth").write_bytes(c.as_zip(tensors))
    target = tmp_path / "w.safetensors"
    weights = import_weights(tmp_path / "w.pth", target, preset="torchvision")
    assert facts.items() <= weights.metadata.items()
    chosen = import_weights(tmp_path / "w.pth", target, preset="torchvision", bn_eps="0.5")
    assert chosen.metadata["bn_eps"] == "0.5"


def test_what_shapes_tell_of_a_shufflenet_without_its_last_convolution(tmp_path):
    build = ARCHITECTURES["shufflenetv2_x1_0"].build
    heads = dict(num_classes=0, embedding_dim=0)
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, conv5=False, **heads))
    (tmp_path / "w.pth").write_bytes(c.as_zip(tensors))
    weights = load_weights(tmp_path / "w.pth")
    facts = {"architecture": "shufflenetv2_x1_0", "num_classes": "0", "conv5": "false"}
    assert weights.metadata == facts
