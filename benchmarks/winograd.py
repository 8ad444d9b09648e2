"""Winograd's 3x3 convolutions of stride 1 against the direct one, over maps and channels.

Every algorithm computes the same layer: the results must agree before anything is timed. They are
timed alternately, in random order, on one thread; `warm` runs follow one another, `cold` ones come
after something else went through the caches, as the rest of a network does. The algorithm that
`rvcnn.kernels` chooses for the shape is marked.

    python benchmarks/winograd.py
    python benchmarks/winograd.py --maps 56 --channels 64 --outputs 128
    RVCNN_LANES=8 NUMBA_CPU_NAME=haswell python benchmarks/winograd.py
"""

from __future__ import annotations

import random
from time import perf_counter
from typing import NamedTuple

import common
import numpy as np

from rvcnn.kernels import (
    At,
    Map,
    Program,
    Window,
    WinogradFilterCache,
    conv,
    lanes,
    target,
    winograd,
)
from rvcnn.kernels.activation import applied
from rvcnn.peak import timed

WINDOW = Window((3, 3), padding=((1, 1), (1, 1)))
ALGORITHMS = {"direct": None, "F(2x2)": 2, "F(4x4)": 4}
AGREE = 1e-5
"""Of the largest output."""
LARGEST = 8e9
"""Operations of a direct convolution that is still measured."""
ELSEWHERE = np.ones(1 << 24, np.float32)
"""64 MB: larger than a cache."""


class Layer(NamedTuple):
    """A convolution of a size x size map with padding 1."""

    size: int
    channels: int
    outputs: int

    @property
    def title(self) -> str:
        """The shape in words."""
        return f"{self.size}x{self.size}x{self.channels} to {self.outputs}"

    @property
    def flops(self) -> int:
        """Operations of the direct convolution."""
        return 18 * self.size**2 * self.channels * self.outputs

    @property
    def tile(self) -> int | None:
        """Side of the tiles that are chosen for it."""
        return 4 if winograd.pays(self.size, *self) else None


def programs(layer: Layer) -> dict[str, Program]:
    """Each algorithm on the same data; they must agree."""
    size, channels, outputs = layer
    rng = np.random.default_rng(size + channels + outputs)
    x = np.pad(rng.standard_normal((size, size, channels)), ((1, 1), (1, 1), (0, 0)))
    first = Map.of(x.astype(np.float32))._replace(height=size, width=size)
    inner = first._replace(offset=first.at(1, 1).offset)
    weights = rng.standard_normal((outputs, 3, 3, channels)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    made, results = {}, {}
    for name, tile in ALGORITHMS.items():
        results[name] = out = np.empty((size, size, outputs), np.float32)
        if tile is None:
            kchw = weights.transpose(0, 3, 1, 2)
            calls = conv.convolution(Map.of(out), inner, kchw, bias, WINDOW, activation="relu")
        else:
            filters = WinogradFilterCache(weights, tile)
            scratch = np.empty(winograd.scratch_size(*out.shape[:2], *layer[1:], tile), np.float32)
            calls = winograd.convolution(
                Map.of(out), first, filters, bias, applied("relu"), None, At(scratch)
            )
        made[name] = Program(calls)
        made[name].run()
    for name, got in results.items():
        off = np.abs(got - results["direct"]).max() / np.abs(results["direct"]).max()
        if off > AGREE:
            raise SystemExit(f"{layer.title}: {name} is {off:.1e} off")
    return made


def measure(layer: Layer, given) -> dict[tuple[str, str], list[list[float]]]:
    """Blocks of microseconds, by algorithm and whether caches are warm or cold."""
    made, rng = programs(layer), random.Random(given.seed)
    blocks = {(name, state): [] for name in made for state in ("warm", "cold")}
    for _ in common.counted(given.rounds):
        for name, state in rng.sample(list(blocks), len(blocks)):
            block, end = [], perf_counter() + given.seconds
            made[name].run()
            while perf_counter() < end or not block:
                if state == "cold":
                    ELSEWHERE.sum()
                block.append(timed(made[name]) * 1e6)
            blocks[name, state].append(block)
    return blocks


def report(layer: Layer, blocks) -> list[dict]:
    """Print a layer's line, and return its rows."""
    rows, cells = [], []
    for state in ("warm", "cold"):
        for name, tile in ALGORITHMS.items():
            summary = common.summarise(blocks[name, state])
            gain = common.paired_ratio(blocks["direct", state], blocks[name, state])
            mark = "<" if tile == layer.tile else " "
            cells.append(f"{summary.median:10.1f}" if tile is None else f"{gain:7.2f}")
            cells[-1] += mark
            rate = layer.flops / summary.median / 1e3
            more = {"rate": rate, "rate_unit": "GFLOP/s", "ratio": gain, "ratio_to": "direct"}
            rows.append(
                common.row("winograd", name, layer.title, "us", summary, mode=state, threads=1)
                | more
            )
    print(f"{layer.title:22}", *cells, flush=True)
    return rows


def main() -> None:
    """Measure the layers one after the other."""
    parser = common.arguments(__doc__, seconds=0.02, rounds=7)
    parser.add_argument("--maps", nargs="+", type=int, default=[7, 14, 28, 56, 112])
    parser.add_argument("--channels", nargs="+", type=int, default=[16, 32, 64, 128, 256, 512])
    parser.add_argument("--outputs", nargs="+", type=int, help="as many as channels, unless given")
    given = parser.parse_args()
    if given.quick:
        given.maps, given.channels, given.rounds, given.seconds = [7, 14], [16], 2, 0.001
    layers = [
        Layer(size, channels, outputs)
        for size in given.maps
        for channels in given.channels
        for outputs in given.outputs or [channels]
    ]
    print(f"{target()[0]}, {lanes()} lanes; times faster than direct, < is what is chosen")
    print(f"{'':22}{'warm direct us':>12} {'F(2x2)':>7}  {'F(4x4)':>7} {'cold us':>11}")
    rows = []
    for layer in layers:
        if layer.flops <= LARGEST:
            rows += report(layer, measure(layer, given))
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
