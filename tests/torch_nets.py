"""The architectures in PyTorch, written from the papers and torchvision's key names.

They know nothing of rvcnn: a network is a function of tensors by name and of an image, in float64,
and notes every block's result under the block's name. What a block has is read off its keys.
"""

import functools
from contextlib import suppress

import numpy as np

with suppress(ImportError):  # whoever uses this asks for the fixture `torch`
    import torch
    from torch.nn import functional


class Net:
    """Layers over a file's tensors.

    Parameters
    ----------
    tensors : mapping of str to ndarray
    epsilon : float
        Of batch normalisation.
    padding : str
        "symmetric" or "same".
    """

    def __init__(self, tensors, epsilon, padding="symmetric"):
        self.tensors = {k: torch.from_numpy(np.float64(v)) for k, v in tensors.items()}
        self.epsilon = epsilon
        self.same = padding == "same"
        self.cuts = {}

    def has(self, name):
        return f"{name}.weight" in self.tensors

    def count(self, prefix):
        """How many numbered modules there are below a name."""
        keys = [k.removeprefix(prefix) for k in self.tensors if k.startswith(prefix)]
        return 1 + max(int(key.split(".")[0]) for key in keys)

    def padded(self, x, kernel, stride, fill=0.0):
        sides = [kernel // 2] * 4
        if self.same:
            totals = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[:1:-1]]
            sides = [side for t in totals for side in (t // 2, t - t // 2)]
        return functional.pad(x, sides, value=fill)

    def conv(self, name, x, stride=1):
        w = self.tensors[f"{name}.weight"]
        groups = x.shape[1] // w.shape[1]
        x = self.padded(x, w.shape[2], stride)
        return functional.conv2d(x, w, self.tensors.get(f"{name}.bias"), stride, groups=groups)

    def norm(self, name, x):
        values = [self.tensors[f"{name}.{k}"] for k in ("running_mean", "running_var")]
        scales = [self.tensors[f"{name}.{k}"] for k in ("weight", "bias")]
        return functional.batch_norm(x, *values, *scales, eps=self.epsilon)

    def linear(self, name, x):
        return functional.linear(x, *(self.tensors[f"{name}.{k}"] for k in ("weight", "bias")))

    def squeeze(self, name, x, activation, gate):
        s = activation(self.conv(f"{name}.fc1", x.mean((2, 3), keepdim=True)))
        return x * gate(self.conv(f"{name}.fc2", s))

    def cut(self, name, x):
        self.cuts[name] = x
        return x

    def head(self, x, classifier, activation=None):
        x = self.cut("pooled", x.mean((2, 3)))
        if self.has("classifier.0"):
            x = self.cut("classifier.0", self.linear("classifier.0", x))
            x = (activation or functional.relu)(x)
        if self.has(classifier):
            self.cut(classifier, self.linear(classifier, x))

    def run(self, network, x):
        """Run on (N, H, W, 3); return maps (N, H', W', C) and vectors (N, C) by name."""
        network(self, torch.from_numpy(np.float64(x)).permute(0, 3, 1, 2))
        return {k: v.permute(0, 2, 3, 1).numpy() if v.ndim > 2 else v for k, v in self.cuts.items()}


def conv_norm(net, name, x, stride=1, activation=None):
    x = net.norm(f"{name}.1", net.conv(f"{name}.0", x, stride))
    return activation(x) if activation else x


def mobilenetv3_minimalistic(net, x, strides):
    relu = functional.relu
    x = net.cut("features.0", conv_norm(net, "features.0", x, 2, relu))
    for i, stride in enumerate(strides, 1):
        name, given = f"features.{i}", x
        layers = net.count(f"{name}.block.")
        for j in range(layers):
            depthwise = net.tensors[f"{name}.block.{j}.0.weight"].shape[2] > 1
            last = j == layers - 1
            step = stride if depthwise else 1
            x = conv_norm(net, f"{name}.block.{j}", x, step, None if last else relu)
        x = net.cut(name, x + given if stride == 1 and x.shape == given.shape else x)
    last = f"features.{len(strides) + 1}"
    net.head(net.cut(last, conv_norm(net, last, x, 1, relu)), "classifier.3")


def mobilenetv3(net, x, strides, swishes_from, squeeze_first=False):
    """Blocks swish from one of them on; a block's layers and windows are read off its keys."""
    swish, gate = functional.hardswish, functional.hardsigmoid
    x = net.cut("features.0", conv_norm(net, "features.0", x, 2, swish))
    for i, stride in enumerate(strides, 1):
        name, given = f"features.{i}", x
        act = swish if i >= swishes_from else functional.relu
        layers = net.count(f"{name}.block.")
        squeezes = [j for j in range(layers) if net.has(f"{name}.block.{j}.fc1")]
        depthwise = layers - 2 - len(squeezes)
        for j in range(layers):
            here = f"{name}.block.{j}"
            if j in squeezes:
                x = net.squeeze(here, x, functional.relu, gate)
                x = act(x) if squeeze_first and depthwise else x
            else:
                late = j == depthwise and squeezes and squeeze_first and depthwise
                after = None if late or j == layers - 1 else act
                x = conv_norm(net, here, x, stride if j == depthwise else 1, after)
        x = net.cut(name, x + given if stride == 1 and x.shape == given.shape else x)
    last = f"features.{len(strides) + 1}"
    net.head(net.cut(last, conv_norm(net, last, x, 1, swish)), "classifier.3", swish)


def mobilenetv2(net, x):
    relu6 = functional.relu6
    x = net.cut("features.0", conv_norm(net, "features.0", x, 2, relu6))
    for i in range(1, 18):
        name, given, stride = f"features.{i}", x, 2 if i in (2, 4, 7, 14) else 1
        x = conv_norm(net, f"{name}.conv.0", x, stride if i == 1 else 1, relu6)
        if i > 1:
            x = conv_norm(net, f"{name}.conv.1", x, stride, relu6)
        index = 1 if i == 1 else 2
        x = net.norm(f"{name}.conv.{index + 1}", net.conv(f"{name}.conv.{index}", x))
        x = net.cut(name, x + given if stride == 1 and x.shape == given.shape else x)
    net.head(net.cut("features.18", conv_norm(net, "features.18", x, 1, relu6)), "classifier.1")


def efficientnet_b0(net, x):
    silu = functional.silu
    x = net.cut("features.0", conv_norm(net, "features.0", x, 2, silu))
    for i, stride in enumerate((1, 2, 2, 2, 1, 2, 1), 1):
        for j in range(net.count(f"features.{i}.")):
            name, given, step = f"features.{i}.{j}", x, stride if j == 0 else 1
            expanded = int(net.has(f"{name}.block.3.0"))
            if expanded:
                x = conv_norm(net, f"{name}.block.0", x, 1, silu)
            x = conv_norm(net, f"{name}.block.{expanded}", x, step, silu)
            x = net.squeeze(f"{name}.block.{expanded + 1}", x, silu, torch.sigmoid)
            x = conv_norm(net, f"{name}.block.{expanded + 2}", x)
            x = net.cut(name, x + given if step == 1 and x.shape == given.shape else x)
    net.head(net.cut("features.8", conv_norm(net, "features.8", x, 1, silu)), "classifier.1")


def resnet(net, x):
    relu = functional.relu
    x = net.cut("relu", relu(net.norm("bn1", net.conv("conv1", x, 2))))
    x = functional.max_pool2d(net.padded(x, 3, 2, -np.inf), 3, 2)
    net.cut("maxpool", x)
    for i in range(1, 5):
        for j in range(net.count(f"layer{i}.")):
            x = net.cut(f"layer{i}.{j}", relu(_residual(net, f"layer{i}.{j}", x, i > 1 and j == 0)))
    net.head(x, "fc")


def shufflenetv2(net, x, leaky=0.0, megvii=False):
    act = functools.partial(functional.leaky_relu, negative_slope=leaky)
    x = net.cut("conv1", conv_norm(net, "conv1", x, 2, act))
    x = net.cut("maxpool", functional.max_pool2d(net.padded(x, 3, 2, -np.inf), 3, 2))
    for i in (2, 3, 4):
        for j in range(net.count(f"stage{i}.")):
            name = f"stage{i}.{j}"
            if megvii:
                given, x = (x, x) if j == 0 else (x[:, 0::2], x[:, 1::2])
            else:
                given, x = (x, x) if j == 0 else x.chunk(2, 1)
            if j == 0:
                given = net.norm(f"{name}.branch1.1", net.conv(f"{name}.branch1.0", given, 2))
                given = net.norm(f"{name}.branch1.3", net.conv(f"{name}.branch1.2", given))
                given = act(given)
            for k, stride, last in ((0, 1, act), (3, 1 + (j == 0), None), (5, 1, act)):
                branch = f"{name}.branch2"
                x = net.norm(f"{branch}.{k + 1}", net.conv(f"{branch}.{k}", x, stride))
                x = last(x) if last else x
            x = torch.cat((given, x), 1)
            if not megvii:
                x = x.unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2)
            net.cut(name, x)
    if net.has("conv5.0"):
        x = net.cut("conv5", conv_norm(net, "conv5", x, 1, act))
    net.head(x, "fc")


def _residual(net, name, x, halves):
    given, stride = x, 2 if halves else 1
    layers = 3 if net.has(f"{name}.conv3") else 2
    for k in range(1, layers + 1):
        step = stride if k == layers - 1 else 1
        x = net.norm(f"{name}.bn{k}", net.conv(f"{name}.conv{k}", x, step))
        x = functional.relu(x) if k < layers else x
    if net.has(f"{name}.downsample.0"):
        given = conv_norm(net, f"{name}.downsample", given, stride)
    return x + given
