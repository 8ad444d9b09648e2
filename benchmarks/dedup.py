"""Near-duplicates: all pairs above a threshold, and what a calibrated threshold is worth.

Pairs: vectors round random centres, or those of --vectors FILE.npy, compared with each other by
rvcnn, from float32 and from int8, and by faiss's range search where it is installed: by turns, each
in a process of its own, whose largest memory is told. What rvcnn finds is held against a whole
matrix of float32 products with every near one computed in float64.

Edits: photographs and twelve edits of each. A threshold is calibrated on one half of them and tried
on the other, and the other way round: how many of the edits reach it with their photograph, and
whether any two versions of different photographs do; and the largest cosine that two such have.

    python benchmarks/dedup.py
    python benchmarks/dedup.py --only equal pairs --vectors embeddings.npy --threads 1 2
    RVCNN_TEST_DATA=data python benchmarks/dedup.py --only edits
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import common
import numpy as np
import photographs

DIM = 512
SPREAD = 0.5
BLOCK = 2048
DECIMALS = 6
EDGE = 1e-4
"""What float32 products of unit vectors of so many values are off by at most, many times over."""

# --- all pairs above a threshold --------------------------------------------------------------


def made_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    """Return unit vectors, five on average round each random centre."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, count // 5), dim), np.float32)
    rows = centres[rng.integers(0, len(centres), count)]
    spread = rng.uniform(0, SPREAD, (count, 1)).astype(np.float32)
    rows += spread * rng.standard_normal(rows.shape, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def make_rvcnn(file: str, dtype: str, threshold: float, threads: int):
    """Facts and orders of a child that finds pairs by rvcnn, among vectors as an index has them."""
    from rvcnn.dedup.pairs import pairs_within
    from rvcnn.dedup.vectors import Vectors
    from rvcnn.index import Index
    from rvcnn.kernels import near_pairs

    near_pairs.kernel_for().load()
    index = Index.open(Path(file).with_suffix(f".{dtype}"))

    def find():
        with index.snapshot() as now:
            rows = now.order()
            vectors = Vectors([now.all_vectors], np.zeros(len(rows), np.int64), rows)
            return pairs_within(vectors, threshold, threads)

    def pairs():
        found = find()
        return told(found.first, found.second)

    return {"versions": common.versions("rvcnn")}, {"block": timed(find), "pairs": pairs}


def make_faiss(file: str, threshold: float, threads: int):
    """Facts and orders of a child that finds pairs by faiss."""
    import faiss

    faiss.omp_set_num_threads(threads)
    rows = np.load(file)

    def find():
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        return index.range_search(rows, threshold)

    return {"versions": f"faiss {faiss.__version__}"}, {"block": timed(find)}


def make_whole(file: str, dtype: str, threshold: float, threads: int):
    """Facts and orders of a child that computes the whole matrix."""
    from rvcnn.index.formats import Rows, encode

    rows = np.load(file)
    held = Rows(dtype, (rows,)) if dtype == "float32" else encode(rows, dtype)
    rows = held.vectors("cosine")

    def pairs():
        ends = []
        for i, j in itertools.product(range(0, len(rows), BLOCK), repeat=2):
            if i <= j:
                near = rows[i : i + BLOCK] @ rows[j : j + BLOCK].T >= threshold - EDGE
                first, second = np.nonzero(near)
                first, second = (
                    (first + i)[first + i < second + j],
                    (second + j)[first + i < second + j],
                )
                for at in range(0, len(first), BLOCK):
                    a, b = (rows[e[at : at + BLOCK]].astype(np.float64) for e in (first, second))
                    reached = np.round((a * b).sum(axis=1), DECIMALS) >= threshold
                    ends.append(np.stack([e[at : at + BLOCK][reached] for e in (first, second)]))
        first, second = np.concatenate(ends, axis=1) if ends else np.empty((2, 0), np.int64)
        order = np.lexsort((second, first))
        return told(first[order], second[order])

    return {}, {"pairs": pairs}


MAKERS = {"rvcnn": make_rvcnn, "faiss": make_faiss, "whole": make_whole}


def make_child(engine: str, **settings):
    """Facts and orders of an engine's child."""
    return MAKERS[engine](**settings)


def timed(find):
    """An order that answers the milliseconds of one search and the process's largest memory."""

    def block():
        started = perf_counter()
        find()
        return [1e3 * (perf_counter() - started), largest_memory()]

    return block


def largest_memory() -> float:
    """Return the most memory that this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # its own; what getrusage says begins with its parent's
        (line,) = (t for t in status.read_text().splitlines() if t.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / (1e6 if sys.platform == "darwin" else 1e3)


def told(first: np.ndarray, second: np.ndarray) -> list:
    """Return how many pairs these are, and their digest."""
    data = np.stack([first, second]).astype("<i8").tobytes()
    return [len(first), hashlib.sha256(data).hexdigest()]


def write_indexes(rows: np.ndarray, file: Path) -> None:
    """Write vectors as an array, and as an index in each format, its ids in their order."""
    from rvcnn.index import Index

    np.save(file, rows)
    for dtype in ("float32", "int8"):
        index = Index.create(file.with_suffix(f".{dtype}"), rows.shape[1], dtype=dtype)
        with index.writer() as writer:
            writer.add(rows, [f"{i:09}" for i in range(len(rows))])


def prepared(given, folder: Path) -> tuple[str, dict]:
    """Write the vectors where there are none yet; their description, and what children are told."""
    file = folder / "vectors.npy"
    if not file.exists():
        rows = (
            np.load(given.vectors) if given.vectors else made_vectors(given.count, DIM, given.seed)
        )
        write_indexes(np.ascontiguousarray(rows[: given.count], np.float32), file)
    count, dim = np.load(file, mmap_mode="r").shape
    case = f"{count} x {dim}, cosine {given.threshold:g}"
    return case, {"file": str(file), "threshold": given.threshold}


def equal(given, folder: Path) -> list[dict]:
    """Hold what rvcnn finds against the whole matrix."""
    case, settings = prepared(given, folder)
    settings["threads"] = given.threads[-1]
    rows = []
    for dtype in ("float32", "int8"):
        found, want = (
            one_answer("pairs", engine=engine, dtype=dtype, **settings)
            for engine in ("rvcnn", "whole")
        )
        verdict = "the same as" if found == want else "DIFFERENT from"
        print(f"{dtype}: {found[0]:,} pairs, {verdict} the whole matrix's {want[0]:,}")
        if found != want:
            sys.exit(1)
        count = common.summarise([[found[0]]])
        more = {"mode": "equal to the whole matrix", "threads": given.threads[-1]}
        rows.append(common.row("dedup", f"rvcnn {dtype}", case, "pairs", count, **more))
    return rows


def pairs(given, folder: Path) -> list[dict]:
    """Find all pairs by each engine: in what time and memory."""
    case, settings = prepared(given, folder)
    engines = [{"engine": "rvcnn", "dtype": dtype} for dtype in ("float32", "int8")]
    if importlib.util.find_spec("faiss"):
        engines.append({"engine": "faiss"})
    children = {
        (*engine.values(), threads): common.Child(__file__, threads=threads, **engine, **settings)
        for engine, threads in itertools.product(engines, given.threads)
    }
    series = common.in_random_order(children, given.rounds, given.seed)
    versions = {key: child.facts["versions"] for key, child in children.items()}
    for child in children.values():
        child.close()
    return report_pairs(case, series, versions)


def one_answer(order: str, **settings):
    """What a child answers to one order."""
    child = common.Child(__file__, **settings)
    answer = child.ask(order)
    child.close()
    return answer


def report_pairs(case: str, series: dict, versions: dict) -> list[dict]:
    """Print times and memory, and return their rows."""
    print(f"\nall pairs of {case}")
    print(f"{'':16}{'threads':>8}{'median s':>10}{'min':>8}{'MB':>8}{'of faiss':>10}")
    rows = []
    for (*engine, threads), blocks in series.items():
        times = [[ms] for ms, _ in blocks]
        summary = common.summarise(times)
        memory = max(mb for _, mb in blocks)
        name = " ".join(engine)
        more = {"threads": threads, "mode": "all pairs", "rate": memory, "rate_unit": "MB at most"}
        shown = ""
        if ("faiss", threads) in series:
            ratio = common.paired_ratio(times, [[ms] for ms, _ in series["faiss", threads]])
            more |= {"ratio": ratio, "ratio_to": "faiss IndexFlatIP range search"}
            shown = f"{ratio:.3f}"
        print(
            f"{name:16}{threads:8}{summary.median / 1e3:10.2f}{summary.min / 1e3:8.2f}"
            f"{memory:8.0f}{shown:>10}"
        )
        more["versions"] = versions[(*engine, threads)]
        rows.append(common.row("dedup", name, case, "ms", summary, **more))
    return rows


# --- thresholds -------------------------------------------------------------------------------


def edits(given, _: Path) -> list[dict]:
    """Calibrate on one half of the photographs, try the threshold on the other, and reversed."""
    if not photographs.real():
        common.note("thresholds take photographs of different things: RVCNN_TEST_DATA has none")
        return []
    from rvcnn import Embedder
    from rvcnn.dedup.calibrate import calibrate

    files = photographs.real()[: given.photographs]
    what = f"{len(files)} photographs"
    order = np.random.default_rng(given.seed).permutation(len(files))
    halves = [sorted(files[i] for i in order[start::2]) for start in (0, 1)]
    embedder = Embedder()
    rows, vectors = [], []
    for number, (other, half) in enumerate((halves, halves[::-1])):
        found = calibrate(embedder, other, given.rate, sample=len(other))
        kind = "extrapolated" if found.extrapolated else "counted"
        print(
            f"\ncalibrated on {found.pictures} of {what}: {given.rate:g} of pairs ({kind}) "
            f"reach {found.threshold:.4f}; {len(found.same)} set aside"
        )
        groups = [*([file] for file in half), *near_duplicates()]
        jobs, versions = embed_versions(embedder, groups)
        rows += try_threshold(jobs, versions, found.threshold, f"{what}, half {number + 1}")
        vectors.append(versions[: len(half)])
    highest = most_alike(np.concatenate(vectors))
    print(f"\ntwo versions of different ones of {what} have a cosine of {highest:.4f} at most")
    summary = common.summarise([[highest]])
    return [*rows, common.row("dedup", "different", what, "cosine", summary, mode="at most")]


def near_duplicates() -> list[list[Path]]:
    """Return the files of images/neardup, which are all of one picture, as a group."""
    data = os.environ.get("RVCNN_TEST_DATA")
    folder = Path(data, "images", "neardup") if data else None
    return [sorted(folder.iterdir())] if folder and folder.is_dir() else []


def embed_versions(embedder, groups: list[list[Path]]) -> tuple[list, np.ndarray]:
    """Return each file with its group's number, and the vectors of it and its edits: (N, 13, D)."""
    from rvcnn.dedup.edits import EDITS, edited
    from rvcnn.images import decode
    from rvcnn.threads import available_cpus, ordered_map

    jobs = [(owner, file) for owner, files in enumerate(groups) for file in files]

    def versions(job):
        number, (_, file) = job
        image = decode(file).image
        images = [image, *(edited(image, name, number + 1000) for name in EDITS)]
        return np.stack([embedder.embed_one(version) for version in images])

    workers = available_cpus()
    return jobs, np.stack(list(ordered_map(versions, enumerate(jobs), workers, 2 * workers)))


def most_alike(rows: np.ndarray) -> float:
    """Return the largest cosine of versions of different pictures, of (N, versions, D) vectors."""
    flat = rows.reshape(-1, rows.shape[2])
    highest = -1.0
    for number, versions in enumerate(rows[:-1]):
        later = flat[(number + 1) * rows.shape[1] :]
        highest = max(highest, float((later @ versions.T).max()))
    return highest


def try_threshold(jobs: list, rows: np.ndarray, threshold: float, case: str) -> list[dict]:
    """Say which share of edits a threshold finds, and how many false pairs; return the rows."""
    from rvcnn.dedup.edits import EDITS
    from rvcnn.dedup.pairs import pairs_within
    from rvcnn.dedup.vectors import Vectors

    cosines = np.einsum("id,ijd->ij", rows[:, 0], rows[:, 1:], dtype=np.float64)
    flat = np.ascontiguousarray(rows.reshape(-1, rows.shape[2]))
    owner = np.repeat([owner for owner, _ in jobs], rows.shape[1])
    found = pairs_within(Vectors.of(flat), threshold)
    false = int((owner[found.first] != owner[found.second]).sum())
    counts = np.bincount(owner)
    different = (counts.sum() ** 2 - (counts**2).sum()) // 2
    print(f"on {case}: {false} false pairs of {different:,}")
    table = []
    for name, values in zip(EDITS, cosines.T, strict=True):
        share = float((values >= threshold).mean())
        print(f"  {name:15} {share:7.1%} found, the least alike {values.min():.3f}")
        summary = common.summarise([[max(share, 1e-9)]])
        more = {"mode": f"recall, {name}", "rate": threshold, "rate_unit": "cosine"}
        table.append(common.row("dedup", "calibrated", case, "share", summary, **more))
    summary = common.summarise([[false + 1.0]])
    mode = f"1 + false pairs of {different}"
    return [*table, common.row("dedup", "calibrated", case, "pairs", summary, mode=mode)]


# --- orientations -----------------------------------------------------------------------------


def orientations(given, folder: Path) -> list[dict]:
    """Measure what the seven other orientations of a picture cost beside embedding it."""
    from rvcnn import Embedder
    from rvcnn.dedup.orientations import embed_orientations
    from rvcnn.images import decode

    where = folder / "turned"
    what = photographs.fill(where, min(given.photographs, 64), given.seed)
    files, embedder = sorted(where.iterdir()), Embedder()
    side = embedder.preprocess.resize
    series: dict[str, list] = {"as it is": [], "in eight orientations": []}
    for _ in range(given.rounds + 1):
        for name, embed in zip(
            series, (embedder.embed_decoded, lambda d: embed_orientations(embedder, d)), strict=True
        ):
            block = []
            for file in files:
                started = perf_counter()
                embed(decode(file, min_side=side))
                block.append(1e3 * (perf_counter() - started))
            series[name].append(block)
    rows = []
    print(f"\nms a picture, one thread, {what}")
    for name, blocks in series.items():
        summary = common.summarise(blocks[1:])
        print(f"  {name:22} {summary.median:6.2f}")
        more = {"threads": 1, "mode": "decode and embed"}
        rows.append(common.row("dedup", name, what, "ms", summary, **more))
    return rows


PARTS = {"equal": equal, "pairs": pairs, "edits": edits, "orientations": orientations}


def main() -> None:
    """Measure the parts that are asked for, and write their rows."""
    parser = common.arguments(__doc__, rounds=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--vectors", type=Path, metavar="FILE", help="(N, D) float32 .npy")
    parser.add_argument("--count", type=int, default=100_000, help="vectors at most")
    parser.add_argument("--threshold", type=float, default=0.85, help="the least cosine")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--photographs", type=int, default=500)
    parser.add_argument("--rate", type=float, default=1e-6, help="of false pairs, to calibrate for")
    given = parser.parse_args()
    if given.child:
        return common.serve(make_child, given.child)
    if given.quick:
        given.count, given.photographs, given.rounds, given.threads = 2500, 20, 1, [2]
    with tempfile.TemporaryDirectory() as temporary:
        rows = [row for part in given.only for row in PARTS[part](given, Path(temporary))]
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
