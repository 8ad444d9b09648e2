"""Products of integers with constant weights on the kernels: plans for each size of the input.

The kernels give sums of products as float32, exact up to 2 ** 24: longer sums are put together of
shorter ones.
"""

import threading

import numpy as np

from rvcnn.graph import INPUT, Graph, Node, Stored
from rvcnn.ops import Conv2d, Dequantize, QuantizedConv2d, SliceChannels
from rvcnn.plan import Plan

from .windows import Windows

EXACT = 2**24 // (255 * 128)
"""Products of bytes whose sum a float32 surely holds."""

KEPT = 8
"""Sizes of the input whose plans are kept."""


class IntegerWeights:
    """Weights of a convolution of bytes, as the kernels take them.

    Parameters
    ----------
    weights : (N, C / groups, KH, KW) int8 array
    """

    def __init__(self, weights):
        self.weights = weights
        self.totals = weights.sum((1, 2, 3), dtype=np.int64)
        self._plans = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, weights, zero):
        """Those of (N, C / groups, KH, KW) integers; None if they take more than a byte."""
        whole = weights.astype(np.int64)
        if zero is not None:
            whole = whole - zero.astype(np.int64).reshape(-1, 1, 1, 1)
        fits = whole.size and whole.min() >= -128 and whole.max() <= 127
        longest = whole[0, 0].size if whole.size else 0
        return cls(whole.astype(np.int8)) if fits and longest <= EXACT else None

    def sums(self, x, zero, w: Windows, groups=1):
        """Sums of products with bytes less their zero point.

        Parameters
        ----------
        x : (N, C, H, W) uint8 array
        zero : int
            Of `x`, which stands for zero round it.
        w : Windows
        groups : int

        Returns
        -------
        (N, M, H', W') int32 array
        """
        (top, left), (bottom, right) = w.begin, w.end
        height, width = x.shape[2] + top + bottom, x.shape[3] + left + right
        image = np.full((height, width, x.shape[1]), zero, np.uint8)
        plan = self._plan(image.shape, w, groups)
        out = np.empty((len(x), len(self.weights), *w.out), np.int32)
        for one, result in zip(x, out, strict=True):
            inside = image[top : height - bottom, left : width - right]
            inside[:] = one.transpose(1, 2, 0)
            first, *more = plan.run(image)
            total = first.astype(np.int32)
            for part in more:
                total += part.astype(np.int32)
            total -= np.int32(zero) * self.totals.astype(np.int32)
            result[:] = total.transpose(2, 0, 1)
        return out

    def _plan(self, shape, w, groups):
        key = shape, w.kernel, w.strides, w.dilations, groups
        with self._lock:
            plan = self._plans.pop(key, None) or Plan(self._graph(shape[2], w, groups), shape, ())
            self._plans[key] = plan
            while len(self._plans) > KEPT:
                del self._plans[next(iter(self._plans))]
        return plan

    def _graph(self, channels, w, groups):
        """A graph whose outputs are parts of the sums."""
        whole = {"in_scale": np.ones(1), "in_zero": np.zeros(1)}
        outputs, nodes = len(self.weights), []
        none, ones = np.zeros(outputs), np.ones(outputs, np.float32)
        window = (w.kernel, w.strides, ((0, 0), (0, 0)), w.dilations, groups)
        if groups > 1:
            params = {"weight": self.weights.astype(np.float32)}
            nodes = [
                Node("real", Dequantize(), (INPUT,), whole),
                Node("part 0", Conv2d(channels, outputs, *window), ("real",), params),
            ]
        else:
            step = max(1, EXACT // self.weights[0, 0].size)
            for start in range(0, channels, step):
                stop = min(start + step, channels)
                params = {"weight": self.weights[:, start:stop], "weight_scale": ones, "bias": none}
                op = QuantizedConv2d(Conv2d(stop - start, outputs, *window, True))
                view = Node(f"slice {start}", SliceChannels(start, stop), (INPUT,))
                nodes += [view, Node(f"part {start}", op, (view.name,), {**params, **whole})]
        parts = tuple(node.name for node in nodes if node.name.startswith("part"))
        return Graph(tuple(nodes), parts, {INPUT: Stored(1.0, 0.0)})
