"""Batch normalisation, activations, sums and channel scales: one value in, one value out."""

from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import elementwise, functional, reference, reference_u8, steps
from rvcnn.kernels.activation import CLIP, GATE

from .base import Op, alike


@dataclass(frozen=True)
class BatchNorm(Op):
    """Normalisation with the running statistics."""

    channels: int
    epsilon: float

    def parameters(self):
        names = ("weight", "bias", "running_mean", "running_var")
        return {name: (self.channels,) for name in names}

    def infer(self, x):
        if x[2] != self.channels:
            raise ShapeError(f"expected {self.channels} channels, got an input of {x}")
        return x

    def line(self, params):
        """Scale and shift in float64 that the layer comes to."""
        return functional.batch_norm_line(*(params[n] for n in self.parameters()), self.epsilon)

    def reference(self, params, x):
        return reference.batch_norm(x, *(params[n] for n in self.parameters()), self.epsilon)

    def lower(self, params, out, x):
        scale, shift = (v.astype("float32") for v in self.line(params))
        return elementwise.scale_shift(out, x, scale, shift)


@dataclass(frozen=True)
class Activation(Op):
    """An activation by name; ``slope`` is leaky_relu's."""

    name: str
    slope: float = 0.01

    def infer(self, x):
        return x

    def reference(self, params, x):
        return reference.activation(x, self.name, self.slope)

    def lower(self, params, out, x):
        return elementwise.activate(out, x, self.name, self.slope)


@dataclass(frozen=True)
class ClipCurve(Op):
    """``clip(scale * x + shift, low, high)``, times ``x`` if ``gate``.

    The activations that networks write with numbers of their own.
    """

    scale: float
    shift: float
    low: float
    high: float
    gate: bool = False

    def infer(self, x):
        return x

    def reference(self, params, x):
        y = np.clip(self.scale * np.float64(x) + self.shift, self.low, self.high)
        return x * y if self.gate else y

    def lower(self, params, out, x):
        numbers = np.array([self.scale, self.shift, self.low, self.high], np.float32)
        return elementwise.clip_line(out, x, GATE if self.gate else CLIP, numbers)


@dataclass(frozen=True)
class RoundSteps(Op):
    """Values as the nearest whole multiples of ``scale``, from ``low`` to ``high`` of them."""

    scale: float
    low: int
    high: int

    def infer(self, x):
        return x

    def reference(self, params, x):
        return reference_u8.round_steps(x, self.scale, self.low, self.high)

    def lower(self, params, out, x):
        return steps.round_steps(out, x, self.scale, self.low, self.high)


@dataclass(frozen=True)
class Add(Op):
    """Sum of two maps."""

    def infer(self, a, b):
        return alike("add", a, b)

    def reference(self, params, a, b):
        return a + b

    def lower(self, params, out, a, b):
        return elementwise.add(out, a, b)


@dataclass(frozen=True)
class Multiply(Op):
    """Product of two maps, element by element."""

    def infer(self, a, b):
        return alike("multiply", a, b)

    def reference(self, params, a, b):
        return a * b

    def lower(self, params, out, a, b):
        return elementwise.multiply(out, a, b)


@dataclass(frozen=True)
class Tanh(Op):
    """Hyperbolic tangent of each element."""

    def infer(self, x):
        return x

    def reference(self, params, x):
        return np.tanh(x)

    def lower(self, params, out, x):
        return elementwise.tanh_of(out, x)


@dataclass(frozen=True)
class ScaleChannels(Op):
    """A map times a (1, 1, C) map of factors: the excitation of squeeze-excite."""

    def infer(self, x, factors):
        if factors != (1, 1, x[2]):
            raise ShapeError(f"expected factors of (1, 1, {x[2]}), got {factors}")
        return x

    def reference(self, params, x, factors):
        return x * factors

    def lower(self, params, out, x, factors):
        return elementwise.scale_shift(out, x, factors.at())
