"""Divide a kernel call among threads: the same results, bit for bit, from several smaller calls."""

from collections.abc import Callable
from typing import NamedTuple

from ._program import At, Call

PIECES = 2
"""Pieces of a call for each thread."""

MANY_ROWS = 12
"""Steps down the rows of a map from which they are cut before its channels are."""

SMALLEST = 75_000
"""Lane operations of the smallest piece: about a microsecond."""


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


def _values(call):
    """Arguments and constants of a call by name."""
    return dict(zip(call.kernel.parameters, call.args, strict=True)) | call.kernel.constants


def divide(call, threads):
    """Calls that together do what ``call`` does: a few for each thread, if it is large enough.

    More than one for each lets a thread that came late, or was held up, take fewer.
    """
    family = call.kernel.family
    wanted = min(PIECES * threads, family.work(_values(call)) // SMALLEST)
    pieces = [call]
    for axis in sorted(family.axes, key=lambda axis: _rank(call, axis), reverse=True):
        each = -(-wanted // len(pieces))
        if each > 1:
            pieces = [part for piece in pieces for part in _evenly(piece, axis, each)]
    return pieces


def _rank(call, axis):
    """Rows first where there are many: what one thread writes, it then reads again."""
    steps = _steps(call, axis)
    return (axis.count == "rows" and steps >= MANY_ROWS, steps)


def _steps(call, axis):
    """Pieces that an axis could be cut into."""
    values = _values(call)
    return values[axis.count] // values.get(axis.quantum, 1)


def _evenly(call, axis, parts):
    steps, quantum = _steps(call, axis), _values(call).get(axis.quantum, 1)
    edges = [round(steps * i / parts) * quantum for i in range(1, parts)]
    return [piece for piece in cut(call, axis, edges) if piece]


def cut(call, axis, edges):
    """Cut a call at some iterations of an axis, rounded up to what its quantum allows.

    Returns
    -------
    list of Call or None
        One for each stretch between edges; None where it is empty.
    """
    values = _values(call)
    quantum, count = values.get(axis.quantum, 1), values[axis.count]
    edges = [0, *(min(-(-e // quantum) * quantum, count) for e in edges), count]
    return [
        _part(call, values, axis, begin, end - begin) if begin < end else None
        for begin, end in zip(edges, edges[1:], strict=False)
    ]


def rows_axis(call):
    """The axis along which a call goes down the rows of a map, or None."""
    return next((a for a in call.kernel.family.axes if a.count == "rows"), None)


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
