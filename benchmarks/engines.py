"""rvcnn beside ONNX Runtime, OpenVINO and PyTorch: same weights, output, threads and inputs.

Every engine runs in a process of its own for each mode and thread count; blocks of all of them
alternate in random order. Each pass over a stream of images is followed by a loop of arithmetic in
registers on as many threads: what the machine itself had to give at that moment. Engines at fp32
must agree before anything is timed; OpenVINO at the precision it chooses by itself is shown, not
held to it. Engines at int8 are calibrated on the same images and compared among themselves; where
weights with 1000 classes and RVCNN_TEST_DATA are given, each one's own top-1 stands beside its
time.

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

import cases
import common
import networks
import numpy as np
import peers
import photographs
import quality
from cases import Case
from peers import Job

from rvcnn.peak import Peak

AGREEMENT = 1e-4
"""Largest difference between two fp32 outputs, relative to the largest value."""

CALIBRATION = 64
"""Made pictures that int8 is calibrated on where there are no photographs, or random weights."""

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
    """Load an engine in this process; its orders are ``outputs``, ``rows`` and ``block``."""
    job = Job(**job)
    ready = peers.ENGINES[engine].load(job)
    stream = job.mode == "stream"
    x = ready.layout(networks.images(images, job.size))
    batch = x if stream else x[:1]
    peak = Peak(threads=job.threads, seconds=MACHINE) if stream else None

    def outputs():
        few = [x[:CHECKED]] if stream else [x[i : i + 1] for i in range(CHECKED)]
        return np.concatenate([ready.run(some) for some in few]).astype(float).tolist()

    def rows(pixels, file):
        normalise = cases.preprocess(job.weights, job.size).normalise
        each = (ready.layout(normalise(image[None])) for image in np.load(pixels))
        np.save(file, np.concatenate([ready.run(image) for image in each]))

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
    return facts, {"outputs": outputs, "rows": rows, "block": block}


# --- the parent -------------------------------------------------------------------------------


def prepare(given, name: str, folder: Path) -> Case:
    """Weights, ONNX and int8 files of a network."""
    if given.weights:
        weights, name = given.weights, Path(given.weights).stem
    else:
        weights = str(folder / f"{name}.safetensors")
        networks.write_random_weights(name, Path(weights), given.seed)
    onnx, size = given.onnx or "", given.input_size
    if not onnx and any(peers.ENGINES[e].needs_onnx for e in given.engines):
        onnx = cases.write_onnx(weights, given.output, size, not given.no_fold, folder)
    case = Case(name, weights, onnx, {})
    if not any(peers.ENGINES[engine].int8_suffix for engine in given.engines):
        return case
    if given.weights and photographs.real():
        pixels = cases.pixels(weights, size, photographs.real()[::2])
    else:
        count = CHECKED if given.quick else CALIBRATION
        pixels = networks.pictures(count, size, given.seed + 1)
    return cases.quantise(given.engines, case, given.output, pixels, folder)


def check(children: dict) -> None:
    """Compare all engines' outputs with the first one's; exit if one at fp32 differs."""
    reference = None
    for (engine, threads, mode), child in children.items():
        got = np.array(child.ask("outputs"))
        reference = got if reference is None else reference
        error = np.abs(got - reference).max() / np.abs(reference).max()
        precision = child.facts["precision"]
        exact = peers.ENGINES[engine].group == "fp32"
        if exact and precision != "fp32":
            sys.exit(f"{engine} computes in {precision}, not in fp32")
        if exact and not error <= AGREEMENT:
            sys.exit(f"{engine} ({mode}, {threads} threads) is off by {error:.1e}")
        cosine = quality.cosines(got, reference).min()
        common.note(
            f"{engine} {precision} {mode} {threads}: differs by {error:.1e}, cosine {cosine:.6f}"
        )


def top1(given, case: Case, children: dict, folder: Path) -> dict[str, float]:
    """Each engine's share of right classes over the photographs, where they and classes are."""
    files = photographs.real()
    known = networks.metadata(case.weights).get("num_classes") == "1000"
    if not (files and known and given.weights and given.output == "logits"):
        return {}
    pixels, rows = folder / "photographs.npy", folder / "rows.npy"
    np.save(pixels, cases.pixels(case.weights, given.input_size, files))
    shares = {}
    for (engine, _, _), child in children.items():
        if engine not in shares:
            child.ask("rows", pixels=str(pixels), file=str(rows))
            shares[engine] = quality.top1(np.load(rows))
    return shares


