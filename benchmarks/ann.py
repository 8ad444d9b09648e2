"""Approximate search in rvcnn and other engines: building, queries a second, recall, memory.

The vectors are embeddings of crops of photographs, of which the queries are held out, and beyond
200,000 draws of a mixture fitted to them. An engine builds its index in one process and serves it
in another, where each query is asked alone, on one thread, at the least effort that reaches the
recall. All find rows and scores; rvcnn's scores are exact. The last columns are of a whole process
that opens the index and answers one query.

    python benchmarks/ann.py
    python benchmarks/ann.py --sizes 10000 100000 1000000 --vectors int8 --recall 0.9
    python benchmarks/ann.py --sizes 600 1000 2000 4000 --engines rvcnn rvcnn-exact
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import common
import numpy as np

K = 10
EFFORTS = (10, 11, 12, 14, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
BATCH = 200
"""Queries of a sample: one call each, or all in one call where an engine takes many."""


def memory() -> float:
    """MB that this process holds, of files that it has mapped too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return float("nan")


class Rvcnn:
    """An index on disk, with its graph."""

    def __init__(self, folder, dim, dtype="float32"):
        from rvcnn.index import Index

        self._open = Index.open
        self._make = lambda: Index.create(folder, dim, dtype=dtype)
        self._folder = folder

    def write(self, vectors):
        index = self._make()
        with index.writer() as writer:
            for start in range(0, len(vectors), 20_000):
                part = vectors[start : start + 20_000]
                writer.add(part, [f"{i:07}.jpg" for i in range(start, start + len(part))])
        return index

    def build(self, vectors, threads):
        index = self.write(vectors)
        start = perf_counter()
        index.build_ann(workers=threads)
        return perf_counter() - start

    def open(self):
        self._index = self._open(self._folder)

    def search(self, queries, effort):
        with self._index.snapshot() as now:
            return now.top_k(queries, K, workers=1, exactly=False, effort=effort)[0]


class RvcnnExact(Rvcnn):
    """An index on disk, without a graph."""

    def build(self, vectors, threads):
        self.write(vectors)
        return 0.0

    def search(self, queries, effort):
        with self._index.snapshot() as now:
            return now.top_k(queries, K, workers=1)[0]


class Hnswlib:
    """hnswlib's index, with M = 16 and ef_construction = 200."""

    def __init__(self, folder, dim):
        import hnswlib

        self._file = os.path.join(folder, "hnswlib.bin")
        self._index = hnswlib.Index("ip", dim)

    def build(self, vectors, threads):
        vectors = np.array(vectors)
        start = perf_counter()
        self._index.init_index(len(vectors), M=16, ef_construction=200, random_seed=0)
        self._index.add_items(vectors, num_threads=threads)
        seconds = perf_counter() - start
        self._index.save_index(self._file)
        return seconds

    def open(self):
        self._index.load_index(self._file)

    def search(self, queries, effort):
        self._index.set_ef(effort)
        return self._index.knn_query(queries, K, num_threads=1)[0]


