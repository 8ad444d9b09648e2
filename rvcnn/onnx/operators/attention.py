"""Attention and what comes with it."""

import numpy as np

from rvcnn.errors import ShapeError, WeightsError

from .activations import swish
from .base import check_size, operators
from .types import dtype_of


def _heads(x, count):
    """(N, length, count * size) as (N, count, length, size)."""
    if x.ndim == 4:
        return x
    if not count or x.ndim != 3 or x.shape[2] % count:
        raise ShapeError(f"{x.shape} is not (batch, length, heads * size) of {count} heads")
    return x.reshape(*x.shape[:2], count, -1).swapaxes(1, 2)


def _bias(mask, shape, dtype):
    """A mask as what is added to scores (N, heads, queries, keys)."""
    if mask is None:
        return np.zeros((1, 1, 1, shape[-1]), dtype)
    if mask.dtype == bool:
        mask = np.where(mask, 0, -np.inf).astype(dtype)
    missing = shape[-1] - mask.shape[-1]
    sides = [(0, 0)] * (mask.ndim - 1) + [(0, max(missing, 0))]
    return np.pad(mask, sides, constant_values=-np.inf)


def _seen(queries, keys, offset, causal, left, right):
    """Where a query (N, 1, queries, 1) may see a key, by their distance."""
    at = np.arange(queries)[:, None] + offset
    key = np.arange(keys)
    seen = np.ones(np.broadcast_shapes(at.shape, key.shape), bool)
    if causal:
        seen &= key <= at
    if left >= 0:
        seen &= key >= at - left
    if right >= 0:
        seen &= key <= at + right
    return seen


def attention(
    q,
    k,
    v,
    mask=None,
    past_key=None,
    past_value=None,
    valid=None,
    *,
    is_causal=0,
    kv_num_heads=0,
    q_num_heads=0,
    qk_matmul_output_mode=0,
    scale=None,
    softcap=0.0,
    softmax_precision=None,
    left_window_size=-1,
    right_window_size=-1,
    outputs=1,
):
    """``softmax(q k / sqrt(size) + mask) v`` for each head (Vaswani et al., 2017).

    Keys and values may be shared by several heads of queries, follow those of the past, and of
    each sequence the first `valid` count. A query that sees no key gives zeros.
    """
    flat = q.ndim == 3
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    offset = np.zeros((1, 1, 1, 1), np.int64)
    if past_key is not None:
        offset = offset + past_key.shape[2]
        k, v = np.concatenate([past_key, k], 2), np.concatenate([past_value, v], 2)
    elif valid is not None:
        offset = valid.reshape(-1, 1, 1, 1) - q.shape[2]
    shape = (len(q), q.shape[1], q.shape[2], k.shape[2])
    check_size(shape, np.float64)
    if not k.shape[1] or q.shape[1] % k.shape[1]:
        raise ShapeError(f"{q.shape[1]} heads of queries cannot share {k.shape[1]} of keys")
    present, repeats = (k, v), q.shape[1] // k.shape[1]
    k, v = np.repeat(k, repeats, 1), np.repeat(v, repeats, 1)
    root = np.asarray((scale or q.shape[-1] ** -0.5) ** 0.5, q.dtype)
    scores = (q * root) @ (k * root).swapaxes(-1, -2)
    stages = [scores]
    if softcap:
        scores = np.asarray(softcap, q.dtype) * np.tanh(scores / np.asarray(softcap, q.dtype))
    stages.append(scores)
    seen = _seen(*shape[2:], offset, is_causal, left_window_size, right_window_size)
    if valid is not None:
        seen = seen & (np.arange(shape[3]) < valid.reshape(-1, 1, 1, 1))
    scores = np.where(seen, scores + _bias(mask, shape, q.dtype), -np.inf).astype(q.dtype)
    stages.append(scores)
    kind = q.dtype if softmax_precision is None else dtype_of(softmax_precision)
    stages.append(_shares(scores.astype(np.promote_types(kind, np.float32))).astype(q.dtype))
    out = stages[3] @ v
    if flat:
        out = out.swapaxes(1, 2).reshape(len(q), q.shape[2], -1)
    if not 0 <= qk_matmul_output_mode < len(stages):
        raise WeightsError(f"qk_matmul_output_mode {qk_matmul_output_mode}: use 0 to 3")
    return (out, *present, stages[qk_matmul_output_mode])[: max(outputs, 1)]


