"""rvcnn beside ONNX Runtime, OpenVINO and PyTorch: same weights, output, threads and inputs.

Every engine runs in a process of its own for each mode and thread count; blocks of all of them
alternate in random order. Each pass over a stream of images is followed by a loop of arithmetic in
registers on as many threads: what the machine itself had to give at that moment. Engines at equal
precision must agree before anything is timed; OpenVINO at the precision it chooses by itself is
shown, not held to it.

    python benchmarks/engines.py -o benchmarks/results/mine.csv
    python benchmarks/engines.py --weights FILE.safetensors --onnx FILE.onnx --threads 1
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from time import perf_counter, sleep

import common
import networks
import numpy as np
import peers
from peers import Job

from rvcnn.peak import Peak

AGREEMENT = 1e-4
"""Largest difference between two fp32 outputs, relative to the largest value."""

CHECKED = 3
STREAM = 64
"""Images of one pass of a stream."""

REST = 0.005
"""Seconds for an engine's threads to fall asleep before the machine is measured."""

MACHINE = 0.02
"""Seconds of one sample of the machine, as long on one thread as on several: a core that has just
slept starts slowly."""


# --- the child --------------------------------------------------------------------------------


def make_engine(engine: str, job: dict, images: int) -> tuple[dict, dict[str, Callable]]:
    """Load an engine in this process; its orders are ``outputs`` and ``block``."""
    job = Job(**job)
    ready = peers.ENGINES[engine].load(job)
    stream = job.mode == "stream"
    x = ready.layout(networks.images(images, job.size))
    batch = x if stream else x[:1]
    peak = Peak(job.threads, MACHINE) if stream else None

    def outputs():
        few = [x[:CHECKED]] if stream else [x[i : i + 1] for i in range(CHECKED)]
        return np.concatenate([ready.run(some) for some in few]).astype(float).tolist()

    def once():
        start = perf_counter()
        ready.run(batch)
        return (perf_counter() - start) / len(batch) * 1e3

    def machine():
        sleep(REST)
        return peak.sample()

    def block(seconds):
        warm = perf_counter() + seconds / 5
        while perf_counter() < warm:
            once()
        samples, end = [], perf_counter() + seconds
        while len(samples) < 3 or perf_counter() < end:
            samples.append((once(), machine() if stream else 0.0))
        return samples

    facts = {"versions": ready.versions, "precision": ready.precision}
    return facts, {"outputs": outputs, "block": block}


# --- the parent -------------------------------------------------------------------------------


def prepare(given, folder: Path) -> list[tuple[str, str, str]]:
    """Weights and ONNX files of the networks to measure, as (name, weights, onnx)."""
    cases = []
    for name in given.networks:
        if given.weights:
            weights, name = given.weights, Path(given.weights).stem
        else:
            weights = str(folder / f"{name}.safetensors")
            networks.write_random_weights(name, Path(weights), given.seed)
        file = given.onnx or ""
        if not file and any(peers.ENGINES[e].needs_onnx for e in given.engines):
            import export_onnx
            import onnx

            file = str(folder / f"{name}.onnx")
            graph = networks.load(weights, given.output).graph
            shape = (given.input_size, given.input_size, 3)
            onnx.save(export_onnx.to_onnx(graph, shape, not given.no_fold), file)
        cases.append((name, weights, file))
    return cases


def check(children: dict) -> None:
    """Compare all engines' outputs with the first one's; exit if one at fp32 differs."""
    reference = None
    for (engine, threads, mode), child in children.items():
        got = np.array(child.ask("outputs"))
        reference = got if reference is None else reference
        error = np.abs(got - reference).max() / np.abs(reference).max()
        precision = child.facts["precision"]
        exact = peers.ENGINES[engine].exact
        if exact and precision != "fp32":
            sys.exit(f"{engine} computes in {precision}, not in fp32")
        if exact and not error <= AGREEMENT:
            sys.exit(f"{engine} ({mode}, {threads} threads) is off by {error:.1e}")
        common.note(f"{engine} {precision} {mode} {threads}: differs by {error:.1e}")


def measure(given, case: tuple[str, str, str]) -> list[dict]:
    """Rows of one network: every engine, thread count and mode."""
    name, weights, file = case
    count = STREAM if not given.quick else CHECKED
    children = {}
    for mode, threads, engine in product(given.modes, given.threads, given.engines):
        job = Job(weights, file, given.output, given.input_size, threads, mode)
        children[engine, threads, mode] = common.Child(
            __file__, engine=engine, job=job._asdict(), images=count
        )
    check(children)
    series = common.in_random_order(children, given.rounds, given.seed, seconds=given.seconds)
    facts = {key: child.facts for key, child in children.items()}
    for child in children.values():
        child.close()
    blocks = {key: [[ms for ms, _ in block] for block in s] for key, s in series.items()}
    case = f"{name} {given.input_size} {given.output}"
    rows = report(blocks, facts, case)
    if "stream" in given.modes:
        rows += report_scaling(
            {k: s for k, s in series.items() if k[2] == "stream"}, given.threads, case
        )
    return rows


