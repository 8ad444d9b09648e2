"""A way to compute a row of the seed's table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Way(NamedTuple):
    """What is timed, and how its result is read.

    Attributes
    ----------
    run : callable
    read : callable
        From what ``run`` gives to an array as the other ways have it.
    """

    run: Callable[[], Any]
    read: Callable[[Any], np.ndarray] = np.asarray


class Row(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    title : str
    work : float
        Operations of one run: multiplications and additions, or what else is done to values.
    bytes : int
        That must be read and written at least.
    rate_unit : str
        "GFLOP/s", "GOP/s" (of bytes) or "GB/s".
    tolerance : float
        Largest difference of two ways: relative to the largest value for floats, else in steps.
    ways : dict of str to Way
        "rvcnn", "loops", and others; names that begin with "pytorch" are forms of one.
    on_bytes : bool
        Whether its operations are products of bytes.
    data : tuple of ndarray
        What another row computes from the same.
    """

    title: str
    work: float
    bytes: int
    rate_unit: str
    tolerance: float
    ways: dict[str, Way]
    on_bytes: bool = False
    data: tuple = ()

    def unit(self, want: np.ndarray) -> float:
        """What ``tolerance`` is a multiple of, for the right output."""
        return 1.0 if self.tolerance >= 1 or self.tolerance == 0 else np.abs(want).max()
