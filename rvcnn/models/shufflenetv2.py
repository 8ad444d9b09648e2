"""ShuffleNetV2 (Ma et al., 2018), with torchvision's layer names."""

from rvcnn.graph import INPUT, Graph
from rvcnn.ops import Activation

from .builder import Builder

CLASSIFIER = "fc"
BLOCKS = (4, 8, 4)
"""Of stage2, stage3 and stage4."""

WIDTHS = {
    "0_5": (48, 96, 192, 1024),
    "1_0": (116, 232, 464, 1024),
    "1_5": (176, 352, 704, 1024),
    "2_0": (244, 488, 976, 2048),
}
"""Channels after stage2, stage3, stage4 and conv5: table 5 of the paper."""

ACTIVATIONS = {
    "relu": Activation("relu"),
    "leaky_relu_0.1": Activation("leaky_relu", 0.1),
}


def shufflenetv2(
    width,
    padding,
    bn_eps,
    num_classes,
    embedding_dim,
    activation=ACTIVATIONS["relu"],
    conv5=True,
    shuffle_first=False,
) -> Graph:
    """The network as a graph: ``conv1``, ``maxpool``, blocks ``stage2.0`` on, ``conv5``, heads.

    Parameters
    ----------
    width : str
        A key of ``WIDTHS``.
    padding, bn_eps, num_classes, embedding_dim
        As every architecture's.
    activation : Activation
    conv5 : bool
        Whether it has the convolution after the last block, which detectors leave out.
    shuffle_first : bool
        Megvii's order of channels: a block of stride 1 takes the even and the odd ones of its
        input apart. torchvision's shuffles the channels at the end of each block.
    """
    *stages, last = WIDTHS[width]
    net = Builder(padding, bn_eps)
    block = _Blocks(net, activation, shuffle_first)
    x = net.conv_norm("conv1", INPUT, 24, 3, 2, activation=activation)
    x = net.max_pool("maxpool", x, 3, 2)
    for i, (count, out) in enumerate(zip(BLOCKS, stages, strict=True), 2):
        x = block.halving(f"stage{i}.0", x, out // 2)
        for j in range(1, count):
            x = block.keeping(f"stage{i}.{j}", x)
    if conv5:
        x = net.conv_norm("conv5", x, last, activation=activation)
    pooled = net.global_pool("pooled", x)
    return net.with_heads(pooled, pooled, CLASSIFIER, num_classes, embedding_dim)


class _Blocks:
    """The two kinds of blocks: figure 3 (c) and (d) of the paper."""

    def __init__(self, net, activation, shuffle_first):
        self.net = net
        self.activation = activation
        self.shuffle_first = shuffle_first

    def halving(self, name, x, half):
        """Half as many pixels; both branches read all channels and have ``half`` themselves."""
        net, branch = self.net, f"{name}.branch1"
        left = net.conv_norm(branch, x, net.channels[x], 3, 2, groups=net.channels[x])
        parts = (".2", ".3", ".4")
        left = net.conv_norm(branch, left, half, activation=self.activation, parts=parts)
        return self._joined(name, left, self._branch(f"{name}.branch2", x, half, 2))

    def keeping(self, name, x):
        """One half of the channels as it is, the other through a branch."""
        net, half = self.net, self.net.channels[x] // 2
        if self.shuffle_first:
            x = net.shuffle(f"{name}.parted", x, half)
        left = net.slice(f"{name}.left", x, 0, half)
        right = net.slice(f"{name}.right", x, half, 2 * half)
        return self._joined(name, left, self._branch(f"{name}.branch2", right, half, 1))

    def _branch(self, name, x, half, stride):
        net, activation = self.net, self.activation
        x = net.conv_norm(name, x, half, activation=activation)
        x = net.conv_norm(name, x, half, 3, stride, groups=half, parts=(".3", ".4"))
        return net.conv_norm(name, x, half, activation=activation, parts=(".5", ".6", ".7"))

    def _joined(self, name, left, right):
        x = self.net.concat(f"{name}.concat", left, right)
        return x if self.shuffle_first else self.net.shuffle(f"{name}.shuffle", x, 2)