def report(blocks: dict, facts: dict, case: str) -> list[dict]:
    """Print a network's times, and return its rows."""
    summaries = {key: common.summarise(series) for key, series in blocks.items()}
    print(f"\n{case}: ms an image\n{'':36}{'median':>9}{'min':>9}{'noise %':>9}{'ratio':>9}")
    rows = []
    for (engine, threads, mode), summary in summaries.items():
        fact = facts[engine, threads, mode]
        name = f"{engine} {fact['precision']}"
        peer = fastest_peer(summaries, threads, mode)
        ratio = common.paired_ratio(blocks[engine, threads, mode], blocks[peer]) if peer else None
        label, shown = f"{mode} {threads}: {name}", f"{ratio:9.3f}" if ratio else ""
        print(f"{label:36}{summary.median:9.3f}{summary.min:9.3f}{summary.noise:9.1f}{shown}")
        more = {"versions": fact["versions"], "threads": threads, "mode": mode}
        more |= {"ratio": ratio, "ratio_to": peer and f"{peer[0]} fp32"}
        rows.append(common.row("engines", name, case, "ms", summary, **more))
    return rows


def fastest_peer(summaries: dict, threads: int, mode: str) -> tuple | None:
    """The engine other than rvcnn, at fp32, with the best median."""
    rivals = [
        key
        for key in summaries
        if key[1:] == (threads, mode) and key[0] != "rvcnn" and peers.ENGINES[key[0]].exact
    ]
    return min(rivals, key=lambda key: summaries[key].median, default=None)


def report_scaling(series: dict, counts: list[int], case: str) -> list[dict]:
    """Print what more threads gain on a stream beside what they gain the machine; rows of that."""
    first = min(counts)
    # An image's cost in operations that registers alone would have done in its time.
    cost = {
        key: np.median([ms * gflops for block in blocks for ms, gflops in block])
        for key, blocks in series.items()
    }
    rows, most = [], {}
    for threads in counts:
        machine = [
            [gflops for _, gflops in block]
            for (_, n, _), blocks in series.items()
            if n == threads
            for block in blocks
        ]
        summary = common.summarise(machine)
        most[threads] = summary.median
        more = {"threads": threads, "mode": "stream"}
        rows.append(
            common.row("engines", "peak", f"registers, beside {case}", "GFLOP/s", summary, **more)
        )
    for threads in sorted(set(counts) - {first}):
        print(f"{first} to {threads} threads: the machine gains {most[threads] / most[first]:.2f}")
        for engine, n, mode in series:
            if n == threads:
                share = cost[engine, first, mode] / cost[engine, threads, mode]
                print(f"  {engine:<18} gains {share:.2f} times what the machine does")
    return rows


def parse() -> tuple:
    """The command line; what --quick and --weights imply is filled in."""
    parser = common.arguments(__doc__)
    every = peers.installed()
    parser.add_argument("--networks", nargs="+", default=list(networks.ARCHITECTURES))
    parser.add_argument("--weights", help="safetensors file in place of random weights")
    parser.add_argument(
        "--onnx", help="the same network as ONNX (default: exported by this script)"
    )
    parser.add_argument("--no-fold", action="store_true", help="export BatchNorm as nodes")
    parser.add_argument("--output", choices=["logits", "embedding"], default="logits")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--modes", nargs="+", choices=["latency", "stream"], default=["latency", "stream"]
    )
    parser.add_argument("--engines", nargs="+", choices=list(peers.ENGINES), default=every)
    given = parser.parse_args()
    missing = set(given.engines) - set(every)
    if missing:
        parser.error(f"not installed (with onnx): {', '.join(sorted(missing))}")
    if given.onnx and not given.weights:
        parser.error("--onnx goes with --weights")
    if given.weights:
        given.networks = given.networks[:1]
    if given.quick:
        given.networks = given.networks[:1]
        given.input_size, given.rounds, given.seconds = 64, 2, 0.01
    return given


def main() -> None:
    """Measure, print a table for each network, and write the rows."""
    given = parse()
    if given.child:
        common.serve(make_engine, given.child)
        return
    absent = [name for name in peers.ENGINES if name not in given.engines]
    if absent:
        common.note(f"not measured: {', '.join(absent)}")
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for case in prepare(given, Path(folder)):
            rows += measure(given, case)
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
