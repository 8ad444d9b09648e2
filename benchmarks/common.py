"""What the benchmarks share: child processes that take orders, statistics, the machine, CSV."""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import random
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parent.parent

# --- children ---------------------------------------------------------------------------------


class Child:
    """A process that measures when it is told to and waits, without spinning, in between.

    Parameters
    ----------
    script : str
        The file that runs in the child; its ``main`` hands over to :func:`serve` when called with
        ``--child``.
    settings
        What the child's ``make`` is called with; anything JSON holds.
    """

    def __init__(self, script: str, **settings: Any) -> None:
        command = [sys.executable, script, "--child", json.dumps(settings)]
        self._name = " ".join(map(str, settings.values()))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.facts = self._answer()

    def ask(self, order: str, **arguments: Any) -> Any:
        """Give an order and wait for its answer."""
        self._process.stdin.write(json.dumps([order, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the child."""
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self._name}: the child ended with code {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            sys.exit(f"{self._name}:\n{answer['error']}")
        return answer["value"]


def serve(make: Callable[..., tuple[Any, Mapping[str, Callable]]], settings: str) -> None:
    """Be a child: call ``make``, answer its facts, then obey orders until stdin ends.

    Parameters
    ----------
    make
        Called with the settings; gives facts about itself and a function for each order.
    settings
        JSON, as :class:`Child` passes it.
    """
    # Whatever libraries print must not get among the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(function: Callable, **arguments: Any) -> Any:
        try:
            reply = {"value": function(**arguments)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()

    orders: dict[str, Callable] = {}

    def start() -> Any:
        facts, functions = make(**json.loads(settings))
        orders.update(functions)
        return facts

    answer(start)
    for line in sys.stdin:
        order, arguments = json.loads(line)
        answer(orders[order], **arguments)


def in_random_order(children: Mapping[Any, Child], rounds: int, seed: int = 0, **arguments: Any):
    """Blocks of samples of every child, a block each round, each round in another order.

    Returns
    -------
    dict
        For each child a list of blocks; a block is a list of numbers.
    """
    rng = random.Random(seed)
    blocks: dict[Any, list[list[float]]] = {key: [] for key in children}
    for _ in counted(rounds):
        for key in rng.sample(list(children), len(children)):
            blocks[key].append(children[key].ask("block", **arguments))
    return blocks


# --- statistics -------------------------------------------------------------------------------


class Summary(NamedTuple):
    """Samples in figures.

    Every block has the same weight, however many samples fitted into it. ``noise`` is the spread of
    the blocks' medians in % of their median: 1.4826 times the median absolute deviation, which is a
    standard deviation that a few disturbed blocks do not move.
    """

    median: float
    min: float
    p10: float
    p90: float
    noise: float
    samples: int


def summarise(blocks: list[list[float]]) -> Summary:
    """Summary of one series' blocks."""
    values = np.concatenate(blocks)
    weights = np.concatenate([np.full(len(block), 1 / len(block)) for block in blocks])
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / len(blocks)
    p10, median, p90 = values[order][np.searchsorted(reached, [0.1, 0.5 - 1e-9, 0.9])]
    medians = np.array([np.median(block) for block in blocks])
    middle = np.median(medians)
    noise = 148.26 * np.median(np.abs(medians - middle)) / middle
    return Summary(median, values.min(), p10, p90, noise, values.size)


def paired_ratio(mine: list[list[float]], theirs: list[list[float]]) -> float:
    """Median over the rounds of the ratio of two series' block medians.

    What slows a whole round down does not enter it.
    """
    pairs = zip(mine, theirs, strict=True)
    return float(np.median([np.median(a) / np.median(b) for a, b in pairs]))


# --- the machine ------------------------------------------------------------------------------


def cpu_model() -> str:
    """Name of the CPU, as the system has it."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The checkout's commit, with ``+`` if files differ from it; empty outside a checkout."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""


def conditions() -> dict[str, Any]:
    """Columns that every row of a run begins with."""
    from rvcnn.kernels import lanes, target
    from rvcnn.threads import available_cpus

    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": cpu_model(),
        "target": f"{target()[0]}, {lanes()} lanes",
        "cores": available_cpus(),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(*packages: str) -> str:
    """Versions of packages, as ``numpy 2.4.0 numba 0.68.0``."""
    return " ".join(f"{name} {version(name)}" for name in packages)


# --- files ------------------------------------------------------------------------------------

COLUMNS = (
    "date commit machine target cores os python benchmark engine versions case threads mode unit "
    "median min p10 p90 noise samples rate rate_unit ratio ratio_to"
).split()


def row(benchmark: str, engine: str, case: str, unit: str, summary: Summary, **more: Any) -> dict:
    """One row of a results file; ``more`` are further columns."""
    known = {"benchmark": benchmark, "engine": engine, "case": case, "unit": unit}
    return known | summary._asdict() | more


def write_rows(path: Path | None, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows to a CSV file, after a header where the file is new."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    common = conditions()
    with open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if new:
            writer.writeheader()
        for facts in rows:
            writer.writerow({key: _short(value) for key, value in (common | facts).items()})
    note(f"results are in {path}")


def _short(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, (float, np.floating)) else value


def arguments(description: str, seconds: float = 0.4, rounds: int = 12) -> argparse.ArgumentParser:
    """A parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("-o", "--csv", type=Path, help="CSV file that rows are appended to")
    parser.add_argument("--rounds", type=int, default=rounds, help="blocks of each series")
    parser.add_argument("--seconds", type=float, default=seconds, help="of one block")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it still run?")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser


def note(message: str) -> None:
    """Write a line to stderr."""
    print(message, file=sys.stderr, flush=True)


def counted(rounds: int) -> Iterator[int]:
    """Count rounds, on stderr where somebody watches."""
    watched = sys.stderr.isatty()
    for done in range(rounds):
        if watched:
            print(f"\rround {done + 1} of {rounds} ", end="", file=sys.stderr, flush=True)
        yield done
    if watched:
        note("")