def measure(given, case: Case, folder: Path) -> list[dict]:
    """Rows of one network: every engine, thread count and mode."""
    count = STREAM if not given.quick else CHECKED
    children = {}
    for mode, threads, engine in product(given.modes, given.threads, given.engines):
        job = case.job(engine, given.output, given.input_size, threads, mode)
        children[engine, threads, mode] = common.Child(
            __file__, engine=engine, job=job._asdict(), images=count
        )
    check(children)
    shares = top1(given, case, children, folder)
    series = common.in_random_order(children, given.rounds, given.seed, seconds=given.seconds)
    facts = {key: child.facts for key, child in children.items()}
    for child in children.values():
        child.close()
    blocks = {key: [[ms for ms, _ in block] for block in s] for key, s in series.items()}
    title = f"{case.name} {given.input_size} {given.output}"
    rows = report(blocks, facts, shares, title)
    if "stream" in given.modes:
        rows += report_scaling(
            {k: s for k, s in series.items() if k[2] == "stream"}, given.threads, title
        )
    return rows


def report(blocks: dict, facts: dict, shares: dict, case: str) -> list[dict]:
    """Print a network's times, and return its rows."""
    summaries = {key: common.summarise(series) for key, series in blocks.items()}
    print(
        f"\n{case}: ms an image\n{'':40}{'median':>9}{'min':>9}{'noise %':>9}{'ratio':>9}", end=""
    )
    print(f"{'top-1 %':>9}" if shares else "")
    rows = []
    for (engine, threads, mode), summary in summaries.items():
        fact = facts[engine, threads, mode]
        name = f"{engine} {fact['precision']}"
        peer = fastest_peer(summaries, engine, threads, mode)
        ratio = common.paired_ratio(blocks[engine, threads, mode], blocks[peer]) if peer else None
        label, shown = f"{mode} {threads}: {name}", f"{ratio:9.3f}" if ratio else " " * 9
        right = f"{100 * shares[engine]:9.1f}" if shares else ""
        print(
            f"{label:40}{summary.median:9.3f}{summary.min:9.3f}{summary.noise:9.1f}{shown}{right}"
        )
        more = {"versions": fact["versions"], "threads": threads, "mode": mode}
        more |= {"ratio": ratio, "ratio_to": peer and f"{peer[0]} {facts[peer]['precision']}"}
        rows.append(common.row("engines", name, case, "ms", summary, **more))
    rows += [quality.row("engines", e, case, "top-1", 100 * share) for e, share in shares.items()]
    for _, threads, mode in [key for key in blocks if key[0] == "rvcnn-int8"]:
        mine = [blocks.get((engine, threads, mode)) for engine in ("rvcnn-int8", "rvcnn")]
        if all(mine):
            ratio = common.paired_ratio(*mine)
            print(f"{mode} {threads}: rvcnn in int8 takes {ratio:.3f} of its time in fp32")
    return rows


def fastest_peer(summaries: dict, engine: str, threads: int, mode: str) -> tuple | None:
    """The engine other than rvcnn, of the same group, with the best median."""
    group = peers.ENGINES[engine].group
    rivals = [
        key
        for key in summaries
        if key[1:] == (threads, mode)
        and not peers.ENGINES[key[0]].is_ours
        and peers.ENGINES[key[0]].group == (group or "fp32")
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
    parser.add_argument("--networks", nargs="+", default=["mobilenetv3_small", "mobilenetv3_large"])
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
        for name in given.networks:
            case = prepare(given, name, Path(folder))
            rows += measure(given, case, Path(folder))
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
