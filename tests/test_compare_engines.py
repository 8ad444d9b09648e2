"""Whole networks against ONNX Runtime and PyTorch on the same numbers."""

from pathlib import Path

import numpy as np
import pytest
from reference_net import ReferenceNet

import rvcnn
from rvcnn.images import Preprocess, decode

EMBEDDED = Path(rvcnn.__file__).parent / "data" / "mobilenetv3_small_rvcnn.safetensors"
PHOTOS = 8


@pytest.fixture(scope="module")
def pixels(data) -> np.ndarray:
    """Return (8, 224, 224, 3) bytes of photographs."""
    files = sorted((data / "images" / "imagenet500").iterdir())[:: 500 // PHOTOS][:PHOTOS]
    return np.stack([Preprocess().pixels(decode(file).image) for file in files])


def assert_close(got, want):
    """Compare float32 results row by row; a row's bound is a share of its largest value."""
    assert got.shape == want.shape
    error = np.abs(got - want).max(axis=1) / np.abs(want).max(axis=1)
    assert error.max() < 1e-4, error
    assert np.ptp(want, axis=0).max() > 0.01 * np.abs(want).max(), "all rows are alike"


def test_logits_equal_onnx_runtime(onnxruntime, data, pixels):
    stem = data / "weights" / "mobilenetv3_small_in1k_same"
    model = rvcnn.create_model(weights=stem.with_suffix(".safetensors"), num_classes=1000)
    x = Preprocess().normalise(pixels)
    session = onnxruntime.InferenceSession(
        str(stem.with_suffix(".onnx")), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    want = [session.run(None, {name: image.transpose(2, 0, 1)[None]})[0][0] for image in x]
    assert_close(model(x), np.array(want))


class TorchNet(ReferenceNet):
    """The same network with its convolutions and activations by PyTorch, in float32."""

    def __init__(self, *args):
        import torch

        super().__init__(*args)
        self.torch = torch
        self.functional = torch.nn.functional

    def _tensor(self, x):
        return self.torch.from_numpy(np.ascontiguousarray(x, np.float32))

    def _conv_bn(self, x, name, stride, activation):
        w = self._tensor(self.tensors[f"{name}.0.weight"])
        x = self._tensor(self._pad(x, w.shape[2], stride).transpose(0, 3, 1, 2))
        y = self.functional.conv2d(x, w, stride=stride, groups=x.shape[1] // w.shape[1])
        mean, var, weight, bias = (
            self._tensor(self.tensors[f"{name}.1.{key}"])
            for key in ("running_mean", "running_var", "weight", "bias")
        )
        y = self.functional.batch_norm(y, mean, var, weight, bias, eps=self.eps)
        functions = {"relu": self.torch.relu, "hard_swish": self.functional.hardswish}
        return functions.get(activation, lambda v: v)(y).numpy().transpose(0, 2, 3, 1)


def test_embeddings_equal_pytorch(torch, pixels):
    net = TorchNet.from_file(EMBEDDED)
    want = net(net.normalise(pixels))["output"]
    assert_close(rvcnn.create_model()(Preprocess().normalise(pixels)), want)
