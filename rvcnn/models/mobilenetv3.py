"""MobileNetV3 (Howard et al., 2019), with torchvision's layer names."""

from dataclasses import dataclass
from typing import NamedTuple

from rvcnn.errors import UsageError
from rvcnn.graph import INPUT, Graph

from .builder import Builder


class Block(NamedTuple):
    """One inverted residual: table 1 and 2 of the paper."""

    kernel: int
    expanded: int
    out: int
    squeeze: bool
    activation: str
    stride: int


class Variant(NamedTuple):
    """The blocks of a network, and the width of its classifier's hidden layer."""

    blocks: tuple[Block, ...]
    hidden: int


_RE, _HS = "relu", "hard_swish"

VARIANTS = {
    "small": Variant(
        (
            Block(3, 16, 16, True, _RE, 2),
            Block(3, 72, 24, False, _RE, 2),
            Block(3, 88, 24, False, _RE, 1),
            Block(5, 96, 40, True, _HS, 2),
            Block(5, 240, 40, True, _HS, 1),
            Block(5, 240, 40, True, _HS, 1),
            Block(5, 120, 48, True, _HS, 1),
            Block(5, 144, 48, True, _HS, 1),
            Block(5, 288, 96, True, _HS, 2),
            Block(5, 576, 96, True, _HS, 1),
            Block(5, 576, 96, True, _HS, 1),
        ),
        1024,
    ),
    "large": Variant(
        (
            Block(3, 16, 16, False, _RE, 1),
            Block(3, 64, 24, False, _RE, 2),
            Block(3, 72, 24, False, _RE, 1),
            Block(5, 72, 40, True, _RE, 2),
            Block(5, 120, 40, True, _RE, 1),
            Block(5, 120, 40, True, _RE, 1),
            Block(3, 240, 80, False, _HS, 2),
            Block(3, 200, 80, False, _HS, 1),
            Block(3, 184, 80, False, _HS, 1),
            Block(3, 184, 80, False, _HS, 1),
            Block(3, 480, 112, True, _HS, 1),
            Block(3, 672, 112, True, _HS, 1),
            Block(5, 672, 160, True, _HS, 2),
            Block(5, 960, 160, True, _HS, 1),
            Block(5, 960, 160, True, _HS, 1),
        ),
        1280,
    ),
}


@dataclass(frozen=True)
class MobileNetConfig:
    """A MobileNetV3.

    Attributes
    ----------
    variant : str
        "small" or "large".
    width_multiplier : float
        Factor on every channel count.
    embedding_dim : int
        Width of the linear head ``embed``; 0 for none.
    dropout : float
        Before the classifier's last layer, in training.
    use_se : bool
        Squeeze-excite where the paper has it.
    squeeze_first : bool
        Squeeze-excite of expanded blocks before the depthwise layer's activation (d-li14's), not
        after it (torchvision's, timm's).
    minimalistic : bool
        Only 3x3 windows and ReLU, no squeeze-excite: TensorFlow's variant for old hardware.
    num_classes : int
        Width of the classifier; 0 for none.
    padding : str, optional
        "symmetric" (torchvision) or "same" (TensorFlow); by default what the weights file says,
        "symmetric" for random weights.
    bn_eps : float, optional
        By default what the weights file says, 0.001 for random weights.
    """

    variant: str = "small"
    width_multiplier: float = 1.0
    embedding_dim: int = 512
    dropout: float = 0.2
    use_se: bool = True
    squeeze_first: bool = False
    minimalistic: bool = False
    num_classes: int = 0
    padding: str | None = None
    bn_eps: float | None = None

    def __post_init__(self):
        if self.variant not in VARIANTS:
            raise UsageError(f"variant must be one of {', '.join(VARIANTS)}, not {self.variant!r}")
        if self.padding not in ("same", "symmetric", None):
            raise UsageError(f"padding must be 'same' or 'symmetric', not {self.padding!r}")
        if not self.width_multiplier > 0:
            raise UsageError(f"width_multiplier must be positive, not {self.width_multiplier}")
        if min(self.embedding_dim, self.num_classes) < 0:
            raise UsageError("embedding_dim and num_classes cannot be negative")

    def metadata(self) -> dict[str, str]:
        """What a weights file says of this network besides its architecture."""
        facts = {}
        if self.width_multiplier != 1:
            facts["width"] = str(float(self.width_multiplier))
        if self.squeeze_first:
            facts["squeeze"] = "before activation"
        return facts

    @property
    def architecture(self) -> str:
        """Name of the network among the architectures, which are of width 1."""
        return f"mobilenetv3_{self.variant}{'_minimalistic' if self.minimalistic else ''}"


def make_divisible(channels, divisor=8):
    """Nearest multiple of ``divisor`` that is not below 90 % of ``channels`` (torchvision's)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def mobilenetv3(config: MobileNetConfig) -> Graph:
    """The network as a graph; its outputs are the heads the configuration names, or ``pooled``.

    Layers: ``features.0`` to ``features.N``, ``pooled``, then ``classifier.0`` (hidden),
    ``classifier.1`` (hard-swish), ``classifier.3`` (logits), and ``embed``.
    """
    blocks, hidden = VARIANTS[config.variant]
    net = Builder(config.padding or "symmetric", 1e-3 if config.bn_eps is None else config.bn_eps)

    def widen(channels):
        return make_divisible(channels * config.width_multiplier)

    swish = "relu" if config.minimalistic else "hard_swish"
    x = net.conv_norm("features.0", INPUT, widen(16), 3, 2, activation=swish)
    for i, block in enumerate(blocks, 1):
        if config.minimalistic:
            block = block._replace(kernel=3, squeeze=False, activation="relu")
        scaled = block._replace(expanded=widen(block.expanded), out=widen(block.out))
        x = _inverted_residual(net, f"features.{i}", x, scaled, config)
    x = net.conv_norm(f"features.{len(blocks) + 1}", x, 6 * net.channels[x], activation=swish)
    x = pooled = net.global_pool("pooled", x)
    if config.num_classes:
        x = net.linear("classifier.0", x, widen(hidden))
        x = net.activation("classifier.1", x, swish)
    return net.with_heads(pooled, x, "classifier.3", config.num_classes, config.embedding_dim)


def _inverted_residual(net, name, x, block, config):
    start, index, width = x, 0, block.expanded
    squeeze = config.use_se and block.squeeze
    squeeze_first = False
    if width != net.channels[x]:
        x = net.conv_norm(f"{name}.block.0", x, width, activation=block.activation)
        index, squeeze_first = 1, squeeze and config.squeeze_first
    x = net.conv_norm(
        f"{name}.block.{index}",
        x,
        width,
        block.kernel,
        block.stride,
        groups=width,
        activation=None if squeeze_first else block.activation,
    )
    if squeeze:
        index += 1
        x = net.squeeze_excite(f"{name}.block.{index}", x, make_divisible(width // 4))
    if squeeze_first:
        x = net.activation(f"{name}.block.{index}.activated", x, block.activation)
    x = net.conv_norm(f"{name}.block.{index + 1}", x, block.out)
    if block.stride == 1 and net.channels[start] == block.out:
        x = net.sum(f"{name}.add", x, start)
    return x
