"""Loops that measure the machine itself: no network calls them, so they are no part of FAMILIES."""

from typing import TYPE_CHECKING

from . import _target
from ._jit import F32, S8, S32, U8, Family, unroll
from ._program import Call

if TYPE_CHECKING:
    from ._int import dot, load_groups_s8, load_groups_u8, load_s32, store_s32
    from ._simd import fma, load, splat, store

CHAINS = (12, 24)
"""Independent sums of the arithmetic loop: 12 fit 16 registers, 24 fill wider cores' pipes."""

STREAMS = 8
"""Registers that a pass over memory adds to."""


def f32_multiply_adds(out: F32, x: F32, rounds: int):
    """``rounds`` times ``c = c * a + b`` in each of CHAINS registers; ``x`` holds a and b."""
    a = load(x, 0, LANES)
    b = load(x, LANES, LANES)
    for i in unroll(CHAINS):
        reg_c[i] = splat(i, LANES)
    for _ in range(rounds):
        for i in unroll(CHAINS):
            reg_c[i] = fma(reg_c[i], a, b)
    for i in unroll(CHAINS):
        store(out, i * LANES, reg_c[i])


def u8_dots(out: S32, x: U8, w: S8, rounds: int):
    """``rounds`` times ``c = c + x . w`` in each of CHAINS registers."""
    a = load_groups_u8(x, 0, LANES)
    b = load_groups_s8(w, 0, LANES)
    for i in unroll(CHAINS):
        reg_c[i] = load_s32(out, i * LANES, LANES)
    for _ in range(rounds):
        for i in unroll(CHAINS):
            reg_c[i] = dot(reg_c[i], a, b)
    for i in unroll(CHAINS):
        store_s32(out, i * LANES, reg_c[i])


def f32_read(out: F32, x: F32, values: int, rounds: int):
    """Sum ``values`` (a multiple of STREAMS * LANES) of ``x``, ``rounds`` times over."""
    for v in unroll(STREAMS):
        reg_s[v] = splat(0.0, LANES)
    for _ in range(rounds):
        for i in range(0, values, STREAMS * LANES):
            for v in unroll(STREAMS):
                reg_s[v] = reg_s[v] + load(x, i + v * LANES, LANES)
    for v in unroll(STREAMS):
        store(out, v * LANES, reg_s[v])


def _family(template, pattern):
    return Family(template, pattern, work=lambda values: 0, axes=())


_MULTIPLY_ADDS = _family(f32_multiply_adds, "f32_multiply_adds_{CHAINS}__v{LANES}")
_DOTS = _family(u8_dots, "u8_dots_{CHAINS}x{GROUP}__v{LANES}")
_READ = _family(f32_read, "f32_read_{STREAMS}__v{LANES}")


def multiply_adds(out, x, chains, rounds):
    """Call for ``rounds * chains`` multiply-adds of whole registers that touch no memory.

    Parameters
    ----------
    out : ndarray
        (chains * lanes,) float32: what the chains came to.
    x : ndarray
        (2 * lanes,) float32: factors, then summands.
    chains : int
        One of ``CHAINS``.
    rounds : int
    """
    return Call(_MULTIPLY_ADDS(CHAINS=chains, LANES=_target.lanes()), (out, x, rounds))


def dots(out, x, w, chains, rounds):
    """Call for ``rounds * chains`` dot products of bytes in whole registers.

    Parameters
    ----------
    out : ndarray
        (chains * lanes,) int32: what the sums start from and come to.
    x, w : ndarray
        (4 * lanes,) uint8 and int8.
    chains : int
        One of ``CHAINS``.
    rounds : int
    """
    family = _DOTS(CHAINS=chains, LANES=_target.lanes(), GROUP=_target.dot().group)
    return Call(family, (out, x, w, rounds))


def read(out, x, rounds):
    """Call for the sum of an array, ``rounds`` times over.

    Parameters
    ----------
    out : ndarray
        (STREAMS * lanes,) float32: partial sums.
    x : ndarray
        (N,) float32, N a multiple of ``STREAMS * lanes``.
    rounds : int
    """
    return Call(_READ(STREAMS=STREAMS, LANES=_target.lanes()), (out, x, len(x), rounds))
