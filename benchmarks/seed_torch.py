"""The kernels of the seed's table in PyTorch: every form of calling them that might be the fastest.

Maps are (1, C, H, W), in memory channels first or last; what oneDNN runs on may be packed before.
Each function gives ways by name, for arrays channels last.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from seed_way import Way

torch.set_num_threads(1)
torch.set_grad_enabled(False)

CHANNELS_LAST = torch.channels_last


def tensor(array: np.ndarray) -> torch.Tensor:
    """A map (H, W, C) as (1, C, H, W), the memory as it is."""
    return torch.from_numpy(array).permute(2, 0, 1)[None]


def _map(y: torch.Tensor) -> np.ndarray:
    return y[0].permute(1, 2, 0).numpy()


def conv(x: np.ndarray, weights: np.ndarray, bias: np.ndarray, groups: int = 1) -> dict[str, Way]:
    """Convolution with (N, KH, KW, C / groups) weights that keeps the size."""
    last, b = tensor(x), torch.from_numpy(bias)
    w = torch.from_numpy(weights).permute(0, 3, 1, 2)
    p = [weights.shape[1] // 2] * 2
    ones = [1, 1]
    first, w_first = last.contiguous(), w.contiguous()
    w_last = w_first.contiguous(memory_format=CHANNELS_LAST)
    packed = torch._C._nn.mkldnn_reorder_conv2d_weight(
        w_first.to_mkldnn(), p, ones, ones, groups, list(first.shape)
    )

    def onednn():
        return torch.ops.mkldnn._convolution_pointwise(
            last, packed, b, p, ones, ones, groups, "none", [], ""
        )

    return {
        "pytorch": Way(lambda: F.conv2d(first, w_first, b, 1, p, 1, groups), _map),
        "pytorch, channels last": Way(lambda: F.conv2d(last, w_last, b, 1, p, 1, groups), _map),
        "pytorch, packed": Way(onednn, _map),
    }


def pointwise(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> dict[str, Way]:
    """A product of (H, W, C) with (C, N)."""
    rows = torch.from_numpy(x.reshape(-1, x.shape[2]))
    w, b = torch.from_numpy(weights), torch.from_numpy(bias)
    out = torch.empty(len(rows), len(bias))
    return {"pytorch, product": Way(lambda: torch.addmm(b, rows, w, out=out), torch.Tensor.numpy)}


def conv_u8(x, weights, bias, scales, zeros, groups: int = 1) -> dict[str, Way]:
    """Convolution of bytes; scales are of input, weights and output, zeros of input and output."""
    x_scale, w_scale, out_scale = scales
    b, w_scales = torch.from_numpy(bias), torch.from_numpy(w_scale.astype(np.float64))
    w = torch.from_numpy(weights).permute(0, 3, 1, 2).contiguous()
    zeros_of_w = torch.zeros(len(w), dtype=torch.int64)
    w_q = torch._make_per_channel_quantized_tensor(w, w_scales, zeros_of_w, 0)
    x_q = torch._make_per_tensor_quantized_tensor(tensor(x), x_scale, zeros[0])
    p = [weights.shape[1] // 2] * 2

    def with_engine(engine):
        torch.backends.quantized.engine = engine
        packed = torch.ops.quantized.conv2d_prepack(w_q, b, [1, 1], p, [1, 1], groups)
        return lambda: torch.ops.quantized.conv2d(x_q, packed, out_scale, zeros[1])

    return {
        f"pytorch, {engine}": Way(with_engine(engine), lambda y: _map(y.int_repr()))
        for engine in ("onednn", "fbgemm")
        if engine in torch.backends.quantized.supported_engines
    }


def relu(x: np.ndarray) -> dict[str, Way]:
    """The larger of a value and zero."""
    given = torch.from_numpy(x)
    out = torch.empty_like(given)
    return {
        "pytorch": Way(lambda: torch.relu(given), torch.Tensor.numpy),
        "pytorch, out=": Way(lambda: torch.clamp_min(given, 0, out=out), torch.Tensor.numpy),
    }


def batch_norm(x: np.ndarray, gamma, beta, mean, variance, epsilon: float) -> dict[str, Way]:
    """Normalisation with fixed statistics."""
    last, vectors = tensor(x), [torch.from_numpy(v) for v in (mean, variance, gamma, beta)]
    first = last.contiguous()
    return {
        "pytorch": Way(lambda: F.batch_norm(first, *vectors, eps=epsilon), _map),
        "pytorch, channels last": Way(lambda: F.batch_norm(last, *vectors, eps=epsilon), _map),
    }


def global_average(x: np.ndarray) -> dict[str, Way]:
    """Mean of each channel."""
    last, rows = tensor(x), torch.from_numpy(x.reshape(-1, x.shape[2]))
    first = last.contiguous()
    return {
        "pytorch": Way(lambda: F.adaptive_avg_pool2d(first, 1), torch.Tensor.numpy),
        "pytorch, channels last": Way(lambda: F.adaptive_avg_pool2d(last, 1), torch.Tensor.numpy),
        "pytorch, mean": Way(lambda: rows.mean(0), torch.Tensor.numpy),
    }


def quantise(x: np.ndarray, scale: float, zero: int) -> dict[str, Way]:
    """To bytes."""
    given = torch.from_numpy(x)

    def run():
        return torch.quantize_per_tensor(given, scale, zero, torch.quint8)

    return {"pytorch": Way(run, lambda q: q.int_repr().numpy())}


def unit(x: np.ndarray) -> dict[str, Way]:
    """A vector over its length."""
    given = torch.from_numpy(x)
    return {"pytorch": Way(lambda: F.normalize(given, dim=0), torch.Tensor.numpy)}


def resize(pixels: np.ndarray, size: tuple[int, int]) -> dict[str, Way]:
    """Antialiased bilinear, of bytes."""
    last = tensor(pixels)
    first = last.contiguous()

    def of(x):
        return lambda: F.interpolate(x, size, mode="bilinear", antialias=True)

    return {"pytorch": Way(of(first), _map), "pytorch, channels last": Way(of(last), _map)}


def dots(query: np.ndarray, vectors: np.ndarray) -> dict[str, Way]:
    """Products of a vector with each of many."""
    q, v = torch.from_numpy(query), torch.from_numpy(vectors)
    out = torch.empty(len(v))
    return {
        "pytorch, mv": Way(lambda: torch.mv(v, q, out=out), torch.Tensor.numpy),
        "pytorch, mm": Way(lambda: q[None] @ v.T, torch.Tensor.numpy),
    }


def dots_s8(query: np.ndarray, vectors: np.ndarray) -> dict[str, Way]:
    """The same of int8."""
    q, v = torch.from_numpy(query)[None], torch.from_numpy(vectors)
    return {"pytorch": Way(lambda: torch._int_mm(q, v.T), torch.Tensor.numpy)}