def _shares(scores):
    """Softmax along the last axis, zeros where all is -inf."""
    most = scores.max(-1, keepdims=True, initial=-np.inf)
    powers = np.exp(scores - np.where(np.isfinite(most), most, 0))
    total = powers.sum(-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def rotary_embedding(
    x, cosines, sines, positions=None, *, interleaved=0, num_heads=0, rotary_embedding_dim=0
):
    """Pairs of values turned by an angle for each place in a sequence (Su et al., 2021).

    A pair is a value of each half, or with `interleaved` two neighbours.
    """
    heads = _heads(x, num_heads)
    size = rotary_embedding_dim or heads.shape[-1]
    turned, rest = heads[..., :size], heads[..., size:]
    if positions is not None:
        cosines, sines = cosines[positions], sines[positions]
    cosines, sines = cosines[:, None], sines[:, None]
    pairs = (0, 1) if interleaved else (0, size // 2)
    step = 2 if interleaved else 1
    count = size // 2 * step
    a, b = (turned[..., first : first + count : step] for first in pairs)
    pair = [cosines * a - sines * b, sines * a + cosines * b]
    turned = np.stack(pair, -1).reshape(turned.shape) if interleaved else np.concatenate(pair, -1)
    out = np.concatenate([turned, rest], -1)
    return out if x.ndim == 4 else out.swapaxes(1, 2).reshape(x.shape)


def linear_attention(
    q,
    k,
    v,
    past=None,
    decay=None,
    beta=None,
    *,
    q_num_heads,
    kv_num_heads,
    chunk_size=64,
    scale=0.0,
    update_rule="gated_delta",
):
    """A state (N, heads, key, value) that each key and value change and each query reads.

    Rules: ``linear`` adds ``k v``; ``gated`` first decays the state by ``exp(decay)``; ``delta``
    adds ``beta * k (v - k state)``; ``gated_delta`` does both (Yang et al., 2024).
    """
    if update_rule not in ("linear", "gated", "delta", "gated_delta"):
        raise WeightsError(f"update_rule {update_rule!r}: use linear, gated, delta or gated_delta")
    gated, delta = "gated" in update_rule, "delta" in update_rule
    q, k, v = _heads(q, q_num_heads), _heads(k, kv_num_heads), _heads(v, kv_num_heads)
    n, heads, length, size = k.shape
    scale = np.asarray(scale or size**-0.5, q.dtype)
    shape = check_size((n, heads, size, v.shape[-1]), q.dtype)
    state = np.zeros(shape, q.dtype) if past is None else past
    out = np.empty((n, q.shape[1], length, v.shape[-1]), q.dtype)
    if gated:
        decay = np.exp(decay.reshape(n, length, heads, -1).swapaxes(1, 2))[..., None]
    if delta:
        beta = np.broadcast_to(beta, (n, length, heads)).swapaxes(1, 2)[..., None]
    for t in range(length):
        key, value = k[:, :, t, :, None], v[:, :, t]
        if gated:
            state = state * decay[:, :, t]
        if delta:
            value = beta[:, :, t] * (value - (key * state).sum(2))
        state = state + key * value[:, :, None]
        groups = q[:, :, t].reshape(n, heads, -1, size)
        out[:, :, t] = (scale * (groups @ state)).reshape(n, -1, v.shape[-1])
    return out.swapaxes(1, 2).reshape(n, length, -1), state


def swiglu(gate, x, *, alpha=1.0):
    """``swish(gate) * x`` (Shazeer, 2020)."""
    return swish(gate, alpha=alpha) * x


OPERATORS = operators(
    {
        "Attention": attention,
        "LinearAttention": linear_attention,
        "RotaryEmbedding": rotary_embedding,
        "SwiGLU": swiglu,
    },
    widen=True,
)
