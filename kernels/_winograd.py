"""Winograd's transforms of one dimension, on vector registers.

A filter of three taps slides over a window of M + 2 values and gives M outputs. As polynomials,
both are evaluated at M + 1 points and at infinity and multiplied there. The points are 0, 1, -1 for
M = 2, and 0, r, -r, 2r, -2r for M = 4 with r = sqrt(1/2): half the rounding of the usual 0, 1, -1,
2, -2, and squares that are powers of two. ``winograd_filters.MATRICES`` holds the same as matrices.
"""

import numba

from ._flags import FLAGS
from ._simd import fma

inline = numba.njit(forceinline=True, **FLAGS)

ROOT = 0.5**0.5


@inline
def to_points_2(d0, d1, d2, d3):
    """Values of a window of four at the points."""
    return d2 - d0, d1 + d2, d2 - d1, d3 - d1


@inline
def from_points_2(m0, m1, m2, m3):
    """Two outputs from products at the points."""
    return m0 + (m1 + m2), (m1 - m2) + m3


@inline
def to_points_4(d0, d1, d2, d3, d4, d5):
    """Values of a window of six at the points."""
    even, odd = fma(d2, -2.0, d4), fma(d1, -2.0, d3)
    even_2, odd_2 = fma(d2, -0.5, d4), fma(d1, -0.5, d3)
    return (
        fma(d2, -2.5, d0 + d4),
        fma(odd, ROOT, even),
        fma(odd, -ROOT, even),
        fma(odd_2, 2 * ROOT, even_2),
        fma(odd_2, -2 * ROOT, even_2),
        fma(d3, -2.5, d1 + d5),
    )


@inline
def from_points_4(m0, m1, m2, m3, m4, m5):
    """Four outputs from products at the points."""
    even, odd = m1 + m2, m1 - m2
    even_2, odd_2 = m3 + m4, m3 - m4
    return (
        m0 + (even + even_2),
        fma(odd_2, 2.0, odd) * ROOT,
        fma(even, 0.5, even_2 * 2.0),
        fma(fma(odd_2, 8.0, odd), 0.5 * ROOT, m5),
    )
