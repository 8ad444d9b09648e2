"""Functions of one value that networks spell out in primitive operators.

``clip(x + 3, 0, 6) * x / 6`` is gathered operator by operator into one curve, which is then
recognised by its numbers, whatever the order of its operators was.
"""

from dataclasses import dataclass, replace

import numpy as np

from rvcnn.kernels.activation import CLIP, CLIPPED, FLOOR, GATE, applied

INFINITE = float("inf")


@dataclass(frozen=True, eq=False)
class Curve:
    """``clip(scale * x + shift, low, high)``, times ``x`` if ``gate``; or a curve by name.

    Attributes
    ----------
    scale, shift : float or ndarray
        float64; vectors over channels only where nothing is clipped.
    low, high : float
    gate : bool
    name : str
        An activation's that is no clipped line, of ``x`` itself.
    slope : float
        leaky_relu's.
    """

    scale: float | np.ndarray = 1.0
    shift: float | np.ndarray = 0.0
    low: float = -INFINITE
    high: float = INFINITE
    gate: bool = False
    name: str = ""
    slope: float = 0.01

    @property
    def is_identity(self):
        """Whether it is ``x``."""
        return self.is_line and bool(np.all(self.scale == 1) and np.all(self.shift == 0))

    @property
    def is_line(self):
        """Whether it is ``scale * x + shift``."""
        return self.low == -INFINITE and self.high == INFINITE and not (self.gate or self.name)

    @property
    def _is_scalar(self):
        return np.ndim(self.scale) == np.ndim(self.shift) == 0

    def times(self, factor):
        """The curve times a number, or a vector over channels; None if that is no curve."""
        if self.is_line:
            return replace(self, scale=self.scale * factor, shift=self.shift * factor)
        if self.name or np.ndim(factor) or factor == 0:
            return None
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(
            self, scale=self.scale * factor, shift=self.shift * factor, low=low, high=high
        )

    def plus(self, number):
        """The curve plus a number, or a vector over channels; None if that is no curve."""
        if self.is_line:
            return replace(self, shift=self.shift + number)
        if self.name or self.gate or np.ndim(number):
            return None
        low, high = self.low + number, self.high + number
        return replace(self, shift=self.shift + number, low=low, high=high)

    def clip(self, low, high):
        """The curve between two numbers; None if that is no curve."""
        if self.name or self.gate or not self._is_scalar or low > high:
            return None
        inside = (min(max(edge, low), high) for edge in (self.low, self.high))
        return replace(self, **dict(zip(("low", "high"), inside, strict=True)))

    def gated(self):
        """``x`` times the curve; None if that is no curve."""
        if self.gate or self.name not in ("", "sigmoid") or not self._is_scalar or self.is_line:
            return None
        return replace(self, gate=True)

    def activation(self):
        """Name of the activation it is; None if it is another curve."""
        if self.name:
            return "silu" if self.gate else self.name
        if not self._is_scalar:
            return None
        mode, numbers = self.fused()
        for name in CLIPPED:
            kind, known = applied(name)
            if name != "identity" and kind == mode and np.allclose(numbers, known, 1e-6, 1e-7):
                return name
        return None

    def fused(self):
        """Mode and numbers, as kernels take them."""
        numbers = np.array([self.scale, self.shift, self.low, self.high], np.float32)
        floor = not self.gate and numbers.tolist() == [1, 0, 0, INFINITE]
        return (GATE if self.gate else FLOOR if floor else CLIP), numbers


IDENTITY = Curve()
