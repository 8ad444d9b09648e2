"""rvcnn beside ONNX Runtime, OpenVINO and PyTorch: same weights, output, threads and inputs.

Every engine runs in a process of its own for each mode and thread count; blocks of all of them
alternate in random order, together with a loop of arithmetic in registers that tells how the
machine itself scales. Engines at equal precision must agree before anything is timed; OpenVINO at
the precision it chooses by itself is shown, not held to it.

    python benchmarks/engines.py -o benchmarks/results/mine.csv
    python benchmarks/engines.py --weights FILE.safetensors --onnx FILE.onnx --threads 1
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import common
import networks
import numpy as np
import peers
from peers import Job

AGREEMENT = 1e-4
"""Largest difference between two fp32 outputs, relative to the largest value."""

CHECKED = 3
STREAM = 64
"""Images of one pass of a stream."""

PEAK = "peak"


# --- the child --------------------------------------------------------------------------------


def make_engine(engine: str, job: dict, images: int) -> tuple[dict, dict[str, Callable]]:
    """Load an engine in this process; its orders are ``outputs`` and ``block``."""
    job = Job(**job)
    if engine == PEAK:
        return _make_peak(job.threads)
    ready = peers.ENGINES[engine].load(job)
    x = ready.layout(networks.images(images, job.size))
    batch = x if job.mode == "stream" else x[:1]

    def outputs():
        few = [x[i : i + 1] for i in range(CHECKED)]
        rows = [ready.run(x[:CHECKED])] if job.mode == "stream" else map(ready.run, few)
        return np.concatenate(list(rows)).astype(float).tolist()

    def once():
        start = perf_counter()
        ready.run(batch)
        return (perf_counter() - start) / len(batch) * 1e3

    facts = {"versions": ready.versions, "precision": ready.precision}
    return facts, {"outputs": outputs, "block": lambda seconds: _repeat(once, seconds)}


def _make_peak(threads):
    from rvcnn.peak import Peak

    peak = Peak(threads)
    facts = {"versions": common.versions("numba", "llvmlite"), "precision": "fp32"}
    return facts, {"block": lambda seconds: _repeat(peak.sample, seconds / 4)}


def _repeat(once: Callable[[], float], seconds: float) -> list[float]:
    """Samples for so many seconds, after a fifth of that to warm up."""
    samples, start = [], perf_counter()
    while perf_counter() < start + seconds / 5:
        once()
    start = perf_counter()
    while len(samples) < 3 or perf_counter() < start + seconds:
        samples.append(once())
    return samples


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
        if engine == PEAK:
            continue
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
    keys = [(e, n, m) for m in given.modes for n in given.threads for e in given.engines]
    keys += [(PEAK, n, PEAK) for n in given.threads]
    children = {}
    for engine, threads, mode in keys:
        job = Job(weights, file, given.output, given.input_size, threads, mode)
        children[engine, threads, mode] = common.Child(
            __file__, engine=engine, job=job._asdict(), images=count
        )
    check(children)
    blocks = common.in_random_order(children, given.rounds, given.seed, seconds=given.seconds)
    rows = table(blocks, {key: child.facts for key, child in children.items()}, name, given)
    for child in children.values():
        child.close()
    return rows


def table(blocks: dict, facts: dict, network: str, given) -> list[dict]:
    """Print a network's results, and return its rows."""
    summaries = {key: common.summarise(series) for key, series in blocks.items()}
    case = f"{network} {given.input_size} {given.output}"
    print(f"\n{case}: ms an image\n{'':28}{'median':>9}{'min':>9}{'noise %':>9}{'ratio':>9}")
    rows = []
    for (engine, threads, mode), summary in summaries.items():
        key = (engine, threads, mode)
        more = {"versions": facts[key]["versions"], "threads": threads, "mode": mode}
        if engine == PEAK:
            rows.append(common.row("engines", PEAK, "registers", "GFLOP/s", summary, **more))
            continue
        precision = facts[key]["precision"]
        peer = fastest_peer(summaries, threads, mode)
        ratio = common.paired_ratio(blocks[key], blocks[peer]) if peer else None
        label = f"{mode} {threads}: {engine} {precision}"
        shown = f"{ratio:9.3f}" if ratio else ""
        print(f"{label:<28.40}{summary.median:9.3f}{summary.min:9.3f}{summary.noise:9.1f}{shown}")
        more |= {"ratio": ratio, "ratio_to": peer and f"{peer[0]} fp32"}
        rows.append(common.row("engines", f"{engine} {precision}", case, "ms", summary, **more))
    print_scaling(blocks, given)
    return rows


def fastest_peer(summaries: dict, threads: int, mode: str) -> tuple | None:
    """The engine other than rvcnn, at fp32, with the best median."""
    rivals = [
        key
        for key in summaries
        if key[1:] == (threads, mode)
        and key[0] not in ("rvcnn", PEAK)
        and peers.ENGINES[key[0]].exact
    ]
    return min(rivals, key=lambda key: summaries[key].median, default=None)


def print_scaling(blocks: dict, given) -> None:
    """What more threads gain on a stream, beside what they gain the machine itself."""
    first = min(given.threads)
    for threads in sorted(set(given.threads) - {first}):
        machine = common.paired_ratio(blocks[PEAK, threads, PEAK], blocks[PEAK, first, PEAK])
        print(f"{first} to {threads} threads: registers alone gain {machine:.2f}")
        if "stream" not in given.modes:
            continue
        for engine in given.engines:
            slow, fast = (blocks[engine, n, "stream"] for n in (first, threads))
            gain = common.paired_ratio(slow, fast)
            print(f"  {engine:<18} stream gains {gain:.2f}, {gain / machine:.2f} of that")


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
