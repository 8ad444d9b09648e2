"""Attention: what each token of a sequence takes from the others (Vaswani et al., 2017).

A row of a map is a sequence, a pixel a token, and a head a stretch of channels. A few queries at a
time meet all keys, so that their scores stay in the first-level cache.
"""

from typing import TYPE_CHECKING

from . import _target
from ._jit import F32, kernel, unroll
from ._program import At, Call

if TYPE_CHECKING:
    from ._curves import exp_minus
    from ._simd import broadcast, fma, lane_of, load, maximum, part, splat, store, sum_lanes


@kernel(
    "f32_attention_{MR}x{NV}x{NW}__v{LANES}",
    work=lambda v: v["queries"] * v["keys"] * (v["size"] + v["width"] + 16),
)
def f32_attention(
    out: F32,
    q: F32,
    k: F32,
    v: F32,
    bias: F32,
    scratch: F32,
    queries: int,
    keys: int,
    size: int,
    width: int,
    out_step: int,
    q_step: int,
    k_step: int,
    v_step: int,
    bias_step: int,
    scale: float,
):
    """``softmax(scale * q @ k.T + bias) @ v`` of one head, tokens ``*_step`` values apart.

    ``queries`` (at least MR) and ``keys`` have ``size`` channels, values and results ``width``.
    ``bias`` (queries, keys) is not read where ``bias_step`` is 0. ``scratch`` has
    :func:`scratch_size` values.
    """
    panels = (keys + NV * LANES - 1) // (NV * LANES)
    for j in range(panels):
        for n in range(NV * LANES):
            key = min(j * NV * LANES + n, keys - 1) * k_step
            to = j * size * NV * LANES + n
            for c in range(size):
                scratch[to + c * NV * LANES] = k[key + c]
    row = (panels + 1) * NV * LANES
    scores = panels * size * NV * LANES
    shares = scores + MR * row
    for i in range(0, queries, MR):
        first = min(i, queries - MR)
        for j in range(panels):
            for r in unroll(MR):
                for n in unroll(NV):
                    reg_c[r, n] = splat(0.0, LANES)
            for c in range(size):
                for n in unroll(NV):
                    reg_b[n] = load(scratch, ((j * size + c) * NV + n) * LANES, LANES)
                for r in unroll(MR):
                    a = broadcast(q, (first + r) * q_step + c, LANES)
                    for n in unroll(NV):
                        reg_c[r, n] = fma(a, reg_b[n], reg_c[r, n])
            for r in unroll(MR):
                for n in unroll(NV):
                    store(scratch, scores + r * row + (j * NV + n) * LANES, reg_c[r, n] * scale)
        for r in range(MR):
            at = scores + r * row
            if bias_step:
                b_at = (first + r) * bias_step
                for n in range(0, keys - keys % LANES, LANES):
                    store(
                        scratch, at + n, load(scratch, at + n, LANES) + load(bias, b_at + n, LANES)
                    )
                for n in range(keys - keys % LANES, keys):
                    store(scratch, at + n, load(scratch, at + n, 1) + load(bias, b_at + n, 1))
            for n in unroll(NV):
                store(scratch, at + keys + n * LANES, splat(-3.0e38, LANES))
            reg_m[0] = load(scratch, at, LANES)
            for n in range(LANES, panels * NV * LANES, LANES):
                reg_m[0] = maximum(reg_m[0], load(scratch, at + n, LANES))
            for h in unroll(1, 5):
                if LANES >> h:
                    HALF = LANES >> h
                    reg_m[h] = maximum(part(reg_m[h - 1], 0, HALF), part(reg_m[h - 1], HALF, HALF))
                    top = lane_of(reg_m[h], 0)
            for n in unroll(16 // LANES):
                reg_s[n] = splat(0.0, LANES)
            for m in range(0, panels * NV * LANES, 16):
                for n in unroll(16 // LANES):
                    c = exp_minus(top - load(scratch, at + m + n * LANES, LANES))
                    store(scratch, at + m + n * LANES, c)
                    reg_s[n] = reg_s[n] + c
            for h in unroll(1, 5):
                for n in unroll((16 // LANES) >> h):
                    reg_s[n] = reg_s[n] + reg_s[n + ((16 // LANES) >> h)]
            store(scratch, shares + r, 1.0 / splat(sum_lanes(reg_s[0]), 1))
        for w in range(0, width - width % (NW * LANES), NW * LANES):
            for r in unroll(MR):
                for n in unroll(NW):
                    reg_c[r, n] = splat(0.0, LANES)
            for m in range(keys):
                for n in unroll(NW):
                    reg_b[n] = load(v, m * v_step + w + n * LANES, LANES)
                for r in unroll(MR):
                    a = broadcast(scratch, scores + r * row + m, LANES)
                    for n in unroll(NW):
                        reg_c[r, n] = fma(a, reg_b[n], reg_c[r, n])
            for r in unroll(MR):
                a = broadcast(scratch, shares + r, LANES)
                for n in unroll(NW):
                    store(out, (first + r) * out_step + w + n * LANES, reg_c[r, n] * a)
        for w in range(width - width % (NW * LANES), width - width % LANES, LANES):
            for r in unroll(MR):
                reg_c[r] = splat(0.0, LANES)
            for m in range(keys):
                b = load(v, m * v_step + w, LANES)
                for r in unroll(MR):
                    reg_c[r] = fma(broadcast(scratch, scores + r * row + m, LANES), b, reg_c[r])
            for r in unroll(MR):
                a = broadcast(scratch, shares + r, LANES)
                store(out, (first + r) * out_step + w, reg_c[r] * a)
        for w in range(width - width % LANES, width):
            for r in unroll(MR):
                reg_a[r] = splat(0.0, 1)
            for m in range(keys):
                b1 = load(v, m * v_step + w, 1)
                for r in unroll(MR):
                    reg_a[r] = fma(load(scratch, scores + r * row + m, 1), b1, reg_a[r])
            for r in unroll(MR):
                a1 = load(scratch, shares + r, 1)
                store(out, (first + r) * out_step + w, reg_a[r] * a1)


TILES = {16: (6, 2, 4), 8: (6, 2, 2), 4: (4, 4, 4)}
"""For each lane count: queries that share keys and values, vectors of keys, vectors of values."""

ONE = {16: (1, 2, 4), 8: (1, 2, 2), 4: (1, 4, 4)}
"""Where there are fewer queries."""


def _tile(queries):
    lanes = _target.lanes()
    tile = TILES[lanes] if queries >= TILES[lanes][0] else ONE[lanes]
    return dict(zip(("MR", "NV", "NW", "LANES"), (*tile, lanes), strict=True))


def _head_size(queries, keys, size):
    tile = _tile(queries)
    wide = tile["NV"] * tile["LANES"]
    panels = -(-keys // wide)
    values = panels * size * wide + tile["MR"] * ((panels + 1) * wide + 1)
    return -(-values // 16) * 16


def scratch_size(sequences, queries, keys, heads, size):
    """Scratch values of so many sequences and heads, which threads may compute side by side."""
    return sequences * heads * _head_size(queries, keys, size)


def attention(out, q, k, v, heads, scale, scratch, bias=None):
    """Calls for the attention of every row of a map.

    Parameters
    ----------
    out, q, k, v : Map
        (G, T, heads * width), (G, T, heads * size), (G, S, heads * size), (G, S, heads * width).
    heads : int
    scale : float
        Of the scores.
    scratch : At
        Room for :func:`scratch_size` values.
    bias : ndarray, optional
        (G or 1, heads, T, S) float32, added to the scores.
    """
    calls, size, width = [], q.channels // heads, v.channels // heads
    family, each = f32_attention(**_tile(q.width)), _head_size(q.width, k.width, size)
    for g in range(q.height):
        for h in range(heads):
            place = None
            if bias is not None:
                place = At(bias, (g % len(bias) * heads + h) * q.width * k.width)
            places = (out.at(g, c=h * width), *(m.at(g, c=h * size) for m in (q, k)))
            own = At(scratch.buffer, scratch.offset + (g * heads + h) * each)
            steps = (out.pixel, q.pixel, k.pixel, v.pixel, 0 if bias is None else k.width)
            sizes = (q.width, k.width, size, width)
            args = (*places, v.at(g, c=h * width), place, own, *sizes, *steps, float(scale))
            calls.append(Call(family, args))
    return calls
