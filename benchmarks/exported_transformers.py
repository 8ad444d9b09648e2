"""Transformers of images in PyTorch, in the sizes people run."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    """``x + inner(x)``; with ``width``, what is added has a factor for each of so many channels."""

    def __init__(self, *inner, width=0):
        super().__init__()
        self.inner = nn.Sequential(*inner)
        self.factor = nn.Parameter(torch.rand(width)) if width else None

    def forward(self, x):
        inner = self.inner(x)
        return x + (inner if self.factor is None else self.factor * inner)


class Attention(nn.Module):
    """One product for queries, keys and values."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = (
            heads,
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        x = functional.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(x.transpose(1, 2).reshape(n, tokens, width))


class QuickGelu(nn.Module):
    """CLIP's activation."""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class SwiGlu(nn.Module):
    """Two layers, the first with a gate (Shazeer, 2020), as large as DINOv2 has them."""

    def __init__(self, width):
        super().__init__()
        inner = -(-width * 8 // 3 // 8) * 8
        self.first, self.second = nn.Linear(width, 2 * inner), nn.Linear(inner, width)

    def forward(self, x):
        gate, value = self.first(x).chunk(2, -1)
        return self.second(functional.silu(gate) * value)


def mlp(width, activation=nn.GELU):
    """Normalisation and two layers."""
    layers = nn.Linear(width, 4 * width), activation(), nn.Linear(4 * width, width)
    return nn.LayerNorm(width), *layers


class VisionTransformer(nn.Module):
    """Dosovitskiy et al., 2021; with ``clip`` OpenAI's image encoder (Radford et al., 2021)."""

    def __init__(self, side, patch, width, heads, depth, outputs, clip=False):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, (side // patch) ** 2 + 1, width))
        self.first = nn.LayerNorm(width) if clip else nn.Identity()
        block = lambda: (  # noqa: E731
            Residual(nn.LayerNorm(width), Attention(width, heads)),
            Residual(*mlp(width, QuickGelu if clip else nn.GELU)),
        )
        self.blocks = nn.Sequential(*(layer for _ in range(depth) for layer in block()))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, outputs, bias=not clip))

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.blocks(self.first(x))[:, 0])


class Dino(nn.Module):
    """DINOv2 (Oquab et al., 2024) with registers (Darcet et al., 2024): places are resized."""

    PLACES = 37

    def __init__(self, width=384, heads=6, depth=12, patch=14, registers=4):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.token = nn.Parameter(torch.randn(1, 1, width))
        self.registers = nn.Parameter(torch.randn(1, registers, width))
        self.places = nn.Parameter(torch.randn(1, 1 + self.PLACES**2, width))
        block = lambda: (  # noqa: E731
            Residual(nn.LayerNorm(width), Attention(width, heads), width=width),
            Residual(nn.LayerNorm(width), SwiGlu(width), width=width),
        )
        self.blocks = nn.Sequential(*(layer for _ in range(depth) for layer in block()))
        self.last = nn.LayerNorm(width)

    def forward(self, x):
        x = self.patches(x)
        n, width, height, across = x.shape
        places = self.places[:, 1:].reshape(1, self.PLACES, self.PLACES, width)
        places = functional.interpolate(
            places.permute(0, 3, 1, 2), (height, across), mode="bicubic"
        )
        x = (x + places).flatten(2).transpose(1, 2)
        token = (self.token + self.places[:, :1]).expand(n, -1, -1)
        x = self.last(self.blocks(torch.cat([token, self.registers.expand(n, -1, -1), x], 1)))
        count = 1 + self.registers.shape[1]
        return torch.cat([x[:, 0], x[:, count:].mean(1)], 1)


