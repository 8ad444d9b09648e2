"""Layers of transformers: each pixel of a map is a token, each row a sequence."""

import math
from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import attend, reference, standardise

from .base import Op


@dataclass(frozen=True)
class LayerNorm(Op):
    """Mean 0 and variance 1 over each pixel's channels, then a line."""

    channels: int
    epsilon: float

    def parameters(self):
        return {"weight": (self.channels,), "bias": (self.channels,)}

    def infer(self, x):
        if x[2] != self.channels:
            raise ShapeError(f"expected {self.channels} channels, got an input of {x}")
        return x

    def reference(self, params, x):
        return reference.layer_norm(x, params["weight"], params["bias"], self.epsilon)

    def lower(self, params, out, x):
        vectors = (np.ascontiguousarray(params[n], np.float32) for n in self.parameters())
        return standardise.layer_norm(out, x, *vectors, self.epsilon)


@dataclass(frozen=True)
class Attention(Op):
    """``softmax(scale * q @ k.T + bias) @ v`` of each row and head.

    Its inputs are the queries (G, T, heads * size), the keys (G, S, heads * size) and the values
    (G, S, heads * width).

    Attributes
    ----------
    heads : int
    scale : float
    bias : tuple of int
        Shape (G or 1, heads, T, S) of what is added to the scores, or none.
    """

    heads: int
    scale: float
    bias: tuple[int, ...] = ()

    def parameters(self):
        return {"bias": (math.prod(self.bias),)} if self.bias else {}

    def infer(self, q, k, v):
        fits = q[0] == k[0] and k[:2] == v[:2] and q[2] == k[2]
        if self.heads < 1 or not fits or q[2] % self.heads or v[2] % self.heads:
            raise ShapeError(f"{self.heads} heads of {q}, {k} and {v} do not fit")
        wanted = (self.heads, q[1], k[1])
        if self.bias and (self.bias[0] not in (1, q[0]) or self.bias[1:] != wanted):
            raise ShapeError(f"a bias of {self.bias} does not fit {wanted}")
        return (*q[:2], v[2])

    def scratch(self, q, k, v):
        return attend.scratch_size(q[0], q[1], k[1], self.heads, q[2] // self.heads)

    def _bias(self, params):
        if not self.bias:
            return None
        return np.ascontiguousarray(params["bias"], np.float32).reshape(self.bias)

    def reference(self, params, q, k, v):
        return reference.attention(q, k, v, self.heads, self.scale, self._bias(params))

    def lower(self, params, out, q, k, v, scratch):
        return attend.attention(out, q, k, v, self.heads, self.scale, scratch, self._bias(params))
