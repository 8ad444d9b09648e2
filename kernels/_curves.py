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
def sigmoid(x):
    """``1 / (1 + exp(-x))``.

    ``exp(-x) = 2**-n * exp(-r)``, ``n = round(x / ln 2)``, ``|r| <= ln 2 / 2``: two-step reduction
    after Cody and Waite, then ``1 - r + r**2 * q(r)``, ``q`` the polynomial of degree 4 of least
    relative error of the whole, which is below 4e-9. Beyond 87 the result is 0 or 1 to float
    precision.
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
    q = fma(q, r, 1.0)
    return 1.0 / fma(q, power_of_minus(biased), 1.0)
