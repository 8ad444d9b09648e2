"""Networks other than MobileNetV3 are calibrated, written, read and run in bytes."""

import numpy as np
import pytest
from PIL import Image

from rvcnn import create_model
from rvcnn.quantization import calibrate
from rvcnn.quantization.file import save
from rvcnn.quantization.quality import compare
from rvcnn.quantization.trial import vectors


@pytest.mark.parametrize(
    "name",
    [
        "mobilenetv2",
        "resnet18",
        "shufflenetv2_x0_5",
        pytest.param("efficientnet_b0", marks=pytest.mark.slow),
    ],
)
def test_a_network_in_bytes_is_near_itself(name, tmp_path):
    rng = np.random.default_rng(1)
    pixels = np.kron(rng.integers(0, 256, (4, 8, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    exact = create_model(name, weights="random", num_classes=0)
    save(tmp_path / "int8.safetensors", exact, calibrate(exact, pixels))
    held = create_model(weights=tmp_path / "int8.safetensors", precision="int8", num_classes=0)
    quality = compare(vectors(exact, pixels), vectors(held, pixels))
    assert quality.smallest_cosine > 0.9
    assert (vectors(exact, pixels) != vectors(held, pixels)).any()


@pytest.mark.parametrize(
    "name", ["shufflenetv2_x1_0_nanodet_backbone", "shufflenetv2_x0_5_fastestdet_backbone"]
)
def test_a_shufflenet_with_real_weights_in_bytes(data, name):
    """Half of a block's channels are read from the middle of a map."""
    exact = create_model(weights=data / "weights" / f"{name}.safetensors", bn_eps=1e-5)
    exact.weights.metadata.update(resize="146", crop="128", interpolation="bilinear")
    files = sorted((data / "images" / "imagenet500").iterdir())[:64:8]
    pixels = np.stack([np.array(Image.open(f).convert("RGB").resize((128, 128))) for f in files])
    held = exact.quantised(calibrate(exact, pixels))
    quality = compare(vectors(exact, pixels), vectors(held, pixels))
    assert 0.99 < quality.smallest_cosine < 1
