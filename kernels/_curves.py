"""Activation functions on vector registers; kernels apply them, ``activation`` names them."""

import numba

from ._flags import FLAGS
from ._simd import at_least, at_most, fma, power_of_two, round_even, where_negative

inline = numba.njit(forceinline=True, **FLAGS)


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
