"""Every kernel over the layer shapes of the networks, against what the machine can do.

A layer's calls run in a loop of their own, on one thread, with its data in the caches: products
and convolutions against arithmetic in registers at the same lane count, products with one row
against reading as many bytes as their weights have, and what only moves data against reading as
many bytes as its maps have. All measured in turns in one run.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --precision int8
    NUMBA_CPU_NAME=haswell python benchmarks/kernels.py
    RVCNN_LANES=4 python benchmarks/kernels.py
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

import common
import numpy as np

import rvcnn
from rvcnn.bench import PIXELS, Layer, layers
from rvcnn.kernels import Program, lanes, target
from rvcnn.peak import Peak, ReadBandwidth, timed
from rvcnn.plan import IMAGE
from rvcnn.quantization import calibrate

MANY_ROWS = 49
"""Rows from which a product is limited by arithmetic: the smallest maps are 7 x 7."""

SAMPLE_SECONDS = 0.0005
SAMPLES = 5
"""Of one block."""


class Case(NamedTuple):
    """A distinct shape in a network, and what it is held against.

    Attributes
    ----------
    layer : Layer
        The first that has it.
    times : int
        How many layers have it.
    group : str
        "product", "one row", "convolution" or "memory".
    work : float
        Floating-point operations, or bytes, of one run.
    """

    layer: Layer
    times: int
    group: str
    work: float

    @property
    def rate_unit(self) -> str:
        """What ``work`` per nanosecond is."""
        if self.group in ("one row", "memory"):
            return "GB/s"
        return "GFLOP/s" if self.layer.arithmetic == "fp32" else "GOP/s"

    @property
    def title(self) -> str:
        """The shape in words."""
        (*_, channels), output = self.layer.inputs[0], self.layer.output
        shape = f"{self.layer.inputs[0][0]}x{self.layer.inputs[0][1]}x{channels}"
        result = "x".join(map(str, output))
        window = "".join(f" {w[2]}x{w[3]}" for w in self.layer.weights if len(w) == 4)
        return f"{self.layer.kind} {shape} to {result}{window}"


def classify(layer: Layer) -> tuple[str, float]:
    """Group and work of a layer."""
    if not layer.flops:
        return "memory", layer.map_bytes
    rows = layer.output[0] * layer.output[1]
    if rows == 1:
        return "one row", layer.weight_bytes
    dense = layer.weights[0][1] == layer.inputs[0][2]
    if dense and layer.weights[0][2:] == (1, 1) and rows >= MANY_ROWS:
        return "product", layer.flops
    return "convolution", layer.flops


class Bench:
    """A network's plan with the distinct shapes in it."""

    def __init__(self, architecture: str, size: int, precision: str) -> None:
        model = rvcnn.create_model(architecture, weights="random", num_classes=1000)
        images = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
        if precision == "int8":
            model = model.quantised(calibrate(model, images, "minmax", correct_bias=False))
        self.plan = model.plan((size, size), PIXELS)
        self._image = images[0]
        self._workspace = self.plan.workspace()
        self._workspace.run(self._image)
        found: dict[tuple, list[Layer]] = {}
        for layer in layers(self.plan):
            key = (layer.kind, layer.inputs, layer.output, layer.weights, *layer.kernels)
            found.setdefault(key, []).append(layer)
        self.cases = [Case(same[0], len(same), *classify(same[0])) for same in found.values()]

    def sampler(self, case: Case) -> Callable[[], float]:
        """What measures seconds of one run of a layer: many runs in one program."""
        buffers = self._workspace.buffers | {IMAGE: self._image}
        once = Program(case.layer.calls, buffers)
        taken = min(timed(once) for _ in range(5))
        repeats = max(1, min(1000, round(SAMPLE_SECONDS / taken)))
        program = Program(case.layer.calls * repeats, buffers)
        return lambda: timed(program) / repeats


class Result(NamedTuple):
    """A case's blocks of microseconds, and in each round its share of what limits it."""

    case: Case
    blocks: list[list[float]]
    shares: list[float]


def measure(bench: Bench, given) -> list[Result]:
    """Measure all cases; in each round, each of them between samples of what limits it."""
    peaks = {"GFLOP/s": Peak("fp32"), "GOP/s": Peak("int8")}
    results = [Result(case, [], []) for case in bench.cases]
    samplers = [bench.sampler(case) for case in bench.cases]
    limits = [peaks.get(case.rate_unit) or ReadBandwidth(case.work) for case in bench.cases]
    order = list(zip(results, samplers, limits, strict=True))
    rng = random.Random(given.seed)
    for _ in common.counted(given.rounds):
        for result, sampler, limit in rng.sample(order, len(order)):
            seconds, most = np.array([(sampler(), limit.sample()) for _ in range(SAMPLES)]).T
            result.blocks.append(list(seconds * 1e6))
            result.shares.append(result.case.work / np.median(seconds) / 1e9 / np.median(most))
    return results


def together(results: list[Result], group: str) -> Result | None:
    """All layers of a group as one: their work over their time, against what limits them."""
    mine = [r for r in results if r.case.group == group]
    if not mine:
        return None
    times = np.array([[r.case.times * np.median(block) for block in r.blocks] for r in mine])
    shares = np.array([r.shares for r in mine])
    spent = times.sum(0)
    work = sum(r.case.times * r.case.work for r in mine)
    case = mine[0].case._replace(times=sum(r.case.times for r in mine), work=work)
    return Result(case, [[t] for t in spent], list((times * shares).sum(0) / spent))


def report(network: str, results: list[Result]) -> list[dict]:
    """Print a network's results, and return its rows."""
    print(f"\n{network}, {target()[0]}, {lanes()} lanes")
    print(f"{'us':>9}{'rate':>9} {'':8}{'% of limit':>11}{'layers':>8}")
    rows = []

    def show(result, kernels, title):
        case, summary = result.case, common.summarise(result.blocks)
        rate, share = case.work / summary.median / 1e3, float(np.median(result.shares))
        print(
            f"{summary.median:9.2f}{rate:9.1f} {case.rate_unit:8}{100 * share:11.1f}"
            f"{case.times:8}  {case.group}: {title}  {kernels}"
        )
        limit = "reading as many bytes" if case.rate_unit == "GB/s" else "registers"
        more = {"rate": rate, "rate_unit": case.rate_unit, "ratio": share, "ratio_to": limit}
        name = f"{network} {title}"
        rows.append(
            common.row("kernels", kernels, name, "us", summary, threads=1, mode=case.group, **more)
        )

    for result in sorted(results, key=lambda r: r.case.group):
        show(result, " ".join(result.case.layer.kernels), result.case.title)
    for group in ("product", "convolution", "one row", "memory"):
        if whole := together(results, group):
            show(whole, "all", "all layers together")
    return rows


def main() -> None:
    """Measure the networks one after the other."""
    parser = common.arguments(__doc__)
    parser.add_argument("--networks", nargs="+", default=rvcnn.list_models()[:2])
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    given = parser.parse_args()
    if given.quick:
        given.networks, given.input_size, given.rounds = given.networks[:1], 64, 2
    rows = []
    for network in given.networks:
        bench = Bench(network, given.input_size, given.precision)
        rows += report(f"{network} {given.precision}", measure(bench, given))
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
