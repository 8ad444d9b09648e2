"""Activation functions that kernels apply before they store.

Formulas as in PyTorch: ``hardsigmoid(x) = clip(x / 6 + 1/2, 0, 1)``,
``hardswish(x) = x * hardsigmoid(x)``, ``silu(x) = x * sigmoid(x)``, gelu in its exact form and
in that by a ``tanh``; ``quick_gelu(x) = x * sigmoid(1.702 * x)``.
"""

from typing import TYPE_CHECKING

import numpy as np

from ._jit import unroll

if TYPE_CHECKING:
    from ._curves import bell_gate, clip_curve, sigmoid
    from ._simd import at_least, load, room, store

NONE, FLOOR, CLIP, GATE, SIGMOID, SILU, BELL = range(7)
"""How an activation is applied: not at all, ``max(x, 0)``, ``clip(curve(x))``,
``x * clip(curve(x))``, ``sigmoid(x)``, ``x * sigmoid(x)``, ``x * sigmoid(x * p(x * x))`` with a
polynomial ``p``."""

_NORMAL = (
    *(1.59576843, 0.0726685671, -6.6260005e-05, -0.000110480312, 7.93821825e-06),
    *(-2.66892779e-07, 3.61123195e-09, 5.6**2),
)
"""``p`` of gelu and the square from which on it is constant: the logit of the normal distribution
divided by ``x``, with the least largest error of the activation, which is below 7e-8."""

_CURVES = {
    "identity": (NONE, 1, 0, -np.inf, np.inf),
    "relu": (FLOOR, 1, 0, 0, np.inf),
    "relu6": (CLIP, 1, 0, 0, 6),
    "hard_sigmoid": (CLIP, 1 / 6, 0.5, 0, 1),
    "hard_swish": (GATE, 1 / 6, 0.5, 0, 1),
    "sigmoid": (SIGMOID, 1, 0, -np.inf, np.inf),
    "silu": (SILU, 1, 0, -np.inf, np.inf),
    "gelu": (BELL, *_NORMAL),
    "gelu_tanh": (BELL, 2 * (2 / np.pi) ** 0.5, 2 * (2 / np.pi) ** 0.5 * 0.044715, *[0] * 5, 100),
    "quick_gelu": (BELL, 1.702, *[0] * 6, 100),
}

CLIPPED = tuple(name for name, (mode, *_) in _CURVES.items() if mode < SIGMOID)
"""Names of those that are clipped lines."""

ACTIVATIONS = (*_CURVES, "leaky_relu")
"""Names of all activations."""

STEEP = 3e38
"""Scale of a curve that is a step: its clip ends within 3e-39 of zero."""


def applied(activation, slope=0.01):
    """An activation as kernels take it: mode and (scale, shift, low, high), or a polynomial.

    leaky_relu is a gate between its slope and 1, which a step opens.
    """
    mode, *curve = _CURVES.get(activation, (GATE, STEEP, 0, slope, 1))
    if mode == GATE and curve[2] > curve[3]:
        curve = (-STEEP, 0, 1, slope)
    curve = np.array(curve, np.float32)
    curve.flags.writeable = False
    return mode, curve


def expansion(activation):
    """What names the expansion of a kernel that has this activation, a result of :func:`applied`.

    Most have all but those with a sigmoid, which would double their code.
    """
    mode = activation[0]
    return "_gelu" if mode == BELL else "_sigmoid" if mode >= SIGMOID else ""


def activate(reg, mode, curve):
    """Apply an activation to a kernel's registers: a part of templates, of their LANES and CURVE.

    A sigmoid is a loop over memory, which keeps the kernel's code small.
    """
    if CURVE:
        SIZE = len(reg) * LANES
        tile = room(SIZE)
        for i in unroll(len(reg)):
            store(tile, i * LANES, reg[i])
        for i in range(0, SIZE, LANES):
            x = load(tile, i, LANES)
            if CURVE == "_gelu":
                store(tile, i, bell_gate(x, curve))
            else:
                g = sigmoid(x)
                store(tile, i, x * g if mode == SILU else g)
        for i in unroll(len(reg)):
            reg[i] = load(tile, i * LANES, LANES)
    elif mode == FLOOR:
        for i in unroll(len(reg)):
            reg[i] = at_least(reg[i], 0.0)
    elif mode != NONE:
        for i in unroll(len(reg)):
            g = clip_curve(reg[i], curve)
            reg[i] = reg[i] * g if mode == GATE else g
