"""Operators from maps of bytes to maps of bytes that multiply by no weights."""

from dataclasses import dataclass

import numpy as np

from rvcnn.kernels import lookup_u8, pool_u8, sum_u8
from rvcnn.kernels import reference_u8 as reference
from rvcnn.kernels.requantise import BOUNDS

from .base import Op, alike
from .channels import places, shape_of_all
from .pool import MaxPool


@dataclass(frozen=True)
class Lookup(Op):
    """A function of each byte: ``table``, (256,) of uint8 or float32."""

    def infer(self, x):
        return x

    def reference(self, params, x):
        return params["table"][x]

    def lower(self, params, out, x):
        return lookup_u8.lookup(out, x, params["table"])


@dataclass(frozen=True)
class QuantizedMaxPool(MaxPool):
    """Maximum over windows of bytes."""

    def reference(self, params, x):
        window = self.window(x.shape)
        return reference.quantized_max_pool(x, window.kernel, window.stride, window.padding)

    def lower(self, params, out, x):
        return pool_u8.max_pool(out, x, self.window((x.height, x.width, x.channels)))


@dataclass(frozen=True)
class QuantizedAdd(Op):
    """Sum of two maps of bytes.

    Parameters of a node: ``in_scale`` and ``in_zero``, a number for each of the two, ``out_scale``
    and ``out_zero``, (1,).

    Attributes
    ----------
    activation : str
        "identity", "relu" or "relu6".
    """

    activation: str = "identity"

    def infer(self, a, b):
        return alike("add", a, b)

    def _arguments(self, params):
        pairs = [tuple(zip(params["in_scale"], params["in_zero"], strict=True))]
        (out,) = zip(params["out_scale"], params["out_zero"], strict=True)
        return (*pairs[0], out, BOUNDS[self.activation])

    def reference(self, params, a, b):
        return reference.quantized_add(a, b, *self._arguments(params))

    def lower(self, params, out, a, b):
        return sum_u8.add(out, a, b, *self._arguments(params))


@dataclass(frozen=True)
class QuantizedConcat(Op):
    """The channels of several maps of bytes one after another, each through a table.

    Parameters of a node: ``tables``, (maps, 256) uint8.

    Attributes
    ----------
    channels : tuple of int
        Of each map.
    """

    channels: tuple[int, ...]

    def infer(self, *inputs):
        return shape_of_all(self.channels, inputs)

    def reference(self, params, *inputs):
        pairs = zip(params["tables"], inputs, strict=True)
        return np.concatenate([table[x] for table, x in pairs], axis=2)

    def lower(self, params, out, *inputs):
        pairs = zip(params["tables"], places(out, inputs), strict=True)
        return [call for table, maps in pairs for call in lookup_u8.lookup(*maps, table)]
