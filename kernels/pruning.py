"""The pruning of a graph of nearest neighbours: of many that are near, a few that lead everywhere.

Vectors are bytes with a step each, as in ``neighbours``.
"""

from typing import TYPE_CHECKING

import numpy as np

from . import _target
from ._jit import F32, S8, S32, kernel
from ._program import Call

if TYPE_CHECKING:
    from ._control import hidden
    from ._int import as_unsigned, dot, load_groups_s8, sum_lanes_s32, zeros_s32


@kernel("s8_prune_{GROUP}__v{LANES}", exact=True)
def s8_prune(
    out: S32,
    degree: int,
    fill: int,
    candidates: S32,
    width: int,
    first: int,
    count: int,
    start: int,
    rows: int,
    order: S32,
    distances: F32,
    vectors: S8,
    starts: S32,
    steps: F32,
    squares: F32,
    rests: F32,
    dim: int,
):
    """Of each row's candidates, nearest first, those that no chosen one is nearer to than the row.

    Rows ``first`` to ``first + count`` of ``candidates`` and of ``out``, of ``width`` and
    ``degree`` numbers, are those of vectors from ``start`` on; what is negative is none. Where
    fewer than ``fill`` are chosen, the nearest of the others follow. The square of a distance is
    ``squares[a] + squares[b] - 2 (a . b + rests[a] rests[b])``.
    """
    whole = dim - dim % (GROUP * LANES)
    none = hidden(-1)
    for place in range(first, first + count):
        row = start + place
        held = 0
        for i in range(place * width, place * width + width):
            id = candidates[i]
            if id >= 0 and id != row and id < rows:
                order[held] = id
                held += 1
        chosen = 0
        for j in range(-1, held):
            # The row itself comes first, to sort its candidates; what is chosen is at the front.
            id = row if j < 0 else order[j]
            last = held if j < 0 else chosen
            mine = 0.0 if j < 0 else distances[j]
            good = 1
            i = 0
            while i < last and good:
                other = order[i]
                reg_s[0] = zeros_s32(LANES)
                for d in range(0, whole, GROUP * LANES):
                    a = load_groups_s8(vectors, id * dim + d, LANES)
                    b = as_unsigned(load_groups_s8(vectors, other * dim + d, LANES))
                    reg_s[0] = dot(reg_s[0], b, a)
                total = starts[id] + sum_lanes_s32(reg_s[0])
                for d in range(whole, dim):
                    total += vectors[id * dim + d] * vectors[other * dim + d]
                product = total * steps[id] * steps[other] + rests[id] * rests[other]
                distance = squares[id] + squares[other] - 2 * product
                if j < 0:
                    at = i
                    while at > 0 and (
                        distances[at - 1] > distance
                        or (distances[at - 1] == distance and order[at - 1] > other)
                    ):
                        distances[at] = distances[at - 1]
                        order[at] = order[at - 1]
                        at -= 1
                    distances[at] = distance
                    order[at] = other
                elif distance <= mine:
                    good = 0
                i += 1
            if j >= 0 and good and chosen < degree:
                # Those passed over move up by one, so that all stay in order.
                for at in range(j, chosen, -1):
                    order[at] = order[at - 1]
                    distances[at] = distances[at - 1]
                order[chosen] = id
                distances[chosen] = mine
                chosen += 1
        at = 0
        for i in range(held):
            # A candidate that is there twice is passed over the second time.
            known = 0
            for j in range(at):
                if out[place * degree + j] == order[i]:
                    known = 1
            if (i < chosen or at < fill) and not known and at < degree:
                out[place * degree + at] = order[i]
                at += 1
        for i in range(at, degree):
            out[place * degree + i] = none


def prune_kernel():
    """The kernel of :func:`prune`."""
    return s8_prune(GROUP=_target.dot().group, LANES=_target.lanes())


def prune(out, fill, candidates, held, starts, squares, rests, first, count, start=0):
    """Calls for the pruning of some rows of a graph.

    Parameters
    ----------
    out : ndarray
        (N, degree) int32.
    fill : int
        How many neighbours are filled up to with those that were passed over.
    candidates : ndarray
        (N, width) int32; what is negative is none.
    held : neighbours.Bytes
        The N vectors.
    starts : ndarray
        Their ``neighbours.starts_of``.
    squares, rests : ndarray
        (N,) float32: of the vectors' lengths, and of one more value that each vector has.
    first, count : int
        Which rows of `out` and `candidates`.
    start : int
        The first of them is the row of this number.
    """
    width = candidates.shape[1]
    scratch = np.empty(width, np.int32), np.empty(width, np.float32)
    args = (out, out.shape[1], fill, candidates, width, first, count, start, len(starts), *scratch)
    args += (held.vectors, starts, held.steps, squares, rests, held.vectors.shape[1])
    return [Call(prune_kernel(), args)]
