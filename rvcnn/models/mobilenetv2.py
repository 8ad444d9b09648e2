"""MobileNetV2 (Sandler et al., 2018), with torchvision's layer names."""

from typing import NamedTuple

from rvcnn.graph import INPUT, Graph

from .builder import Builder

CLASSIFIER = "classifier.1"


class Stage(NamedTuple):
    """Inverted residuals one after another: a row of table 2 of the paper."""

    expansion: int
    out: int
    blocks: int
    stride: int


STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)


def mobilenetv2(padding, bn_eps, num_classes, embedding_dim) -> Graph:
    """The network as a graph: ``features.0`` to ``features.18``, ``pooled``, and its heads."""
    net = Builder(padding, bn_eps)
    x = net.conv_norm("features.0", INPUT, 32, 3, 2, activation="relu6")
    index = 1
    for stage in STAGES:
        for i in range(stage.blocks):
            x = _inverted_residual(
                net, f"features.{index}", x, stage, stage.stride if i == 0 else 1
            )
            index += 1
    x = net.conv_norm(f"features.{index}", x, 1280, activation="relu6")
    pooled = net.global_pool("pooled", x)
    return net.with_heads(pooled, pooled, CLASSIFIER, num_classes, embedding_dim)


def _inverted_residual(net, name, x, stage, stride):
    start, width = x, net.channels[x] * stage.expansion
    index = 0
    if stage.expansion > 1:
        x = net.conv_norm(f"{name}.conv.0", x, width, activation="relu6")
        index = 1
    x = net.conv_norm(f"{name}.conv.{index}", x, width, 3, stride, width, "relu6")
    parts = (f".{index + 1}", f".{index + 2}")
    x = net.conv_norm(f"{name}.conv", x, stage.out, parts=parts)
    if stride == 1 and net.channels[start] == stage.out:
        x = net.sum(f"{name}.add", x, start)
    return x
