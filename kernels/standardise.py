"""Layer normalisation: mean 0 and variance 1 over each pixel's channels.

Sums run over 32 partial sums whatever the lane count, so results do not depend on it.
"""

from typing import TYPE_CHECKING

from . import _target
from ._divide import Axis
from ._jit import F32, kernel, unroll
from ._program import Call
from .vector import fold

if TYPE_CHECKING:
    from ._simd import fma, load, splat, square_root, store, sum_lanes


@kernel(
    "f32_layer_norm__v{LANES}",
    lambda v: 5 * v["rows"] * v["pixels"] * v["channels"],
    tuple(
        Axis(count, "", lambda v, i, by=by: {m: i * v[f"{m}_{by}"] for m in ("out", "x")})
        for count, by in (("rows", "row"), ("pixels", "step"))
    ),
)
def f32_layer_norm(
    out: F32,
    x: F32,
    scale: F32,
    shift: F32,
    rows: int,
    pixels: int,
    channels: int,
    out_row: int,
    out_step: int,
    x_row: int,
    x_step: int,
    share: float,
    epsilon: float,
):
    """``(x - mean) / sqrt(variance + epsilon) * scale + shift`` over each pixel's channels.

    ``share`` is ``1 / channels``; ``out`` may be ``x``.
    """
    whole = channels - channels % 32
    for y in range(rows):
        for p in range(pixels):
            at = y * x_row + p * x_step
            to = y * out_row + p * out_step
            for v in unroll(32 // LANES):
                reg_s[v] = splat(0.0, LANES)
            rest = splat(0.0, 1)
            for i in range(0, whole, 32):
                for v in unroll(32 // LANES):
                    reg_s[v] = reg_s[v] + load(x, at + i + v * LANES, LANES)
            for i in range(whole, channels):
                rest = rest + load(x, at + i, 1)
            fold(reg_s)
            mean = (sum_lanes(reg_s[0]) + sum_lanes(rest)) * share
            for v in unroll(32 // LANES):
                reg_s[v] = splat(0.0, LANES)
            rest = splat(0.0, 1)
            for i in range(0, whole, 32):
                for v in unroll(32 // LANES):
                    reg_d[v] = load(x, at + i + v * LANES, LANES) - mean
                    reg_s[v] = fma(reg_d[v], reg_d[v], reg_s[v])
            for i in range(whole, channels):
                a = load(x, at + i, 1) - mean
                rest = fma(a, a, rest)
            fold(reg_s)
            variance = (sum_lanes(reg_s[0]) + sum_lanes(rest)) * share + epsilon
            factor = sum_lanes(1.0 / square_root(splat(variance, 1)))
            for i in range(0, whole, LANES):
                c = (load(x, at + i, LANES) - mean) * factor
                store(out, to + i, fma(c, load(scale, i, LANES), load(shift, i, LANES)))
            for i in range(whole, channels):
                a = (load(x, at + i, 1) - mean) * factor
                store(out, to + i, fma(a, load(scale, i, 1), load(shift, i, 1)))


def layer_norm(out, x, scale, shift, epsilon):
    """Calls for a map's normalisation over channels.

    Parameters
    ----------
    out, x : Map
        (H, W, C).
    scale, shift : ndarray
        (C,) float32.
    epsilon : float
    """
    sizes = (x.height, x.width, x.channels, out.row, out.pixel, x.row, x.pixel)
    args = (out.at(), x.at(), scale, shift, *sizes, 1 / x.channels, float(epsilon))
    return [Call(f32_layer_norm(LANES=_target.lanes()), args)]
