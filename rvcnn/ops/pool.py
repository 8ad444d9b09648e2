"""Pooling and normalisation of what it leaves."""

from dataclasses import dataclass

from rvcnn.errors import ShapeError
from rvcnn.kernels import pool, reference, vector

from .base import Op


@dataclass(frozen=True)
class GlobalAvgPool(Op):
    """Mean of each channel: (H, W, C) to (1, 1, C)."""

    def infer(self, x):
        return (1, 1, x[2])

    def reference(self, params, x):
        return reference.global_avg_pool(x).reshape(1, 1, -1)

    def lower(self, params, out, x):
        return pool.global_avg_pool(out, x)


@dataclass(frozen=True)
class L2Normalize(Op):
    """A (1, 1, C) map scaled to unit length."""

    def infer(self, x):
        if x[:2] != (1, 1):
            raise ShapeError(f"expected a vector (1, 1, C), got {x}")
        return x

    def reference(self, params, x):
        return reference.l2_normalize(x.reshape(-1)).reshape(1, 1, -1)

    def lower(self, params, out, x):
        return vector.l2_normalize(out.at(), x.at(), x.channels)
