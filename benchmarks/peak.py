"""What the machine can do at most: arithmetic in registers, and reading memory of a given size.

python benchmarks/peak.py --threads 1 2 4
"""

from __future__ import annotations

import random

import common

from rvcnn.kernels import lanes
from rvcnn.peak import Peak, ReadBandwidth

SIZES = (16_000, 128_000, 512_000, 2_000_000, 8_000_000, 128_000_000)
"""Bytes: from a first-level cache to what no cache holds."""


def main() -> None:
    """Measure in turns, print, and write the rows."""
    parser = common.arguments(__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    sizes = SIZES[:2] if given.quick else SIZES
    rounds = 2 if given.quick else given.rounds
    gauges = {("registers", n, "GFLOP/s"): Peak(threads=n) for n in given.threads}
    gauges |= {(f"reading {size} bytes", 1, "GB/s"): ReadBandwidth(size) for size in sizes}
    blocks = {key: [] for key in gauges}
    rng = random.Random(given.seed)
    for _ in common.counted(rounds):
        for key in rng.sample(list(gauges), len(gauges)):
            blocks[key].append([gauges[key].sample() for _ in range(10)])
    rows = []
    print(f"{lanes()} lanes of float32{'':16}{'median':>9}{'max':>9}{'noise %':>9}")
    for (case, threads, unit), series in blocks.items():
        summary = common.summarise(series)
        label = f"{case}, {threads} thread{'s' * (threads > 1)}"
        best = max(map(max, series))
        print(f"{label:<35}{summary.median:9.1f}{best:9.1f}{summary.noise:9.1f}  {unit}")
        rows.append(common.row("peak", "peak", case, unit, summary, threads=threads))
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
