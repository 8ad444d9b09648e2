"""Choose the tiles of matrix products by measuring them on this machine."""

from time import perf_counter
from typing import NamedTuple

import numpy as np

from .kernels import Map, Program, Window, conv, igemm, lanes
from .models import MobileNetConfig, mobilenetv3
from .ops import Conv2d

CANDIDATES = {
    16: [(7, 48), (7, 32), (14, 32), (7, 64), (12, 32), (6, 64), (9, 48)],
    8: [(4, 24), (6, 16), (5, 16), (7, 24), (7, 16), (12, 8), (4, 16)],
    4: [(6, 8), (4, 12), (7, 12), (7, 8), (6, 16), (8, 8), (4, 8)],
}
"""Rows and width of the main tile, for each lane count of the target; the shipped one is first."""


class Trial(NamedTuple):
    """A table of tiles, what it is called, and the seconds that all products took with it."""

    name: str
    table: dict
    seconds: float


def tune(seconds=1.0, progress=lambda name: None):
    """Measure candidate tiles over the 1x1 convolutions of MobileNetV3 and keep the fastest.

    Results of networks do not depend on the choice; plans that exist keep theirs.

    Parameters
    ----------
    seconds : float
        How long to measure each candidate.
    progress : callable
        Told each candidate's name.

    Returns
    -------
    list of Trial
        The fastest first: it is in use from now on. What ends it early leaves the tiles as they
        were.
    """
    trials = _measure(seconds, progress)
    best = trials[0].table
    igemm.keep_tiles(None if best == igemm.TILES[lanes()] else best)
    return trials


def _measure(seconds, progress):
    """Trials of all candidates, the fastest first."""
    problems = [_problem(*shape) for shape in _shapes()]
    tables = {f"{mr}x{nr}": _table(mr, nr) for mr, nr in CANDIDATES[lanes()]}
    programs = {}
    for name, table in tables.items():
        progress(name)
        with igemm.trying(table):
            programs[name] = Program([call for make in problems for call in make()])
    taken = {name: [] for name in tables}
    end = perf_counter() + seconds * len(tables)
    while perf_counter() < end:
        for name, program in programs.items():
            start = perf_counter()
            program.run()
            taken[name].append(perf_counter() - start)
    trials = [Trial(n, tables[n], float(np.median(taken[n]))) for n in tables]
    return sorted(trials, key=lambda trial: trial.seconds)


def _table(rows, width):
    """The shipped table with another main tile: narrower ones cover what it leaves."""
    shipped = igemm.TILES[lanes()]
    main, one_row = shipped.values()
    narrower = [(nr, vector) for nr, vector in main if nr < width]
    return {rows: [(width, lanes()), *narrower], 1: one_row}


def _shapes():
    """Pixels, input and output channels of the 1x1 convolutions with 49 pixels or more."""
    found = set()
    for variant in ("small", "large"):
        graph = mobilenetv3(MobileNetConfig(variant))
        shapes = graph.shapes((224, 224, 3))
        for node in graph.nodes:
            pixels = shapes[node.name][0] * shapes[node.name][1]
            if isinstance(node.op, Conv2d) and node.op.kernel == (1, 1) and pixels >= 49:
                found.add((pixels, node.op.in_channels, node.op.out_channels))
    return sorted(found)


def _problem(pixels, channels, outputs):
    """A function that gives the calls of one product, with the tiles of the day."""
    rng = np.random.default_rng(pixels + channels + outputs)
    x = rng.standard_normal((1, pixels, channels)).astype(np.float32)
    w = rng.standard_normal((outputs, channels, 1, 1)).astype(np.float32)
    out, bias = np.empty((1, pixels, outputs), np.float32), np.zeros(outputs, np.float32)
    maps = Map.of(out), Map.of(x)
    return lambda: conv.convolution(*maps, w, bias, Window((1, 1)))
