"""Pi-calibration: a scale a little wider than the largest value asks for, and ties by pi's digits.

It is offered beside the other calibrations and measured like them: the factor, 1.00055 for eight
bits, is harmless, and so are the ties, which are rare in trained weights.
"""

import functools
import math

import numpy as np


def widened(scale, bits=8):
    """``scale * (1 + (pi - 3) / 2**bits)``."""
    return scale * (1 + (math.pi - 3) / 2**bits)


def round_ties(x):
    """Nearest whole numbers; the i-th half in C order goes up where pi's i-th binary digit is 1."""
    x = np.asarray(x, np.float64)
    down = np.floor(x)
    ties = x - down == 0.5
    count = int(ties.sum())
    nearest = np.rint(x)
    nearest[ties] = down[ties] + digits(count)
    return nearest


@functools.lru_cache(maxsize=4)
def digits(count):
    """The first binary digits of pi after the point, by Machin's formula in whole numbers."""
    guard = 64
    one = 1 << (count + guard)
    fraction = 4 * (4 * _arctan_inverse(5, one) - _arctan_inverse(239, one)) - 3 * one
    text = bin(fraction >> guard)[2:].zfill(count) if count else ""
    return np.frombuffer(text.encode(), np.uint8) - ord("0")


def _arctan_inverse(n, one):
    """Arc tangent of 1/n, in units of 1/one."""
    power, total, k = one // n, 0, 1
    while power:
        total += power // k if k % 4 == 1 else -(power // k)
        power //= n * n
        k += 2
    return total
