"""What changed between two results files, beyond the noise.

A difference counts when it is above a floor and above three times the larger noise that the two
files give for that series. Exit code 1 if anything became slower or larger.

    python benchmarks/compare.py benchmarks/results/0.1.0.csv mine.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

SERIES = ("benchmark", "engine", "case", "threads", "mode", "unit", "target")
"""Columns that together name a series."""

MORE_IS_BETTER = ("images/s", "GFLOP/s", "GB/s", "%")


def read(path: Path) -> dict[tuple, dict]:
    """Rows of a results file by their series; of a series measured twice, the last."""
    with open(path, newline="", encoding="utf-8") as file:
        return {tuple(row[column] for column in SERIES): row for row in csv.DictReader(file)}


def changes(before: dict, after: dict, floor: float) -> list[tuple[float, tuple, dict, dict]]:
    """Series that differ beyond the noise, by how much worse they got in percent, worst first."""
    found = []
    for key in before.keys() & after.keys():
        old, new = before[key], after[key]
        percent = 100 * (float(new["median"]) / float(old["median"]) - 1)
        limit = max(floor, 3 * float(old["noise"]), 3 * float(new["noise"]))
        if abs(percent) > limit:
            worse = -percent if key[SERIES.index("unit")] in MORE_IS_BETTER else percent
            found.append((worse, key, old, new))
    return sorted(found, key=lambda change: (-change[0], change[1]))


def main() -> int:
    """Print the changes; 1 if one is for the worse."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--floor", type=float, default=3.0, help="least difference in percent")
    given = parser.parse_args()
    before, after = read(given.before), read(given.after)
    machines = {row["machine"] for row in (*before.values(), *after.values())}
    if len(machines) > 1:
        print(f"different machines: {', '.join(sorted(machines))}", file=sys.stderr)
    found = changes(before, after, given.floor)
    for worse, key, old, new in found:
        name = " ".join(part for part in key if part)
        word = "worse" if worse > 0 else "better"
        print(f"{abs(worse):6.1f} % {word:7}{old['median']:>10} {new['median']:>10}  {name}")
    both = len(before.keys() & after.keys())
    print(f"{both} series in both files, {len(found)} differ beyond the noise", file=sys.stderr)
    return int(any(worse > 0 for worse, *_ in found))


if __name__ == "__main__":
    sys.exit(main())
