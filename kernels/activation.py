"""Activation functions.

Formulas as in PyTorch: ``hardsigmoid(x) = clip(x / 6 + 1/2, 0, 1)``,
``hardswish(x) = x * hardsigmoid(x)``, ``silu(x) = x * sigmoid(x)``.
"""

import numpy as np

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
