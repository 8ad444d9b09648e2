"""Searching an index of many vectors: held as float32 against held as int8.

Two indexes on disk with the same seeded vectors, round random centres, searched by turns: one query
after another, each another one, on one thread and on more. The exact float32 scan says which the
nearest are; recall is how many of them the other finds.

    python benchmarks/scan.py
    python benchmarks/scan.py --count 100000 --dim 1024 --threads 1 4
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

import common
import numpy as np

from rvcnn.index import Index, exact
from rvcnn.index.formats import FORMATS, Rows

CHUNK = 20_000
QUERIES = 200
NEAREST = 10
NOISE = 0.3
"""Of a query against the vector that it is taken from, in lengths of either."""


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of unit length."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def vectors(given) -> Iterator[np.ndarray]:
    """Unit vectors round random centres, a chunk at a time."""
    rng = np.random.default_rng(given.seed)
    centres = unit(rng.standard_normal((given.clusters, given.dim), np.float32))
    for start in range(0, given.count, CHUNK):
        size = min(CHUNK, given.count - start)
        spread = rng.standard_normal((size, given.dim), np.float32)
        spread *= given.spread / np.sqrt(given.dim)
        yield unit(centres[rng.integers(0, given.clusters, size)] + spread)


def queries_near(rows: np.ndarray, seed: int) -> np.ndarray:
    """Unit vectors that are near some of the index."""
    rng = np.random.default_rng(seed)
    some = rows[rng.integers(0, len(rows), QUERIES)]
    noise = rng.standard_normal(some.shape, np.float32) * NOISE / np.sqrt(some.shape[1])
    return unit(some + noise).astype(np.float32)


def make_indexes(given, folder: Path) -> dict[str, Index]:
    """An index of the same vectors in each format."""
    indexes = {}
    for dtype in FORMATS:
        index = indexes[dtype] = Index.create(folder / dtype, given.dim, dtype=dtype)
        with index.writer() as writer:
            for number, rows in enumerate(vectors(given)):
                writer.add(rows, [f"{number}/{i}" for i in range(len(rows))])
    return indexes


def recall(indexes: dict[str, Index], queries: np.ndarray) -> dict[str, float]:
    """Share of the queries' nearest by float32 that int8 finds, and that its upper bytes would."""
    best = indexes["float32"].search(queries, NEAREST).rows
    with indexes["int8"].snapshot() as now:
        high, low, scale = now.all_vectors.planes
        coarse = Rows("int8", (high, np.zeros(low.shape, np.int8), scale))
        found = {
            "int8": now.top_k(queries, NEAREST)[0],
            "int8, upper bytes alone": exact.top_k(coarse, queries, NEAREST, "dot")[0],
        }
    return {
        name: float(np.mean([len({*a} & {*b}) / NEAREST for a, b in zip(best, rows, strict=True)]))
        for name, rows in found.items()
    }


def measure(given, indexes: dict[str, Index], queries: np.ndarray) -> dict[tuple, list]:
    """Blocks of milliseconds of one search, of every index on every number of threads."""
    series = {key: [] for key in itertools.product(indexes, given.threads)}
    rng, turn = random.Random(given.seed), itertools.cycle(queries)
    for _ in common.counted(given.rounds + 1):
        for dtype, threads in rng.sample(list(series), len(series)):
            block, end = [], perf_counter() + given.seconds
            while not block or perf_counter() < end:
                query, start = next(turn), perf_counter()
                indexes[dtype].search(query, NEAREST, workers=threads)
                block.append(1e3 * (perf_counter() - start))
            series[dtype, threads].append(block)
    return {key: blocks[1:] for key, blocks in series.items()}  # the first round warms up


def scanned(index: Index) -> int:
    """Bytes that every search of an index reads: those of its first plane."""
    suffix = FORMATS[index.dtype].planes(1)[0].suffix
    return sum(file.stat().st_size for file in index.location.glob(f"vectors*.{suffix}"))


def report(given, indexes, found, series) -> list[dict]:
    """Print the results, and return their rows."""
    case = f"{given.count} x {given.dim}, top {NEAREST}"
    print(f"\n{case}, {given.clusters} clusters, spread {given.spread:g}")
    print(f"{'':9}{'threads':>8}{'median ms':>11}{'min':>9}{'noise %':>9}{'GB/s':>7}{'faster':>8}")
    rows = []
    for (dtype, threads), blocks in series.items():
        summary = common.summarise(blocks)
        rate = scanned(indexes[dtype]) / summary.median / 1e6
        ratio = common.paired_ratio(series["float32", threads], blocks)
        print(
            f"{dtype:9}{threads:8}{summary.median:11.2f}{summary.min:9.2f}{summary.noise:9.1f}"
            f"{rate:7.1f}{ratio:8.2f}"
        )
        more = {"threads": threads, "mode": "search", "rate": rate, "rate_unit": "GB/s"}
        more |= {"ratio": ratio, "ratio_to": "float32's time to this"}
        rows.append(common.row("scan", dtype, case, "ms", summary, **more))
    for dtype, index in indexes.items():
        total = sum(file.stat().st_size for file in index.location.glob("vectors*"))
        print(f"{dtype}: a search reads {scanned(index) >> 20} MiB of {total >> 20} MiB")
    for name, share in found.items():
        print(f"{name}: recall@{NEAREST} {share:.4f}")
        summary = common.summarise([[share]])
        mode = f"recall@{NEAREST} of {QUERIES} queries"
        rows.append(common.row("scan", name, case, "share", summary, mode=mode))
    return rows


def main() -> None:
    """Make the indexes, compare their answers, measure, and write the rows."""
    parser = common.arguments(__doc__, rounds=9)
    parser.add_argument("--count", type=int, default=1_000_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--spread", type=float, default=0.5, help="of a cluster, in unit lengths")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    if given.quick:
        given.count, given.dim, given.rounds, given.seconds = 3000, 64, 2, 0.01
    with tempfile.TemporaryDirectory() as temporary:
        indexes = make_indexes(given, Path(temporary))
        queries = queries_near(next(vectors(given)), given.seed + 1)
        found = recall(indexes, queries)
        rows = report(given, indexes, found, measure(given, indexes, queries))
        for index in indexes.values():
            index.close()
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
