"""ResNet-18 and ResNet-50 (He et al., 2016), with torchvision's layer names.

The stride of a bottleneck is its 3x3 convolution's, as torchvision and timm have it.
"""

from typing import NamedTuple

from rvcnn.graph import INPUT, Graph

from .builder import Builder

CLASSIFIER = "fc"
WIDTHS = (64, 128, 256, 512)
"""Channels of the 3x3 convolutions of each stage."""


class Variant(NamedTuple):
    """Blocks of each stage, and whether they are bottlenecks, which end in 4 times the channels."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2), False),
    "resnet50": Variant((3, 4, 6, 3), True),
}


def resnet(name, padding, bn_eps, num_classes, embedding_dim) -> Graph:
    """The network as a graph: ``conv1`` to ``maxpool``, blocks ``layer1.0`` on, ``pooled``, heads.

    Parameters
    ----------
    name : str
        A key of ``VARIANTS``.
    padding, bn_eps, num_classes, embedding_dim
        As every architecture's.
    """
    variant = VARIANTS[name]
    net = Builder(padding, bn_eps)
    x = net.conv_norm("", INPUT, 64, 7, 2, activation="relu", parts=("conv1", "bn1", "relu"))
    x = net.max_pool("maxpool", x, 3, 2)
    block = _bottleneck if variant.bottleneck else _basic
    for i, (count, width) in enumerate(zip(variant.blocks, WIDTHS, strict=True)):
        for j in range(count):
            stride = 2 if i and not j else 1
            x = _residual(net, f"layer{i + 1}.{j}", x, block, width, stride)
    pooled = net.global_pool("pooled", x)
    return net.with_heads(pooled, pooled, CLASSIFIER, num_classes, embedding_dim)


def _residual(net, name, x, block, width, stride):
    """``relu(block(x) + x)``, with a projection of ``x`` where the shapes differ."""
    y = block(net, name, x, width, stride)
    if stride > 1 or net.channels[x] != net.channels[y]:
        x = net.conv_norm(f"{name}.downsample", x, net.channels[y], 1, stride)
    return net.activation(f"{name}.relu", net.sum(f"{name}.add", y, x), "relu")


def _basic(net, name, x, width, stride):
    x = _layer(net, name, 1, x, width, 3, stride, "relu")
    return _layer(net, name, 2, x, width, 3)


def _bottleneck(net, name, x, width, stride):
    x = _layer(net, name, 1, x, width, activation="relu")
    x = _layer(net, name, 2, x, width, 3, stride, "relu")
    return _layer(net, name, 3, x, 4 * width)


def _layer(net, name, number, x, out, kernel=1, stride=1, activation=None):
    parts = (f".conv{number}", f".bn{number}", f".relu{number}")
    return net.conv_norm(name, x, out, kernel, stride, activation=activation, parts=parts)
