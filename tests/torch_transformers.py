"""Small transformers and their kin in PyTorch, in the spellings that people export."""

import torch
from torch import nn
from torch.nn import functional


class Attention(nn.Module):
    """timm's: one product for queries, keys and values; fused, or in two products."""

    def __init__(self, width, heads, fused, bias=0):
        super().__init__()
        self.heads, self.fused = heads, fused
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.bias = nn.Parameter(torch.randn(heads, bias, bias)) if bias else None

    def forward(self, x):
        n, tokens, width = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            x = functional.scaled_dot_product_attention(q, k, v)
        else:
            scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
            scores = scores if self.bias is None else scores + self.bias
            x = scores.softmax(-1) @ v
        return self.proj(x.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    def __init__(self, width, attention, curve):
        super().__init__()
        self.attention, self.curve = attention, curve
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norms[0](x))
        return x + self.down(self.curve(self.up(self.norms[1](x))))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al., 2021; pooled by a token of its own, or by a mean."""

    def __init__(self, width=24, heads=2, fused=True, token=True, curve=nn.functional.gelu, bias=0):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, width)) if token else None
        self.places = nn.Parameter(torch.randn(1, 12 + token, width))
        attention = Attention(width, heads, fused, bias)
        self.block, self.norm = Block(width, attention, curve), nn.LayerNorm(width)
        self.head = nn.Linear(width, 7)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        if self.token is not None:
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = self.norm(self.block(x + self.places))
        return self.head(x.mean(1) if self.token is None else x[:, 0])


class Clip(nn.Module):
    """OpenAI's image encoder: tokens first, then images; unit length as its users have it."""

    def __init__(self, width=24, heads=3):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4, bias=False)
        self.token, self.places = (nn.Parameter(torch.randn(n, width)) for n in (1, 13))
        self.multihead = nn.MultiheadAttention(width, heads)
        curve = lambda x: x * torch.sigmoid(1.702 * x)  # noqa: E731
        self.block = Block(width, lambda x: self.multihead(x, x, x, need_weights=False)[0], curve)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.proj = nn.Parameter(torch.randn(width, 16))

    def forward(self, x):
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        zeros = torch.zeros(x.shape[0], 1, x.shape[-1])
        x = torch.cat([self.token + zeros, x], 1) + self.places
        x = self.block(self.norms[0](x).permute(1, 0, 2)).permute(1, 0, 2)
        x = self.norms[1](x[:, 0]) @ self.proj
        return x / x.norm(dim=-1, keepdim=True)


class ConvNext(nn.Module):
    """Liu et al., 2022: a stem and a block, normalised over channels in both spellings."""

    def __init__(self, width=24):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 2, 2)
        self.scale, self.shift, self.gamma = (nn.Parameter(torch.rand(width)) for _ in range(3))
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm, self.last = nn.LayerNorm(width), nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.head = nn.Linear(width, 7)

    def forward(self, x):
        x = self.stem(x)
        centred = x - x.mean(1, keepdim=True)
        x = centred / torch.sqrt(centred.pow(2).mean(1, keepdim=True) + 1e-6)
        x = self.scale[:, None, None] * x + self.shift[:, None, None]
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.gamma * self.down(functional.gelu(self.up(y)))
        x = x + y.permute(0, 3, 1, 2)
        return self.head(self.last(x.mean([-2, -1])))


def tanh_gelu(x):
    return functional.gelu(x, approximate="tanh")


NETWORKS = {
    "vision transformer": VisionTransformer,
    "in two products, pooled by a mean": lambda: VisionTransformer(fused=False, token=False),
    "with biases of places": lambda: VisionTransformer(fused=False, token=False, bias=12),
    "with gelu by a tanh": lambda: VisionTransformer(curve=tanh_gelu, heads=1),
    "clip": Clip,
    "convnext": ConvNext,
}
