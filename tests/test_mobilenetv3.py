"""MobileNetV3 as data: widths and parameter counts are torchvision's."""

import numpy as np
import pytest
from graph_checks import image, run_reference
from kernels_checks import assert_within

from rvcnn.errors import UsageError
from rvcnn.model import create_model
from rvcnn.models import MobileNetConfig, mobilenetv3


@pytest.mark.parametrize(("name", "count"), [("small", 2_542_856), ("large", 5_483_032)])
def test_as_many_parameters_as_torchvisions(name, count):
    model = create_model(f"mobilenetv3_{name}", weights="random", num_classes=1000)
    assert model.num_parameters == count


def test_parameters_of_the_layers_that_run():
    trunk = 927_008
    assert create_model().num_parameters == trunk + 512 * 577
    random = create_model("mobilenetv3_small", weights="random", num_classes=10)
    assert random.num_parameters == trunk + 1024 * 577 + 10 * 1025


# Channels after each stage, hidden width and parameters (1000 classes) as torchvision 0.29 makes
# them for `width_mult`.
WIDTHS = {
    ("small", 0.35): ((8, 8, 8, 8, 16, 16, 16, 16, 16, 32, 32, 32, 192), 360, 558_744),
    ("small", 0.5): ((8, 8, 16, 16, 24, 24, 24, 24, 24, 48, 48, 48, 288), 512, 917_264),
    ("small", 0.75): ((16, 16, 24, 24, 32, 32, 32, 40, 40, 72, 72, 72, 432), 768, 1_653_920),
    ("small", 1.0): ((16, 16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96, 576), 1024, 2_542_856),
    ("small", 1.25): ((24, 24, 32, 32, 48, 48, 48, 64, 64, 120, 120, 120, 720), 1280, 3_644_912),
    ("small", 2.0): ((32, 32, 48, 48, 80, 80, 80, 96, 96, 192, 192, 192, 1152), 2048, 7_949_832),
    ("large", 0.5): (
        (8, 8, 16, 16, 24, 24, 24, 40, 40, 40, 40, 56, 56, 80, 80, 80, 480),
        640,
        1_734_576,
    ),
    ("large", 0.75): (
        (16, 16, 24, 24, 32, 32, 32, 64, 64, 64, 64, 88, 88, 120, 120, 120, 720),
        960,
        3_377_576,
    ),
    ("large", 1.25): (
        (24, 24, 32, 32, 48, 48, 48, 104, 104, 104, 104, 144, 144, 200, 200, 200, 1200),
        1600,
        8_164_744,
    ),
}


@pytest.mark.parametrize(("variant", "width"), WIDTHS)
def test_widths_are_rounded_as_torchvision_rounds_them(variant, width):
    channels, hidden, count = WIDTHS[variant, width]
    config = MobileNetConfig(variant, width, num_classes=1000, embedding_dim=0)
    graph = mobilenetv3(config)
    names = [f"features.{i}" for i in range(len(channels))]
    shapes = graph.shapes((224, 224, 3))
    assert tuple(shapes[graph.cut([name]).outputs[0]][2] for name in names) == channels
    parameters = graph.parameters()
    assert parameters["classifier.3.weight"] == (1000, hidden)
    trained = [shape for key, shape in parameters.items() if ".running_" not in key]
    assert sum(int(np.prod(shape)) for shape in trained) == count


@pytest.mark.parametrize("width", [0.5, 1.25])
def test_a_network_of_another_width_runs(width):
    model = create_model(MobileNetConfig("small", width, embedding_dim=64), weights="random")
    x = image(13, 1, 45, 64, 3)
    want = run_reference(model.graph, x[0])[model.graph.outputs[0]]
    assert_within(model(x), want.reshape(1, 64), 1e-4 * np.abs(want).max())


def test_a_network_of_another_width_is_saved_as_what_it_is(tmp_path):
    model = create_model(MobileNetConfig("small", 0.5, embedding_dim=24), weights="random")
    model.save_weights(tmp_path / "w.safetensors")
    again = create_model(weights=tmp_path / "w.safetensors")
    assert again.weights.metadata["width"] == "0.5"
    assert again.graph.parameters() == model.graph.parameters()


def test_without_squeeze_excite():
    with_se, without = (mobilenetv3(MobileNetConfig(use_se=use)) for use in (True, False))
    assert any(".fc1." in key for key in with_se.parameters())
    assert not any(".fc" in key for key in without.parameters())
    assert with_se.shapes((64, 64, 3))["embed"] == without.shapes((64, 64, 3))["embed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(variant="medium"), "variant must be one of small, large, not 'medium'"),
        (dict(width_multiplier=0), "width_multiplier must be positive, not 0"),
        (dict(width_multiplier=float("nan")), "width_multiplier must be positive"),
        (dict(padding="valid"), "padding must be 'same' or 'symmetric', not 'valid'"),
        (dict(embedding_dim=-1), "cannot be negative"),
        (dict(num_classes=-1), "cannot be negative"),
    ],
)
def test_a_configuration_that_means_nothing(options, message):
    with pytest.raises(UsageError, match=message):
        MobileNetConfig(**options)
