"""Activation functions on vector registers; kernels apply them, ``activation`` names them."""

import numba

from ._flags import FLAGS
from ._simd import at_least, at_most, fma, power_of_minus

inline = numba.njit(forceinline=True, **FLAGS)


@inline
def clip_curve(x, curve):
    """``clip(scale * x + shift, low, high)``; NaN stays NaN."""
    return at_most(at_least(fma(x, curve[0], curve[1]), curve[2]), curve[3])


ROUNDER = 12582912.0
"""1.5 * 2**23: added to a small value, it leaves the nearest integer in the low bits."""


@inline
def _minus_power(x):
    """``q``, ``r`` and ``2**-n`` with ``exp(-x) = 2**-n * (1 + q * r)``, ``x`` clipped to 87.

    ``n = round(x / ln 2)``, ``|r| <= ln 2 / 2``: two-step reduction after Cody and Waite, then
    ``q(r)``, the polynomial of degree 5 that begins with -1 and has the least relative error of
    the whole, which is below 4e-9.
    """
    x = at_most(at_least(x, -87.0), 87.0)
    biased = fma(x, 1.4426950408889634, ROUNDER)
    n = biased - ROUNDER
    r = fma(n, 2.12194440e-4, fma(n, -0.693359375, x))
    q = fma(r, 1.3814589474350214e-3, -8.3687212318182e-3)
    q = fma(q, r, 4.166838899254799e-2)
    q = fma(q, r, -1.666652113199234e-1)
    q = fma(q, r, 4.999999403953552e-1)
    q = fma(q, r, -1.0)
    return q, r, power_of_minus(biased)


@inline
def sigmoid(x):
    """``1 / (1 + exp(-x))``; beyond 87 it is 0 or 1 to float precision."""
    q, r, power = _minus_power(x)
    return 1.0 / fma(fma(q, r, 1.0), power, 1.0)


@inline
def bell_gate(x, curve):
    """``x * sigmoid(x * p(x * x))``; ``curve`` holds seven coefficients and the largest square."""
    square = at_most(x * x, curve[7])
    p = fma(square, curve[6], curve[5])
    p = fma(p, square, curve[4])
    p = fma(p, square, curve[3])
    p = fma(p, square, curve[2])
    p = fma(p, square, curve[1])
    p = fma(p, square, curve[0])
    return x * sigmoid(x * p)


@inline
def exp_minus(x):
    """``exp(-x)``; beyond 87 it is that of 87."""
    q, r, power = _minus_power(x)
    return fma(q * r, power, power)


@inline
def tanh(x):
    """``-e / (2 + e)`` with ``e = exp(-2 * x) - 1``, which keeps small values' precision."""
    q, r, power = _minus_power(x + x)
    e = fma(q * r, power, power - 1.0)
    return -1.0 * e / (e + 2.0)
