"""Run a dense convolution and what goes over windows of its result by bands of rows.

Between the two lies a network's largest map. Band by band, its rows are read while they are still
in the cache. Every value is computed as before, so results do not change.
"""

import math

from .kernels import BARRIER, cut, rows_axis
from .kernels.conv import is_depthwise
from .kernels.dwconv import is_written_out
from .ops import Conv2d, MaxPool

LARGE = 200_000
"""Bytes of the map between from which bands pay."""

BAND = 200_000
"""Bytes of a band: it stays in a core's second-level cache beside what is read and written."""


def banded(steps, shapes):
    """Calls of a plan's steps in an order for one thread, by bands where that pays.

    Parameters
    ----------
    steps : sequence of Step
    shapes : mapping of str to tuple of int
        Shape of every node's map.
    """
    calls, steps = [], list(steps)
    while steps:
        first = steps.pop(0)
        if steps and BARRIER not in first.calls and pays(first.node, steps[0].node, shapes):
            calls += _interleaved(first, steps.pop(0), shapes)
        else:
            calls += first.calls
    return calls


def pays(dense, reader, shapes):
    """Whether two neighbours run by bands; what the first reads must then outlive the second."""
    return (
        dense is not None
        and isinstance(dense.op, Conv2d)
        and dense.op.groups == 1
        and reader.inputs == (dense.name,)
        and _is_banded(reader, shapes[dense.name])
        and 4 * math.prod(shapes[dense.name]) >= LARGE
    )


def _is_banded(node, shape):
    """Whether a node's kernels go down the rows of a map of this shape: pooling, or depthwise."""
    if isinstance(node.op, Conv2d):
        written_out = is_written_out(node.op.window(shape))
        return written_out and is_depthwise(node.params["weight"], node.op.groups)
    return isinstance(node.op, MaxPool)


def _interleaved(first, second, shapes):
    shape = height, width, _ = shapes[first.node.name]
    window = second.node.op.window(shape)
    out_rows = shapes[second.node.name][0]
    bands = min(-(-4 * math.prod(shape) // BAND), out_rows)
    out_edges = [round(out_rows * i / bands) for i in range(1, bands)]
    reach = window.kernel[0] - window.padding[0][0]
    in_edges = [(edge - 1) * window.stride[0] + reach for edge in out_edges]
    in_edges = [max(0, min(edge, height)) for edge in in_edges]
    calls, firsts = _cut_all(first.calls, [edge * width for edge in in_edges])
    others, seconds = _cut_all(second.calls, out_edges)
    for one, other in zip(firsts, seconds, strict=True):
        calls += [call for call in one + other if call]
    return calls + others


def _cut_all(calls, edges):
    """Calls that do not go down all rows (borders, an odd last tile), and the others' pieces."""
    whole, bands = [], [[] for _ in range(len(edges) + 1)]
    for call in calls:
        axis = rows_axis(call)
        pieces = cut(call, axis, edges) if axis else []
        if pieces and pieces[-1]:
            for band, piece in zip(bands, pieces, strict=True):
                band.append(piece)
        else:
            whole.append(call)
    return whole, bands
