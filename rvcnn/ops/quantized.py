"""Operators on maps of bytes: exact integer sums, then float32 rounded operation by operation.

What a map of bytes means is among an operator's parameters: ``in_scale`` and ``in_zero``, and
``out_scale`` and ``out_zero`` where it stores bytes, (1,) or one a channel.
"""

from dataclasses import dataclass

import numpy as np

from rvcnn.kernels import Store, conv, elementwise_u8
from rvcnn.kernels import reference_u8 as reference

from .base import Op, Shape
from .conv import Conv2d

READS = ("in_scale", "in_zero")
STORES = ("out_scale", "out_zero")


def _pair(params, names):
    return tuple(np.asarray(params[name], np.float64) for name in names)


@dataclass(frozen=True)
class QuantizedConv2d(Op):
    """A convolution of bytes by int8 weights.

    Parameters of a node: ``weight`` int8 and ``weight_scale``, a factor an output channel;
    ``bias``; and what its maps mean. It stores bytes where it has ``out_scale``, else float32, to
    which a second input is added if ``conv.residual``. Where each channel of the input has a scale
    of its own and is read by every output channel, the weights are already times that scale.

    Attributes
    ----------
    conv : Conv2d
        Its activation is one of ``FUSED_U8``.
    """

    conv: Conv2d

    def border(self, shape: Shape):
        return self.conv.border(shape)

    def infer(self, *inputs):
        return self.conv.infer(*inputs)

    def store(self, params):
        """How its sums are stored."""
        weight, (scale, zero) = params["weight"], _pair(params, READS)
        if self.conv.groups == 1:
            zero = zero.reshape(1, -1, 1, 1)
            scale = scale if scale.size == 1 else 1.0
        out = _pair(params, STORES) if "out_scale" in params else None
        return Store.of(
            weight, params["weight_scale"], params["bias"], scale, zero, out, self.conv.activation
        )

    def reference(self, params, x, *residual):
        window = self.conv.window(x.shape)
        return reference.quantized_conv2d(
            x,
            params["weight"].transpose(0, 2, 3, 1),
            self.store(params),
            np.broadcast_to(np.rint(params["in_zero"]), x.shape[2]),
            window.stride,
            window.padding,
            window.dilation,
            self.conv.groups,
            *residual,
        )

    def lower(self, params, out, x, *residual):
        window = self.conv.window((x.height, x.width, x.channels))
        return conv.quantized_convolution(
            out, x, params["weight"], self.store(params), window, self.conv.groups, *residual
        )


@dataclass(frozen=True)
class Quantize(Op):
    """Real values as bytes."""

    def infer(self, x):
        return x

    def reference(self, params, x):
        return reference.quantize(x, *_pair(params, STORES))

    def lower(self, params, out, x):
        return elementwise_u8.quantize(out, x, *_pair(params, STORES))


@dataclass(frozen=True)
class Dequantize(Op):
    """Bytes as real values."""

    def infer(self, x):
        return x

    def reference(self, params, x):
        return reference.dequantize(x, *_pair(params, READS))

    def lower(self, params, out, x):
        return elementwise_u8.dequantize(out, x, *_pair(params, READS))


@dataclass(frozen=True)
class QuantizedGlobalAvgPool(Op):
    """Real mean of each channel of bytes: (H, W, C) to (1, 1, C)."""

    def infer(self, x):
        return (1, 1, x[2])

    def reference(self, params, x):
        return reference.quantized_global_avg_pool(x, *_pair(params, READS)).reshape(1, 1, -1)

    def lower(self, params, out, x):
        return elementwise_u8.global_avg_pool(out, x, *_pair(params, READS))


@dataclass(frozen=True)
class QuantizedScaleChannels(Op):
    """Bytes times a (1, 1, C) map of real factors, as bytes."""

    def infer(self, x, factors):
        return x

    def reference(self, params, x, factors):
        return reference.quantized_scale(x, factors, _pair(params, READS), _pair(params, STORES))

    def lower(self, params, out, x, factors):
        return elementwise_u8.scale(
            out, x, factors.at(), _pair(params, READS), _pair(params, STORES)
        )