class Faiss:
    """faiss's HNSW, with the same parameters."""

    def __init__(self, folder, dim):
        import faiss

        self._faiss, self._file = faiss, os.path.join(folder, "faiss.bin")
        self._index = faiss.IndexHNSWFlat(dim, 16, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = 200

    def build(self, vectors, threads):
        self._faiss.omp_set_num_threads(threads)
        vectors = np.array(vectors)
        start = perf_counter()
        self._index.add(vectors)
        seconds = perf_counter() - start
        self._faiss.write_index(self._index, self._file)
        return seconds

    def open(self):
        self._faiss.omp_set_num_threads(1)
        self._index = self._faiss.read_index(self._file)

    def search(self, queries, effort):
        self._index.hnsw.efSearch = effort
        return self._index.search(queries, K)[1]


class Pynndescent:
    """pynndescent's index of 60 neighbours: an effort of 10 is an epsilon of 0.1.

    Much of what builds it is compiled in every process, which the time of a build includes.
    """

    def __init__(self, folder, dim):
        self._file = os.path.join(folder, "pynndescent.pickle")

    def build(self, vectors, threads):
        import numba

        numba.set_num_threads(threads)
        vectors = np.array(vectors)
        start = perf_counter()
        from pynndescent import NNDescent

        index = NNDescent(vectors, "dot", n_neighbors=60, random_state=0)
        index.prepare()
        seconds = perf_counter() - start
        with open(self._file, "wb") as file:
            pickle.dump(index, file)
        return seconds

    def open(self):
        with open(self._file, "rb") as file:
            self._index = pickle.load(file)

    def search(self, queries, effort):
        return self._index.query(queries, K, epsilon=effort / 100)[0]


ENGINES = {
    "rvcnn": Rvcnn,
    "rvcnn-exact": RvcnnExact,
    "hnswlib": Hnswlib,
    "faiss": Faiss,
    "pynndescent": Pynndescent,
}


def make(engine, folder, file, first, count, queries, build, threads, dtype):
    """What a child does: build and end, or serve."""
    rows = np.load(file, mmap_mode="r")[first : first + count]
    more = {"dtype": dtype} if engine.startswith("rvcnn") else {}
    made = ENGINES[engine](folder, rows.shape[1], **more)
    if build:
        return {"seconds": made.build(rows, threads)}, {}
    asked = np.load(queries)
    made.open()
    before = iter(range(1 << 30))

    def block(effort, seconds, each):
        samples, end = [], perf_counter() + seconds
        while not samples or perf_counter() < end:
            at = next(before) * BATCH % (len(asked) - BATCH + 1)
            some = asked[at : at + BATCH]
            start = perf_counter()
            for query in some if each else ():
                made.search(query[None], effort)
            if not each:
                made.search(some, effort)
            samples.append(1e3 * (perf_counter() - start) / len(some))
        return samples

    def answers(effort):
        return np.asarray(made.search(asked, effort)).tolist()

    return {}, {"block": block, "answers": answers, "memory": lambda: memory()}


def truth(vectors, queries) -> np.ndarray:
    """The rows of the K nearest, by NumPy."""
    best, found = np.full((len(queries), K), -np.inf, np.float32), np.zeros((len(queries), K), int)
    for start in range(0, len(vectors), 20_000):
        scores = queries @ np.asarray(vectors[start : start + 20_000]).T
        near = np.argpartition(-scores, K, axis=1)[:, :K]
        best = np.concatenate([best, np.take_along_axis(scores, near, axis=1)], axis=1)
        found = np.concatenate([found, near + start], axis=1)
        order = np.argsort(-best, axis=1)[:, :K]
        best, found = (np.take_along_axis(a, order, axis=1) for a in (best, found))
    return found


def recall(got, want) -> float:
    return float(np.mean([len({*a} & {*b}) / K for a, b in zip(got, want.tolist(), strict=True)]))


def whole_process(folder, queries) -> float:
    """Seconds of a process that opens an index and answers one query."""
    script = (
        "import sys, numpy as np; from rvcnn.index import Index\n"
        "print(Index.open(sys.argv[1]).search(np.load(sys.argv[2], mmap_mode='r')[0], 10).ids[0])"
    )
    start = perf_counter()
    command = [sys.executable, "-c", script, str(folder), str(queries)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def measure(given, count: int, folder: Path) -> list[dict]:
    """Build, serve and measure every engine at one size; print and return rows."""
    from ann_data import QUERIES, vectors_of

    vectors, queries = vectors_of(given, count)
    asked = folder / "queries.npy"
    np.save(asked, queries[: given.queries])
    want = truth(vectors, queries[: given.queries])
    about = {"file": str(vectors.filename), "first": QUERIES, "count": count}
    about |= {"queries": str(asked), "threads": given.threads, "dtype": given.vectors}
    seconds, children, efforts, recalls = {}, {}, {}, {}
    for engine in given.engines:
        home = folder / engine
        home.mkdir()
        child = common.Child(__file__, engine=engine, folder=str(home), build=True, **about)
        seconds[engine] = child.facts["seconds"]
        child.close()
        common.note(f"{engine}: {count} built in {seconds[engine]:.1f} s")
        child = common.Child(__file__, engine=engine, folder=str(home), build=False, **about)
        for effort in EFFORTS:
            share = recall(child.ask("answers", effort=effort), want)
            common.note(f"{engine}: effort {effort}, recall@{K} {share:.4f}")
            if share >= given.recall:
                break
        children[engine], efforts[engine], recalls[engine] = child, effort, share
    return report(given, count, folder, children, seconds, efforts, recalls)


def report(given, count, folder, children, seconds, efforts, recalls) -> list[dict]:
    """Measure what serves, print the results, and return their rows."""
    case = f"{count} x 512"
    many, alone = ({name: [] for name in children} for _ in range(2))
    for _ in common.counted(given.rounds + 1):
        for name, child in children.items():
            many[name].append(
                child.ask("block", effort=efforts[name], seconds=given.seconds, each=False)
            )
            alone[name].append(
                child.ask("block", effort=efforts[name], seconds=given.seconds, each=True)
            )
    print(f"\n{case}, rvcnn's held as {given.vectors}, one thread; built on {given.threads}")
    print(
        f"{'':12}{'effort':>7}{'recall':>8}{'queries/s':>11}{'faster':>8}{'alone ms':>10}"
        f"{'build s':>9}{'MB':>7}"
    )
    held_as = " int8" if given.vectors == "int8" else ""
    label = {name: name + held_as if name.startswith("rvcnn") else name for name in children}
    rows = []
    for name, child in children.items():
        speed, one = (common.summarise(blocks[name][1:]) for blocks in (many, alone))
        ratio = common.paired_ratio(many["hnswlib"][1:], many[name][1:]) if "hnswlib" in many else 0
        held = child.ask("memory")
        print(
            f"{name:12}{efforts[name]:7}{recalls[name]:8.4f}{1e3 / speed.median:11.0f}{ratio:8.2f}"
            f"{one.median:10.3f}{seconds[name]:9.1f}{held:7.0f}"
        )
        child.close()
        more = {"threads": 1, "mode": f"effort {efforts[name]}, recall@{K} {recalls[name]:.4f}"}
        faster = {"rate": 1e3 / speed.median, "rate_unit": "queries/s", "ratio": ratio}
        faster["ratio_to"] = "hnswlib's time to this"
        rows.append(common.row("ann", label[name], case, "ms", speed, **more, **faster))
        rows.append(common.row("ann", label[name], f"{case}, one query a call", "ms", one, **more))
        figures = {"memory": (held, "MB", 1), "recall": (recalls[name], "share", 1)}
        if seconds[name]:
            figures["build"] = seconds[name], "s", given.threads
        for what, (value, unit, threads) in figures.items():
            summary = common.summarise([[value]])
            rows.append(
                common.row("ann", label[name], f"{case}, {what}", unit, summary, threads=threads)
            )
    for name in (name for name in children if name.startswith("rvcnn")):
        start = common.summarise(
            [[whole_process(folder / name, folder / "queries.npy") for _ in range(5)]]
        )
        print(f"{name}, a whole process with one query: {start.median:.2f} s (min {start.min:.2f})")
        rows.append(common.row("ann", label[name], f"{case}, whole process", "s", start, threads=1))
    return rows


def main() -> None:
    """Measure every size, and write the rows."""
    parser = common.arguments(__doc__, rounds=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    engines = ["rvcnn", "hnswlib", "faiss"]
    parser.add_argument("--engines", nargs="+", default=engines, choices=list(ENGINES))
    parser.add_argument("--vectors", choices=["float32", "int8"], default="float32")
    parser.add_argument("--recall", type=float, default=0.95, help="what efforts are chosen for")
    parser.add_argument("--threads", type=int, default=2, help="that build")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--crops", type=int, default=200_000, help="how many are embedded")
    default = Path(tempfile.gettempdir()) / "rvcnn-benchmarks"
    parser.add_argument("--cache", type=Path, default=default, help="folder of vectors made once")
    given = parser.parse_args()
    if given.child:
        common.serve(make, given.child)
        return
    if given.quick:
        given.sizes, given.crops, given.queries, given.rounds = [400, 900], 400, 200, 1
        given.seconds = 0.01
    rows = []
    for count in given.sizes:
        with tempfile.TemporaryDirectory(dir=_scratch(given)) as temporary:
            rows += measure(given, count, Path(temporary))
    common.write_rows(given.csv, rows)


def _scratch(given) -> Path:
    given.cache.mkdir(parents=True, exist_ok=True)
    return given.cache


if __name__ == "__main__":
    main()
