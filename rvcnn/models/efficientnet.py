"""EfficientNet-B0 (Tan and Le, 2019), with torchvision's layer names."""

from typing import NamedTuple

from rvcnn.graph import INPUT, Graph

from .builder import Builder

CLASSIFIER = "classifier.1"


class Stage(NamedTuple):
    """Inverted residuals one after another: a row of table 1 of the paper."""

    expansion: int
    kernel: int
    out: int
    blocks: int
    stride: int


STAGES = (
    Stage(1, 3, 16, 1, 1),
    Stage(6, 3, 24, 2, 2),
    Stage(6, 5, 40, 2, 2),
    Stage(6, 3, 80, 3, 2),
    Stage(6, 5, 112, 3, 1),
    Stage(6, 5, 192, 4, 2),
    Stage(6, 3, 320, 1, 1),
)


def efficientnet_b0(padding, bn_eps, num_classes, embedding_dim) -> Graph:
    """The network as a graph: ``features.0`` to ``features.8``, ``pooled``, and its heads.

    Blocks are ``features.1.0`` to ``features.7.0``.
    """
    net = Builder(padding, bn_eps)
    x = net.conv_norm("features.0", INPUT, 32, 3, 2, activation="silu")
    for i, stage in enumerate(STAGES, 1):
        for j in range(stage.blocks):
            x = _inverted_residual(
                net, f"features.{i}.{j}", x, stage, stage.stride if j == 0 else 1
            )
    x = net.conv_norm(f"features.{len(STAGES) + 1}", x, 1280, activation="silu")
    pooled = net.global_pool("pooled", x)
    return net.with_heads(pooled, pooled, CLASSIFIER, num_classes, embedding_dim)


def _inverted_residual(net, name, x, stage, stride):
    start, index = x, 0
    width = net.channels[x] * stage.expansion
    if stage.expansion > 1:
        x = net.conv_norm(f"{name}.block.0", x, width, activation="silu")
        index = 1
    x = net.conv_norm(f"{name}.block.{index}", x, width, stage.kernel, stride, width, "silu")
    squeezed = net.channels[start] // 4
    x = net.squeeze_excite(f"{name}.block.{index + 1}", x, squeezed, "silu", "sigmoid")
    x = net.conv_norm(f"{name}.block.{index + 2}", x, stage.out)
    if stride == 1 and net.channels[start] == stage.out:
        x = net.sum(f"{name}.add", x, start)
    return x
