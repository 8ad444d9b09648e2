"""Activation functions that kernels apply before they store.

Formulas as in PyTorch: ``hardsigmoid(x) = clip(x / 6 + 1/2, 0, 1)``,
``hardswish(x) = x * hardsigmoid(x)``, ``silu(x) = x * sigmoid(x)``.
"""

import numpy as np

NONE, FLOOR, CLIP, GATE, SIGMOID, SILU = range(6)
"""How an activation is applied: not at all, ``max(x, 0)``, ``clip(curve(x))``,
``x * clip(curve(x))``, ``sigmoid(x)``, ``x * sigmoid(x)``."""

_CURVES = {
    "identity": (NONE, 1, 0, -np.inf, np.inf),
    "relu": (FLOOR, 1, 0, 0, np.inf),
    "relu6": (CLIP, 1, 0, 0, 6),
    "hard_sigmoid": (CLIP, 1 / 6, 0.5, 0, 1),
    "hard_swish": (GATE, 1 / 6, 0.5, 0, 1),
    "sigmoid": (SIGMOID, 1, 0, -np.inf, np.inf),
    "silu": (SILU, 1, 0, -np.inf, np.inf),
}

CLIPPED = tuple(name for name, (mode, *_) in _CURVES.items() if mode < SIGMOID)
"""Names of those that are clipped lines."""

ACTIVATIONS = (*_CURVES, "leaky_relu")
"""Names of all activations."""

STEEP = 3e38
"""Scale of a curve that is a step: its clip ends within 3e-39 of zero."""


def applied(activation, slope=0.01):
    """An activation as kernels take it: mode and (scale, shift, low, high).

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

    Most have all but the sigmoid, which would double their code.
    """
    return "_sigmoid" if activation[0] >= SIGMOID else ""
