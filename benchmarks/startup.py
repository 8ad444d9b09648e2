"""How long ``rvcnn`` takes to start, and how much memory it needs.

The first ``rvcnn embed`` of one image ever, with an empty cache of compiled kernels; the same when
the kernels are there; ``rvcnn --help``; and the peak memory of a fresh ``rvcnn embed`` over few and
over many distinct photographs.

    python benchmarks/startup.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import common
import photographs

COMMAND = [sys.executable, "-m", "rvcnn"]

WAIT = """
import os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process that tells the peak memory of its child, which begins with its parent's."""


def run(command: list[str], folder: Path, cache: Path | None = None) -> str:
    """Run a command to its end, and return what it printed."""
    environment = os.environ | ({"RVCNN_CACHE_DIR": str(cache)} if cache else {})
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def seconds(arguments: list[str], folder: Path, cache: Path | None = None) -> float:
    """How long rvcnn takes from its start to its end."""
    start = perf_counter()
    run([*COMMAND, *arguments], folder, cache)
    return perf_counter() - start


def megabytes(arguments: list[str], folder: Path) -> float:
    """Peak memory of rvcnn."""
    peak = int(run([sys.executable, "-S", "-c", WAIT, *COMMAND, *arguments], folder))
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes, Linux kilobytes


def measure_start(given, work: Path) -> dict[str, list[list[float]]]:
    """Seconds of each way to start, in turns."""
    photographs.make(work / "one", 1, given.seed)
    embed = ["embed", "one", "--rebuild", "--quiet"]
    seconds(embed, work)
    blocks = {"embed of one image": [], "--help": []}
    if not given.quick:
        blocks["first embed of one image ever"] = []
    for i in common.counted(given.rounds):
        blocks["embed of one image"].append([seconds(embed, work) for _ in range(3)])
        blocks["--help"].append([seconds(["--help"], work) for _ in range(3)])
        if not given.quick:
            cold = work / f"cold{i}"
            blocks["first embed of one image ever"].append([seconds(embed, work, cold)])
            shutil.rmtree(cold)
    return blocks


def measure_memory(given, work: Path) -> dict[str, list[list[float]]]:
    """Megabytes of a fresh process over each number of photographs."""
    if not hasattr(os, "wait4"):
        common.note("this system does not tell a process's peak memory")
        return {}
    blocks = {}
    for count in given.images:
        folder = work / f"photographs{count}"
        case = photographs.make(folder, count, given.seed)
        embed = ["embed", folder.name, "--rebuild", "--quiet", "-j", str(given.workers)]
        blocks[f"embed {case}"] = [[megabytes(embed, work)] for _ in range(given.memory_rounds)]
        shutil.rmtree(folder)
    return blocks


def main() -> None:
    """Measure, print, and write the rows."""
    parser = common.arguments(__doc__, rounds=5)
    parser.add_argument(
        "--images",
        type=int,
        nargs="+",
        default=[500, 5000],
        help="photographs over which memory is measured",
    )
    parser.add_argument("--memory-rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.quick:
        given.images, given.rounds, given.memory_rounds = [3, 6], 1, 1
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        print(f"{'':40}{'median':>9}{'min':>9}{'noise %':>9}")
        for unit, measured in (("s", measure_start), ("MB", measure_memory)):
            for case, series in measured(given, work).items():
                summary = common.summarise(series)
                print(
                    f"{case:40}{summary.median:9.3f}{summary.min:9.3f}{summary.noise:9.1f}  {unit}"
                )
                rows.append(
                    common.row(
                        "startup",
                        "rvcnn",
                        case,
                        unit,
                        summary,
                        versions=common.versions("rvcnn", "numba"),
                    )
                )
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
