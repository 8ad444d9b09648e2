"""Searching among the images that a filter keeps, from all of them down to one in ten thousand.

The vectors of `scan.py` with one metadata key for each share, drawn at random. Searches without a
filter, and with one that keeps each share, take turns: one query after another, each another one.
What they find is compared with a full sort of the kept rows' scores in NumPy. The first search with
a filter also reads the metadata; later ones of the same commit do not.

    python benchmarks/filters.py
    python benchmarks/filters.py --count 1000000 --vectors int8
"""

from __future__ import annotations

import itertools
import random
import tempfile
from time import perf_counter

import common
import numpy as np
import scan

from rvcnn.index import Index
from rvcnn.index.formats import FORMATS

SHARES = {"all": 1.0, "half": 0.5, "hundredth": 0.01, "tenthousandth": 0.0001}
NEAREST = scan.NEAREST
COMPARED = 50
"""Queries of which the answers are compared with brute force."""


def kept_by(given) -> dict[str, np.ndarray]:
    """Which rows each filter keeps."""
    rng = np.random.default_rng(given.seed + 2)
    kept = {}
    for name, share in SHARES.items():
        kept[name] = np.zeros(given.count, bool)
        kept[name][rng.permutation(given.count)[: max(1, round(share * given.count))]] = True
    return kept


def make_index(given, folder: str, kept: dict[str, np.ndarray]) -> Index:
    """An index of tagged vectors."""
    index = Index.create(folder, given.dim, dtype=given.vectors)
    with index.writer() as writer:
        done = 0
        for rows in scan.vectors(given):
            numbers = range(done, done + len(rows))
            tags = [{"number": n, **{k: True for k in kept if kept[k][n]}} for n in numbers]
            writer.add(rows, [f"{n:07d}" for n in numbers], tags)
            done += len(rows)
    return index


def agreement(index: Index, kept: dict[str, np.ndarray], queries: np.ndarray) -> dict[str, float]:
    """Share of the places whose image a full sort of the kept rows' scores has there, too.

    Images whose scores are equal to six decimals may change places.
    """
    queries, shares = queries[:COMPARED], {}
    scores = np.empty((len(queries), len(index)))
    vectors = index.vectors()
    for start in range(0, len(vectors), scan.CHUNK):
        part = slice(start, start + scan.CHUNK)
        scores[:, part] = queries.astype(np.float64) @ vectors[part].astype(np.float64).T
    for name, mask in kept.items():
        found = index.search(queries, NEAREST, where=name)
        same = []
        for ids, of_query in zip(found.ids, scores, strict=True):
            best = -np.sort(-of_query[mask])[:NEAREST]
            rows = [int(identity) for identity in ids]
            right = mask[rows] & (len(set(rows)) == len(best))
            same.append(np.mean(right & (np.abs(of_query[rows] - best) < 1e-6)))
        shares[name] = float(np.mean(same))
    return shares


def first_times(given, index: Index) -> dict[str, float]:
    """Milliseconds of the first search with a filter, which reads what it asks for."""
    query = np.ones(given.dim, np.float32)
    times = {}
    for name, where in {"metadata": "number >= 0", "a column": "added_at > 0"}.items():
        index.close()
        index.search(query, NEAREST, workers=1)
        start = perf_counter()
        index.search(query, NEAREST, workers=1, where=where)
        times[name] = 1e3 * (perf_counter() - start)
    return times


def measure(given, index: Index, queries: np.ndarray) -> dict[str, list]:
    """Blocks of milliseconds of one search on one thread, with each filter and without."""
    series = {name: [] for name in ("no filter", *SHARES)}
    rng, turn = random.Random(given.seed), itertools.cycle(queries)
    for _ in common.counted(given.rounds + 1):
        for name in rng.sample(list(series), len(series)):
            where = None if name == "no filter" else name
            block, end = [], perf_counter() + given.seconds
            while not block or perf_counter() < end:
                query, start = next(turn), perf_counter()
                index.search(query, NEAREST, workers=1, where=where)
                block.append(1e3 * (perf_counter() - start))
            series[name].append(block)
    return {name: blocks[1:] for name, blocks in series.items()}  # the first round warms up


def report(given, agreed, first, series) -> list[dict]:
    """Print the results, and return their rows."""
    case = f"{given.count} x {given.dim}, {given.vectors}, top {NEAREST}"
    print(f"\n{case}, one thread")
    print(f"{'filter keeps':15}{'median ms':>11}{'min':>9}{'noise %':>9}{'as brute force':>16}")
    rows = []
    for name, blocks in series.items():
        summary = common.summarise(blocks)
        same = f"{agreed[name]:16.4f}" if name in agreed else ""
        print(f"{name:15}{summary.median:11.2f}{summary.min:9.2f}{summary.noise:9.1f}{same}")
        rows.append(common.row("filters", name, case, "ms", summary, threads=1, mode="search"))
    for name, share in agreed.items():
        summary = common.summarise([[share]])
        rows.append(common.row("filters", name, case, "share", summary, mode="as brute force"))
    for name, milliseconds in first.items():
        print(f"first search of a commit that reads {name}: {milliseconds:.0f} ms")
        summary = common.summarise([[milliseconds]])
        rows.append(common.row("filters", name, case, "ms", summary, threads=1, mode="first"))
    return rows


def main() -> None:
    """Make the index, compare with brute force, measure, and write the rows."""
    parser = common.arguments(__doc__, rounds=9)
    parser.add_argument("--count", type=int, default=200_000, help="vectors")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--vectors", choices=FORMATS, default="float32")
    given = parser.parse_args()
    given.clusters, given.spread = 1000, 0.5
    if given.quick:
        given.count, given.dim, given.rounds, given.seconds = 3000, 64, 2, 0.01
    with tempfile.TemporaryDirectory() as temporary:
        kept = kept_by(given)
        with make_index(given, temporary, kept) as index:
            queries = scan.queries_near(next(scan.vectors(given)), given.seed + 1)
            agreed = agreement(index, kept, queries)
            first = first_times(given, index)
            rows = report(given, agreed, first, measure(given, index, queries))
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
