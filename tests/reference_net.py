"""MobileNetV3 in float64 NumPy, written from a weights file's keys and metadata alone.

The independent answer that rvcnn's networks are held to: it imports nothing from rvcnn, unfolds
nothing and optimises nothing. Howard et al., "Searching for MobileNetV3", 2019, tables 1 and 2;
key names are torchvision's. Maps are (N, H, W, C).
"""

from typing import NamedTuple

import numpy as np


class Stage(NamedTuple):
    """What a block's keys do not say."""

    stride: int
    activation: str


RE, HS, NONE = "relu", "hard_swish", "none"
STAGES = {
    "mobilenetv3_small": [
        *(Stage(2, HS), Stage(2, RE), Stage(2, RE), Stage(1, RE)),
        *(Stage(2, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS)),
        *(Stage(2, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS)),
    ],
    "mobilenetv3_large": [
        *(Stage(2, HS), Stage(1, RE), Stage(2, RE), Stage(1, RE)),
        *(Stage(2, RE), Stage(1, RE), Stage(1, RE)),
        *(Stage(2, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS)),
        *(Stage(2, HS), Stage(1, HS), Stage(1, HS), Stage(1, HS)),
    ],
}
STAGES |= {
    f"{name}_minimalistic": [Stage(stage.stride, RE) for stage in stages]
    for name, stages in STAGES.items()
}


class ReferenceNet:
    """A network over a mapping of torchvision's keys to arrays, with the file's metadata."""

    def __init__(self, tensors, metadata):
        self.tensors = {k: np.asarray(v, np.float64) for k, v in tensors.items()}
        self.stages = STAGES[metadata["architecture"]]
        self.same = {"same": True, "symmetric": False}[metadata["padding"]]
        self.squeeze_first = metadata.get("squeeze") == "before activation"
        self.eps = float(metadata["bn_eps"])
        self.mean, self.std = (
            np.array([float(v) for v in metadata[k].split(",")]) for k in ("mean", "std")
        )

    @classmethod
    def from_file(cls, path, **metadata):
        """Read a safetensors file; keyword arguments win over its metadata."""
        from safetensors import safe_open

        with safe_open(str(path), "np") as file:
            tensors = {k: file.get_tensor(k) for k in file.keys()}
            return cls(tensors, {**file.metadata(), **metadata})

    def normalise(self, pixels):
        """Turn (N, H, W, 3) bytes into the network's input."""
        return (np.asarray(pixels, np.float64) / 255.0 - self.mean) / self.std

    def __call__(self, x):
        """Run (N, H, W, 3) normalised images; return every cut by name, "output" the last."""
        cuts = {}
        x = np.asarray(x, np.float64)
        for i, stage in enumerate(self.stages):
            name = f"features.{i}"
            if f"{name}.0.weight" in self.tensors:
                x = self._conv_bn(x, name, stage.stride, stage.activation)
            else:
                x = self._block(x, name, stage)
            cuts[name] = x
        cuts["pooled"] = x.mean(axis=(1, 2))
        return self._head(cuts)

    def _head(self, cuts):
        cuts["output"] = cuts["pooled"]
        if "classifier.0.weight" in self.tensors:
            activation = ACTIVATIONS[self.stages[-1].activation]
            cuts["hidden"] = activation(self._linear(cuts["pooled"], "classifier.0"))
            cuts["logits"] = cuts["output"] = self._linear(cuts["hidden"], "classifier.3")
        elif "embed.weight" in self.tensors:
            cuts["embed"] = self._linear(cuts["pooled"], "embed")
            length = np.linalg.norm(cuts["embed"], axis=1, keepdims=True)
            cuts["output"] = cuts["embed"] / length
        return cuts

    def _block(self, x, name, stage):
        """Run an inverted residual: expansion (if any), depthwise, squeeze (if any), projection."""
        given = x
        layers = {k.split(".")[3] for k in self.tensors if k.startswith(f"{name}.block.")}
        expanded = self.tensors[f"{name}.block.0.0.weight"].shape[1] > 1
        late = self.squeeze_first and expanded and f"{name}.block.2.fc1.weight" in self.tensors
        for layer in sorted(layers, key=int):
            part = f"{name}.block.{layer}"
            if f"{part}.fc1.weight" in self.tensors:
                x = self._squeeze(x, part)
                x = ACTIVATIONS[stage.activation](x) if late else x
                continue
            depthwise = self.tensors[f"{part}.0.weight"].shape[1] == 1
            linear = layer == max(layers, key=int) or (depthwise and late)
            x = self._conv_bn(
                x, part, stage.stride if depthwise else 1, NONE if linear else stage.activation
            )
        return x + given if stage.stride == 1 and given.shape == x.shape else x

    def _squeeze(self, x, name):
        hidden = self._linear(x.mean(axis=(1, 2)), f"{name}.fc1")
        scale = self._linear(np.maximum(hidden, 0), f"{name}.fc2")
        return x * np.clip((scale + 3) / 6, 0, 1)[:, None, None]

    def _linear(self, x, name):
        w = self.tensors[f"{name}.weight"]
        return x @ w.reshape(len(w), -1).T + self.tensors[f"{name}.bias"]

    def _conv_bn(self, x, name, stride, activation):
        w = self.tensors[f"{name}.0.weight"]
        y = _convolve(self._pad(x, w.shape[2], stride), w, stride)
        bn = {k: self.tensors[f"{name}.1.{k}"] for k in ("weight", "bias")}
        mean, var = (self.tensors[f"{name}.1.running_{k}"] for k in ("mean", "var"))
        y = (y - mean) / np.sqrt(var + self.eps) * bn["weight"] + bn["bias"]
        return ACTIVATIONS[activation](y)

    def _pad(self, x, kernel, stride):
        """Pad a map as TensorFlow does (the odd cell below and right) or by half the kernel."""
        sides = [(kernel // 2, kernel // 2)] * 2
        if self.same:
            totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[1:3]]
            sides = [(t // 2, t - t // 2) for t in totals]
        return np.pad(x, ((0, 0), *sides, (0, 0)))


def _convolve(x, w, stride):
    """Convolve a padded map, tap by tap: w is (Cout, Cin, k, k), or (C, 1, k, k) for depthwise."""
    c_out, c_in, k, _ = w.shape
    h, v = ((n - k) // stride + 1 for n in x.shape[1:3])
    out = np.zeros((len(x), h, v, c_out))
    for i in range(k):
        for j in range(k):
            tap = x[:, i : i + (h - 1) * stride + 1 : stride, j : j + (v - 1) * stride + 1 : stride]
            out += tap @ w[:, :, i, j].T if c_in == x.shape[3] else tap * w[:, 0, i, j]
    return out


def _hard_swish(x):
    return x * np.clip((x + 3) / 6, 0, 1)


ACTIVATIONS = {NONE: lambda v: v, RE: lambda v: np.maximum(v, 0), HS: _hard_swish}
