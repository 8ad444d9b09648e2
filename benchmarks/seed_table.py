"""The seed's table of kernels: rvcnn, PyTorch, NumPy and plain loops, on one thread, in one run.

Each row is computed by every way there is, checked against plain loops under ``njit``, and timed in
alternation: rvcnn's kernel, PyTorch (oneDNN; of the forms it offers the fastest), NumPy, and the
loops themselves. The roof is what the machine, measured between the samples, allows for as many
operations and as many bytes that must be read and written at least; Winograd's algorithm needs
fewer operations than the direct convolution that its rate and its roof are counted for.

    python benchmarks/seed_table.py -o benchmarks/results/mine.csv
    python benchmarks/seed_table.py --rows ReLU "dot products"
"""

from __future__ import annotations

import random
from collections.abc import Callable
from importlib.util import find_spec
from time import perf_counter

import common
import numpy as np
import seed_rows
from seed_way import Row
from threadpoolctl import threadpool_limits

from rvcnn.peak import Peak, ReadBandwidth

SAMPLE_SECONDS = 0.001
SLOW = 0.02
"""Seconds of one run from which a way is timed in a few rounds only."""

FEW = 3


def check(row: Row) -> None:
    """Compare every way's output with the loops'; exit if one differs."""
    loops = row.ways["loops"]
    want = loops.read(loops.run()).astype(np.float64)
    for name, way in row.ways.items():
        got = np.asarray(way.read(way.run()), np.float64).reshape(want.shape)
        error = np.abs(got - want).max() / row.unit(want)
        if not error <= row.tolerance:
            raise SystemExit(f"{row.title}: {name} is off by {error:.1e}, not {row.tolerance:.1e}")


def repeats(run: Callable) -> int:
    """How many runs make one sample."""
    taken = min(seconds(run, 1) for _ in range(3))
    return max(1, min(1000, round(SAMPLE_SECONDS / taken)))


def seconds(run: Callable, times: int) -> float:
    """Seconds of one run, of so many in a row."""
    start = perf_counter()
    for _ in range(times):
        run()
    return (perf_counter() - start) / times


def measure(row: Row, given) -> tuple[dict[str, list], list[float]]:
    """Microseconds of each way, in blocks; and in each round those that the roof allows."""
    times = {name: repeats(way.run) for name, way in row.ways.items()}
    gauge, memory = Peak("int8" if row.on_bytes else "fp32"), ReadBandwidth(row.bytes)
    blocks: dict[str, list] = {name: [] for name in row.ways}
    roofs = []
    rng = random.Random(given.seed)
    for turn in range(given.rounds):
        for name in rng.sample(list(row.ways), len(row.ways)):
            run = row.ways[name].run
            slow = blocks[name] and min(map(min, blocks[name])) > SLOW * 1e6
            if slow and turn >= FEW:
                continue
            count = 1 if slow else given.samples
            blocks[name].append([1e6 * seconds(run, times[name]) for _ in range(count)])
        limits = [max(row.work / gauge.sample(), row.bytes / memory.sample()) for _ in range(5)]
        roofs.append(float(np.median(limits)) / 1e3)
    return blocks, roofs


def report(row: Row, blocks: dict[str, list], roofs: list[float]) -> list[dict]:
    """Print a row of the table, and give its rows of a results file."""
    summaries = {name: common.summarise(series) for name, series in blocks.items()}
    rivals = [name for name in summaries if name.startswith("pytorch")]
    peer = min(rivals, key=lambda name: summaries[name].median, default=None)

    def ratio(name, to):
        shared = min(len(blocks[name]), len(blocks[to]))
        return common.paired_ratio(blocks[name][:shared], blocks[to][:shared])

    def shown(name, digits=1):
        return f"{summaries[name].median:11.{digits}f}" if name in summaries else f"{'':11}"

    mine, rate_unit = summaries["rvcnn"].median, row.rate_unit
    rate = (row.work if rate_unit != "GB/s" else row.bytes) / mine / 1e3
    roof = 100 * common.paired_ratio([[r] for r in roofs], blocks["rvcnn"])
    to_peer = f"{ratio('rvcnn', peer):8.2f}" if peer else f"{'':8}"
    print(
        f"{row.title:44}{shown('rvcnn')}{shown(peer)}{shown('numpy')}{shown('loops')}"
        f"{to_peer}{1 / ratio('rvcnn', 'loops'):8.1f}{rate:9.1f} {rate_unit:8}{roof:6.1f}"
        f"  {peer or ''}"
    )
    for other in summaries:
        if other.startswith("rvcnn,"):
            print(f"{'':4}{ratio(other, 'rvcnn'):.2f} times as fast as {other}")
    rows = []
    for name, summary in summaries.items():
        more = {"threads": 1, "mode": "kernel", "versions": seed_rows.versions(name)}
        if peer:
            more |= {"ratio": ratio(name, peer), "ratio_to": peer}
        if name == "rvcnn":
            more |= {"rate": rate, "rate_unit": rate_unit}
        rows.append(common.row("seed_table", name, row.title, "us", summary, **more))
    share = common.Summary(roof, roof, roof, roof, 0.0, len(roofs))
    rows.append(common.row("seed_table", "rvcnn", row.title, "%", share, threads=1, mode="of roof"))
    return rows


def main() -> None:
    """Measure row by row, print the table, and write the rows."""
    parser = common.arguments(__doc__, rounds=9)
    parser.add_argument(
        "--rows", nargs="+", default=[""], help="those whose title has one of these"
    )
    parser.add_argument("--samples", type=int, default=5, help="of a way in each round")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.samples = 2, 1
    if not find_spec("torch"):
        common.note("PyTorch is not installed: not measured")
    print(
        f"{'us':44}{'rvcnn':>11}{'PyTorch':>11}{'NumPy':>11}{'loops':>11}"
        f"{'/PyTorch':>8}{'x loops':>8}{'rate':>9} {'':8}{'% roof':>6}"
    )
    table = []
    with threadpool_limits(1):
        for make in seed_rows.ROWS:
            for row in make(np.random.default_rng(given.seed), given.quick):
                if any(part.lower() in row.title.lower() for part in given.rows):
                    check(row)
                    table += report(row, *measure(row, given))
    common.write_rows(given.csv, table)


if __name__ == "__main__":
    main()
