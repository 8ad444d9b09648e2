"""Place buffers of known lifetimes in one block of memory."""

from typing import NamedTuple

ALIGNMENT = 64
"""Bytes: a cache line."""


class Lifetime(NamedTuple):
    """A buffer's size in bytes, and the first and last step that touch it."""

    size: int
    first: int
    last: int


def arrange(lifetimes):
    """Offsets at which no two buffers that live at the same step overlap, and the total size.

    The largest buffers are placed first, each in the smallest gap that holds it (greedy by size,
    after Pisarchyk and Lee, 2020).

    Parameters
    ----------
    lifetimes : mapping of hashable to Lifetime

    Returns
    -------
    offsets : dict of hashable to int
    total : int
    """
    offsets, placed, total = {}, [], 0
    for key in sorted(lifetimes, key=lambda k: (-lifetimes[k].size, lifetimes[k].first)):
        mine = lifetimes[key]
        size = -(-mine.size // ALIGNMENT) * ALIGNMENT
        neighbours = sorted(
            (start, end)
            for start, end, other in placed
            if other.first <= mine.last and mine.first <= other.last
        )
        best, best_gap, free = None, None, 0
        for start, end in neighbours:
            gap = start - free
            if gap >= size and (best is None or gap < best_gap):
                best, best_gap = free, gap
            free = max(free, end)
        offset = free if best is None else best
        offsets[key] = offset
        placed.append((offset, offset + size, mine))
        total = max(total, offset + size)
    return offsets, total
