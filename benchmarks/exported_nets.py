"""Networks of other kinds in PyTorch, in the sizes people run: what `imported.py` exports."""

from __future__ import annotations

from pathlib import Path

import torch
from exported_transformers import Dino, Residual, VisionTransformer, efficientformer, swin
from torch import nn
from torch.nn import functional


class ChannelsFirst(nn.Module):
    """Layer normalisation of channels, and linear layers on them, where they come second."""

    def __init__(self, *inner):
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x):
        return self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def convnext(depths, widths):
    """Liu et al., 2022."""
    layers = [nn.Conv2d(3, widths[0], 4, 4), ChannelsFirst(nn.LayerNorm(widths[0]))]
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if i:
            layers += [
                ChannelsFirst(nn.LayerNorm(widths[i - 1])),
                nn.Conv2d(widths[i - 1], width, 2, 2),
            ]
        for _ in range(depth):
            mlp = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
            depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
            layers.append(Residual(depthwise, ChannelsFirst(nn.LayerNorm(width), *mlp)))
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(widths[-1])
    return nn.Sequential(*layers, *head, nn.Linear(widths[-1], 1000))


def conv(dims, inputs, outputs, kernel=3, stride=1, groups=1, dilation=1):
    """Convolution that keeps the size but for its stride, normalisation, ReLU."""
    kind = {1: (nn.Conv1d, nn.BatchNorm1d), 3: (nn.Conv3d, nn.BatchNorm3d)}[dims]
    kernel = (kernel,) * dims if isinstance(kernel, int) else kernel
    pads = tuple((k - 1) // 2 * dilation for k in kernel)
    layer = kind[0](inputs, outputs, kernel, stride, pads, dilation, groups, bias=False)
    return nn.Sequential(layer, kind[1](outputs), nn.ReLU())


def m5(width=64):
    """Dai et al., 2017: words in a second of sound."""
    layers = [nn.Conv1d(1, width, 80, 4), nn.BatchNorm1d(width), nn.ReLU(), nn.MaxPool1d(4)]
    for inputs, outputs in ((width, width), (width, 2 * width), (2 * width, 2 * width)):
        layers += [
            nn.Conv1d(inputs, outputs, 3),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.MaxPool1d(4),
        ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(2 * width, 35))


def keywords(width=64):
    """A DS-CNN (Zhang et al., 2017) over forty cepstral coefficients."""
    separable = lambda: (conv(1, width, width, 9, groups=width), conv(1, width, width, 1))  # noqa: E731
    layers = [conv(1, 40, width, 9, 2), *(Residual(*separable()) for _ in range(6))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(width, 12))


class WaveNet(nn.Module):
    """Van den Oord et al., 2016: dilated causal convolutions with gates."""

    def __init__(self, width=32, skip=64, depth=16):
        super().__init__()
        self.dilations = [2 ** (i % 8) for i in range(depth)]
        self.first = nn.Conv1d(1, width, 1)
        self.gated = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 2, dilation=d) for d in self.dilations
        )
        self.back = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in self.dilations)
        self.skip = nn.ModuleList(nn.Conv1d(width, skip, 1) for _ in self.dilations)
        self.last = nn.Sequential(
            nn.ReLU(), nn.Conv1d(skip, skip, 1), nn.ReLU(), nn.Conv1d(skip, 256, 1)
        )

    def forward(self, x):
        x, total = self.first(x), 0
        for dilation, gated, back, skip in zip(
            self.dilations, self.gated, self.back, self.skip, strict=True
        ):
            a, b = gated(functional.pad(x, (dilation, 0))).chunk(2, 1)
            z = torch.tanh(a) * torch.sigmoid(b)
            x, total = x + back(z), total + skip(z)
        return self.last(total)


class Vocoder(nn.Module):
    """A small HiFi-GAN (Kong et al., 2020): transposed convolutions between dilated ones."""

    def __init__(self, width=128):
        super().__init__()
        self.first, self.rises, self.dilated = nn.Conv1d(80, width, 7, padding=3), [], []
        for stride in (8, 4):
            self.rises.append(
                nn.ConvTranspose1d(width, width // 2, 2 * stride, stride, stride // 2)
            )
            width //= 2
            self.dilated.append(
                nn.ModuleList(nn.Conv1d(width, width, 3, padding=d, dilation=d) for d in (1, 3, 5))
            )
        self.rises, self.dilated = nn.ModuleList(self.rises), nn.ModuleList(self.dilated)
        self.last = nn.Conv1d(width, 1, 7, padding=3)

    def forward(self, x):
        x = self.first(x)
        for rise, dilated in zip(self.rises, self.dilated, strict=True):
            x = rise(functional.leaky_relu(x, 0.1))
            for layer in dilated:
                x = x + layer(functional.leaky_relu(x, 0.1))
        return torch.tanh(self.last(functional.leaky_relu(x)))


def c3d():
    """A small C3D (Tran et al., 2015): eight frames of video."""
    return nn.Sequential(
        *(conv(3, 3, 32), nn.MaxPool3d((1, 2, 2)), conv(3, 32, 64), nn.MaxPool3d(2)),
        *(conv(3, 64, 128), conv(3, 128, 128), nn.MaxPool3d(2), conv(3, 128, 256)),
        *(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(256, 101)),
    )


NETWORKS = {
    "vit_tiny": (lambda: VisionTransformer(224, 16, 192, 3, 12, 1000), (3, 224, 224)),
    "clip_vit_b32": (lambda: VisionTransformer(224, 32, 768, 12, 12, 512, True), (3, 224, 224)),
    "dinov2_small_swiglu": (Dino, (3, 224, 224)),
    "swin_tiny": (swin, (3, 224, 224)),
    "efficientformer_l1": (efficientformer, (3, 224, 224)),
    "convnext_atto": (lambda: convnext((2, 2, 6, 2), (40, 80, 160, 320)), (3, 224, 224)),
    "convnext_tiny": (lambda: convnext((3, 3, 9, 3), (96, 192, 384, 768)), (3, 224, 224)),
    "m5": (m5, (1, 16000)),
    "keywords_dscnn": (keywords, (40, 101)),
    "wavenet": (WaveNet, (1, 4000)),
    "hifigan": (Vocoder, (80, 100)),
    "c3d": (c3d, (3, 8, 56, 56)),
}
"""What makes each network, and the shape of one input."""


def export(name: str, path: Path, seed: int) -> tuple[int, ...]:
    """Write a network with random weights as ONNX; the shape of its input, for one image."""
    make, shape = NETWORKS[name]
    torch.manual_seed(seed)
    network = make().eval()
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.running_var.uniform_(0.5, 2.0)
    x = torch.randn(1, *shape)
    torch.onnx.export(network, (x,), path, opset_version=17, dynamo=False, input_names=["x"])
    return (1, *shape)
