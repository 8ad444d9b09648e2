"""All pairs of vectors whose cosine reaches a threshold: those of brute force, in bounded memory.

Blocks of vectors meet as bytes, and the kernel names the pairs whose cosine may reach the
threshold: for ``x = c h + e`` and ``x' = c' h' + e'`` with bytes h, ``x.x' - c c' h.h'`` is
``e.x' + (x - e).e'``, which is at most ``|e| |x'| + (|x| + |e|) |e'|``. Of these few the cosine is
computed from the float32 values in float64.

A cosine counts as rounded to six decimals, as everywhere in rvcnn: so a picture reaches a threshold
of 1 with itself, whatever float32 makes of its length, and no pair's place depends on the order of
a sum.
"""

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from rvcnn.dedup.vectors import Coarse, Vectors
from rvcnn.errors import RvcnnError, UsageError
from rvcnn.team import team_of
from rvcnn.threads import available_cpus

DECIMALS = 6
MOST_PAIRS = 20_000_000
"""Pairs that are held: 12 bytes each, and as much again while they are put in order."""

LONGEST = 1 << 16
"""Most values of vectors: products of their bytes add up to less than 32 bits hold."""

_BLOCK = 1024  # vectors: of 512 values, two blocks fit the second cache
_EPS = 2.0**-24
_CHUNK = 1 << 11  # pairs whose vectors are held at once by a thread


class Pairs(NamedTuple):
    """P pairs of vectors, ordered by their numbers.

    Attributes
    ----------
    first, second
        (P,) int32 numbers of vectors.
    scores
        (P,) float32: the cosines to six decimals.
    """

    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray


NO_PAIRS = Pairs(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))


def pairs_within(
    vectors: Vectors,
    threshold: float,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pairs:
    """Find all pairs ``first < second`` of vectors whose cosine is at least `threshold`.

    Parameters
    ----------
    vectors
        Unit vectors.
    threshold
        -1 to 1.
    workers
        Threads; 0 for as many as this process may use.
    progress
        Told how many blocks of pairs of how many were looked at, from any thread.

    Raises
    ------
    RvcnnError
        There are more than `MOST_PAIRS`.
    """
    coarse = vectors.coarse()
    return _Scan(vectors, coarse, vectors, coarse, threshold, True).run(workers, progress)


def pairs_between(
    vectors: Vectors,
    others: Vectors,
    threshold: float,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pairs:
    """Find all pairs of one of `vectors` with one of `others`, as `pairs_within`."""
    scan = _Scan(vectors, vectors.coarse(), others, others.coarse(), threshold, False)
    return scan.run(workers, progress)


class _Scan:
    """One search for pairs: blocks of rows against blocks of columns."""

    def __init__(
        self,
        rows: Vectors,
        coarse_rows: Coarse,
        columns: Vectors,
        coarse_columns: Coarse,
        threshold: float,
        triangle: bool,
    ):
        if not -1 <= threshold <= 1:
            raise UsageError(f"a threshold is a cosine, from -1 to 1, not {threshold!r}")
        if coarse_columns.high.shape[1] > LONGEST:
            raise UsageError(f"vectors of more than {LONGEST:,} values are not compared")
        self._rows, self._coarse_rows = rows, coarse_rows
        self._columns, self._coarse_columns = columns, coarse_columns
        self._threshold = threshold
        self._triangle = triangle
        self._longest = max(coarse_columns.length.max(initial=0), coarse_rows.length.max(initial=0))
        self._loosest = max(coarse_columns.rest.max(initial=0), coarse_rows.rest.max(initial=0))
        self._found: list[Pairs] = []
        self._count = 0
        self._done = 0
        self._change = threading.Lock()

    def run(self, workers: int, progress: Callable[[int, int], None]) -> Pairs:
        """Compare all blocks."""
        blocks = -(-len(self._columns) // _BLOCK)
        total = sum(self._rows_before(i) for i in range(blocks))

        def column(i):
            # The longest columns of a triangle first, so that no thread is left with one at last.
            block = blocks - 1 - i
            self._column(block)
            with self._change:
                self._done += self._rows_before(block)
                progress(self._done, total)

        team_of(workers or available_cpus()).each(column, blocks)
        return self._ordered()

    def _rows_before(self, block: int) -> int:
        """Return how many blocks of rows a block of columns is compared with."""
        return block + 1 if self._triangle else -(-len(self._rows) // _BLOCK)

    def _column(self, block: int) -> None:
        """Compare a block of columns with its blocks of rows."""
        from rvcnn.kernels import near_pairs

        start = block * _BLOCK
        part = self._coarse_columns.part(slice(start, start + _BLOCK))
        slack = (self._longest + self._loosest) * part.rest
        packed = near_pairs.pack(part.high, part.scale, slack)
        out = np.empty(1 + 2 * _BLOCK * _BLOCK, np.int32)
        for i in range(self._rows_before(block)):
            first, second = self._candidates(i * _BLOCK, packed, out)
            second = second + start
            if self._triangle:
                first, second = first[first < second], second[first < second]
            for at in range(0, len(first), _CHUNK):
                self._check(first[at : at + _CHUNK], second[at : at + _CHUNK])

    def _candidates(self, start: int, packed, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of rows, and the columns in their block, that may be pairs."""
        from rvcnn.kernels import near_pairs, run

        part = self._coarse_rows.part(slice(start, start + _BLOCK))
        least = self._threshold - 10.0**-DECIMALS
        largest = (self._longest + self._loosest) ** 2 + 1
        # Eight roundings to float32 at most, of values that are no larger.
        limit = least - part.rest * self._longest - 8 * _EPS * largest
        run(near_pairs.near_pairs(out, part.high, part.scale, limit, packed))
        pairs = out[1 : 1 + 2 * int(out[0])].reshape(-1, 2).astype(np.int64)
        return pairs[:, 0] + start, pairs[:, 1]

    def _check(self, first: np.ndarray, second: np.ndarray) -> None:
        """Keep those of some candidates that reach the threshold."""
        a, b = self._rows.fetch(first), self._columns.fetch(second)
        scores = np.einsum("ij,ij->i", a, b, dtype=np.float64)
        scores = np.round(scores, DECIMALS) + 0.0  # no -0.0
        near = scores >= self._threshold
        if near.any():
            kept = Pairs(
                first[near].astype(np.int32),
                second[near].astype(np.int32),
                scores[near].astype(np.float32),
            )
            with self._change:
                self._found.append(kept)
                self._count += int(near.sum())
                if self._count > MOST_PAIRS:
                    raise RvcnnError(
                        f"more than {MOST_PAIRS:,} pairs have a cosine of at least "
                        f"{self._threshold:g}: raise the threshold"
                    )

    def _ordered(self) -> Pairs:
        found = Pairs(*map(np.concatenate, zip(NO_PAIRS, *self._found, strict=True)))
        self._found.clear()
        order = np.lexsort((found.second, found.first))
        return Pairs(*(values[order] for values in found))
