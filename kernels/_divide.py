"""Divide a kernel call among threads: the same results, bit for bit, from several smaller calls."""

from collections.abc import Callable
from typing import NamedTuple

from ._program import At, Call

SMALLEST = 150_000
"""Lane operations below which a call is not divided: about 2 microseconds."""


class Axis(NamedTuple):
    """A loop of a kernel whose iterations are independent.

    Attributes
    ----------
    count : str
        The parameter that holds the number of iterations.
    quantum : str
        The constant it must stay a multiple of, or "" for any number.
    shift : callable
        For the call's values and a first iteration, what to add to which parameters.
    """

    count: str
    quantum: str
    shift: Callable


def divide(call, parts):
    """Calls that together do what ``call`` does, at most ``parts`` of them."""
    kernel = call.kernel
    values = dict(zip(kernel.parameters, call.args, strict=True)) | kernel.constants
    parts = min(parts, kernel.family.work(values) // SMALLEST)
    if parts < 2 or not kernel.family.axes:
        return [call]
    axis, steps = max(
        ((a, values[a.count] // values.get(a.quantum, 1)) for a in kernel.family.axes),
        key=lambda pair: min(pair[1], 4 * parts),
    )
    quantum = values.get(axis.quantum, 1)
    edges = [round(steps * i / parts) * quantum for i in range(parts + 1)]
    return [
        _part(call, values, axis, begin, end - begin)
        for begin, end in zip(edges, edges[1:], strict=False)
        if begin < end
    ]


def _part(call, values, axis, begin, count):
    changed = {
        name: _moved(values[name], amount) for name, amount in axis.shift(values, begin).items()
    }
    args = values | changed | {axis.count: count}
    return Call(call.kernel, tuple(args[name] for name in call.kernel.parameters))


def _moved(value, amount):
    if value is None or isinstance(value, int):
        return value if value is None else value + amount
    place = value if isinstance(value, At) else At(value)
    return At(place.buffer, place.offset + amount)
