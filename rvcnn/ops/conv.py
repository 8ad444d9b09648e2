"""Convolution, with what can be fused into it."""

from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import Window, conv, reference

from .base import NO_BORDER, Op, Shape, Sides, same_sides


@dataclass(frozen=True)
class Conv2d(Op):
    """``activation(x (*) weight + bias)``, plus a second input if ``residual``.

    Attributes
    ----------
    in_channels, out_channels : int
    kernel, stride, dilation : tuple of int
        Rows, columns.
    padding : tuple of tuple, or "same"
        ((above, below), (left, right)). "same" is TensorFlow's rule: the output has
        ``ceil(size / stride)`` pixels and the odd pixel of padding is below and right.
    groups : int
    bias : bool
    activation : str
        Identity until a pass fuses one.
    residual : bool
    slope : float
        leaky_relu's.
    sum_first : bool
        Whether the second input is added before the activation.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: Sides | str = ((0, 0), (0, 0))
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    activation: str = "identity"
    residual: bool = False
    slope: float = 0.01
    sum_first: bool = False

    @property
    def is_bare(self):
        """Whether nothing is fused into it, so that what follows can be."""
        return self.activation == "identity" and not self.residual

    def parameters(self):
        weight = (self.out_channels, self.in_channels // self.groups, *self.kernel)
        return {"weight": weight} | ({"bias": (self.out_channels,)} if self.bias else {})

    def border(self, shape: Shape) -> Sides:
        if self.padding != "same":
            return self.padding
        return same_sides(shape, self.kernel, self.stride, self.dilation)

    def window(self, shape: Shape) -> Window:
        """The window over an input of this shape."""
        return Window(self.kernel, self.stride, self.border(shape), self.dilation)

    def infer(self, x, *residual):
        if x[2] != self.in_channels:
            raise ShapeError(f"expected {self.in_channels} channels, got an input of {x}")
        size = self.window(x).out_size(*x[:2])
        if min(size) < 1:
            raise ShapeError(f"an input of {x[0]} x {x[1]} is too small for {self.kernel}")
        out = (*size, self.out_channels)
        if residual and residual[0] != out:
            raise ShapeError(f"a residual of {residual[0]} does not fit an output of {out}")
        return out

    def scratch(self, x, *residual):
        window = self.window(x)
        weight = self.parameters()["weight"]
        return conv.scratch_size(window.out_size(*x[:2]), weight, window, self.groups)

    def reference(self, params, x, *residual):
        window = self.window(x.shape)
        return reference.conv2d(
            x,
            params["weight"].transpose(0, 2, 3, 1),
            params.get("bias"),
            window.stride,
            window.padding,
            window.dilation,
            self.groups,
            self.activation,
            residual[0] if residual else None,
            self.slope,
            self.sum_first,
        )

    def lower(self, params, out, x, residual=None, scratch=None):
        return conv.convolution(
            out,
            x,
            params["weight"],
            params.get("bias", np.zeros(self.out_channels, np.float32)),
            self.window((x.height, x.width, x.channels)),
            self.groups,
            self.activation,
            residual,
            self.slope,
            scratch,
            self.sum_first,
        )


@dataclass(frozen=True)
class InterleavedConv2d(Op):
    """The channels of a second input, and by turns with them a pointwise convolution's results.

    Attributes
    ----------
    conv : Conv2d
        One that :meth:`takes`.
    """

    conv: Conv2d

    @staticmethod
    def takes(conv: Conv2d):
        """Whether a convolution is 1x1, dense, and of one input."""
        pointwise = conv.kernel == conv.stride == (1, 1) and conv.padding == NO_BORDER
        return pointwise and conv.groups == 1 and not conv.residual

    def parameters(self):
        return self.conv.parameters()

    def infer(self, x, even):
        out = self.conv.infer(x)
        if even != out:
            raise ShapeError(f"cannot interleave maps of {even} and {out}")
        return (*out[:2], 2 * out[2])

    def reference(self, params, x, even):
        return reference.interleave(even, self.conv.reference(params, x))

    def lower(self, params, out, x, even):
        weight = params["weight"][:, :, 0, 0]
        bias = params.get("bias", np.zeros(len(weight), np.float32))
        activation, slope = self.conv.activation, self.conv.slope
        return conv.interleaved(out, even, x, weight, bias, activation, slope)


@dataclass(frozen=True)
class Linear(Op):
    """``activation(x @ weight.T + bias)`` on a (1, 1, C) map."""

    in_features: int
    out_features: int
    activation: str = "identity"
    slope: float = 0.01

    @property
    def is_bare(self):
        """Whether nothing is fused into it, so that what follows can be."""
        return self.activation == "identity"

    def parameters(self):
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}

    def infer(self, x):
        if x != (1, 1, self.in_features):
            raise ShapeError(f"expected (1, 1, {self.in_features}), got {x}")
        return (1, 1, self.out_features)

    def reference(self, params, x):
        y = reference.linear(x.reshape(1, -1), params["weight"], params["bias"])
        return reference.activation(y.reshape(1, 1, -1), self.activation, self.slope)

    def lower(self, params, out, x):
        weight = params["weight"][:, :, None, None]
        window = Window((1, 1))
        return conv.convolution(
            out, x, weight, params["bias"], window, 1, self.activation, slope=self.slope
        )
