"""Activation functions.

Formulas as in PyTorch: ``hardsigmoid(x) = clip(x / 6 + 1/2, 0, 1)``,
``hardswish(x) = x * hardsigmoid(x)``, ``silu(x) = x * sigmoid(x)``.
"""

import numpy as np

from ._jit import inline
from ._simd import at_least, at_most, fma, power_of_two, round_even, where_negative

NONE, FLOOR, CLIP, GATE = range(4)
"""How a fused activation is applied: not at all, ``max(x, 0)``, ``clip(curve(x))``,
``x * clip(curve(x))``."""


def _curve(mode, scale, shift, low, high):
    curve = np.array([scale, shift, low, high], np.float32)
    curve.flags.writeable = False
    return mode, curve


FUSED = {
    "identity": _curve(NONE, 1, 0, -np.inf, np.inf),
    "relu": _curve(FLOOR, 1, 0, 0, np.inf),
    "relu6": _curve(CLIP, 1, 0, 0, 6),
    "hard_sigmoid": _curve(CLIP, 1 / 6, 0.5, 0, 1),
    "hard_swish": _curve(GATE, 1 / 6, 0.5, 0, 1),
}
"""Activations that other kernels apply before they store: mode and (scale, shift, low, high)."""


@inline
def clip_curve(x, curve):
    """``clip(scale * x + shift, low, high)``; NaN stays NaN."""
    return at_most(at_least(fma(x, curve[0], curve[1]), curve[2]), curve[3])


@inline
def leaky_relu(x, slope):
    """``x`` where not negative, ``slope * x`` elsewhere."""
    return where_negative(x, x * slope, x)


@inline
def sigmoid(x):
    """``1 / (1 + exp(-x))``.

    ``exp(y) = 2**n * exp(r)``, ``n = round(y / ln 2)``, ``|r| <= ln 2 / 2``: two-step reduction
    after Cody and Waite, then the Taylor polynomial of degree 7, whose remainder is below 6e-9.
    Beyond 87 the result is 0 or 1 to float precision.
    """
    y = at_most(at_least(x * -1.0, -87.0), 87.0)
    n = round_even(y * 1.4426950408889634)
    r = fma(n, 2.12194440e-4, fma(n, -0.693359375, y))
    p = fma(r, 1 / 5040, 1 / 720)
    p = fma(p, r, 1 / 120)
    p = fma(p, r, 1 / 24)
    p = fma(p, r, 1 / 6)
    p = fma(p, r, 1 / 2)
    p = fma(p, r, 1.0)
    p = fma(p, r, 1.0)
    return 1.0 / (p * power_of_two(n) + 1.0)