class WindowAttention(nn.Module):
    """Attention within windows of a map (N, H, W, C), which may be rolled (Liu et al., 2021)."""

    def __init__(self, width, heads, side, window=7, shift=0):
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = shift if side > window else 0
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        spread = 2 * window - 1
        self.bias = nn.Parameter(torch.randn(spread**2, heads))
        at = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        apart = at[:, None] - at + window - 1
        self.register_buffer("pairs", apart[..., 0] * spread + apart[..., 1])
        parts = torch.zeros(1, side, side, 1)
        edges = slice(0, -window), slice(-window, -self.shift), slice(-self.shift, None)
        for number, (rows, columns) in enumerate((a, b) for a in edges for b in edges):
            parts[:, rows, columns] = number
        parts = self.windows(parts)
        apart = parts.transpose(1, 2) != parts
        self.register_buffer("mask", torch.where(apart, -100.0, 0.0)[:, None])

    def windows(self, x):
        n, height, width, channels = x.shape
        side = self.window
        x = x.reshape(n, height // side, side, width // side, side, channels)
        return x.transpose(2, 3).reshape(-1, side * side, channels)

    def forward(self, x):
        n, height, width, channels = x.shape
        back = n, height // self.window, width // self.window, self.window, self.window, channels
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = self.windows(x)
        qkv = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
        scores = scores + self.bias[self.pairs].permute(2, 0, 1)
        if self.shift:
            apart = scores.reshape(n, -1, *scores.shape[1:]) + self.mask
            scores = apart.reshape(scores.shape)
        x = self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
        x = x.reshape(back).transpose(2, 3).reshape(n, height, width, channels)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


class Axes(nn.Module):
    """Axes in another order."""

    def __init__(self, *order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return x.permute(self.order)


class Merge(nn.Module):
    """Each 2 x 2 pixels become one of twice the channels."""

    def __init__(self, width):
        super().__init__()
        self.last = nn.Sequential(nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, False))

    def forward(self, x):
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.last(torch.cat(corners, -1))


def swin(width=96, depths=(2, 2, 6, 2), side=56, window=7):
    """Liu et al., 2021: heads of 32 channels."""
    layers = [nn.Conv2d(3, width, 4, 4), Axes(0, 2, 3, 1), nn.LayerNorm(width)]
    for i, depth in enumerate(depths):
        if i:
            layers.append(Merge(width))
            width, side = 2 * width, side // 2
        for j in range(depth):
            attention = WindowAttention(width, width // 32, side, window, j % 2 * (window // 2))
            layers += [Residual(nn.LayerNorm(width), attention), Residual(*mlp(width))]
    head = nn.LayerNorm(width), Axes(0, 3, 1, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, *head, nn.Linear(width, 1000))


def conv(inputs, outputs, kernel=1, stride=1, activation=nn.Identity):
    """Convolution, normalisation, activation."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), activation())


class Away(nn.Module):
    """What the mean around each pixel differs from it by."""

    def __init__(self, width):
        super().__init__()
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.factor = nn.Parameter(torch.rand(width, 1, 1))

    def forward(self, x):
        return self.factor * (self.pool(x) - x)


class BiasedAttention(nn.Module):
    """Attention whose scores have a bias for each distance of two pixels."""

    def __init__(self, width=448, keys=32, values=128, heads=8, side=7):
        super().__init__()
        self.heads, self.sizes = heads, (keys, keys, values)
        self.qkv = nn.Linear(width, heads * sum(self.sizes))
        self.proj = nn.Linear(heads * values, width)
        at = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        apart = (at[:, None] - at).abs()
        self.register_buffer("pairs", apart[..., 0] * side + apart[..., 1])
        self.bias = nn.Parameter(torch.randn(heads, side**2))

    def forward(self, x):
        n, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(n, tokens, self.heads, -1).transpose(1, 2)
        q, k, v = qkv.split(self.sizes, -1)
        scores = q @ k.transpose(-2, -1) * self.sizes[0] ** -0.5 + self.bias[:, self.pairs]
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, -1))


class Tokens(nn.Module):
    """The pixels of a map one after another: (N, H * W, C)."""

    def forward(self, x):
        return x.flatten(2).transpose(1, 2)


class Mean(nn.Module):
    """The mean of tokens."""

    def forward(self, x):
        return x.mean(1)


def efficientformer(depths=(3, 2, 6, 3), widths=(48, 96, 224, 448)):
    """Li et al., 2022: pooling in the place of attention but for the last layer; size L1."""
    layers = [
        conv(3, widths[0] // 2, 3, 2, nn.ReLU),
        conv(widths[0] // 2, widths[0], 3, 2, nn.ReLU),
    ]
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if i:
            layers.append(conv(widths[i - 1], width, 3, 2))
        for _ in range(depth):
            expanded = conv(width, 4 * width, activation=nn.GELU), conv(4 * width, width)
            layers += [Residual(Away(width)), Residual(*expanded)]
    layers += [
        Tokens(),
        Residual(nn.LayerNorm(width), BiasedAttention(width), width=width),
        Residual(*mlp(width), width=width),
    ]
    return nn.Sequential(*layers, nn.LayerNorm(width), Mean(), nn.Linear(width, 1000))
