"""A folder of photographs, from files to vectors, beside a script written by hand.

rvcnn in memory and with its index on disk, against Pillow, a pool of threads and ONNX Runtime with
as many workers: images a second, in alternation, each in a process of its own. The script decodes
JPEGs in full, at the reduced size that rvcnn's rule allows, and at the smallest that Pillow gives,
which costs accuracy.

    python benchmarks/folder.py -o benchmarks/results/mine.csv
    python benchmarks/folder.py --large
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import common
import networks
import numpy as np

import rvcnn
from rvcnn.images.decode import DRAFT_MARGIN

MARGINS = {"script": None, "script, reduced": DRAFT_MARGIN, "script, most reduced": 1.0}
RVCNN = {
    "rvcnn": ("fp32", False),
    "rvcnn, index": ("fp32", True),
    "rvcnn int8": ("int8", False),
    "rvcnn int8, index": ("int8", True),
}
"""Precision, and whether the index is written."""

AGREEMENT = {"fp32": 0.01, "int8": 0.2}
"""Largest 1 - cosine to the script's vector after a full decode."""

CHECKED = 8


# --- the child --------------------------------------------------------------------------------


def make_engine(
    engine: str, folder: str, onnx: str, weights: str | None, workers: int
) -> tuple[dict, dict[str, Callable]]:
    """An engine's orders: ``rows`` of a few images, and ``block``: images a second over all."""
    paths = sorted(Path(folder).glob("*.*"))
    precision, index = RVCNN.get(engine, ("fp32", False))
    embedder = rvcnn.Embedder(weights=weights, workers=workers, precision=precision)
    if engine in RVCNN:
        embed = embedder.embed
        versions = common.versions("rvcnn", "numba", "pillow")
    else:
        from script import Script

        embed = Script(onnx, embedder.preprocess, workers, MARGINS[engine]).embed
        versions = common.versions("onnxruntime", "pillow")

    def run():
        if index:
            from rvcnn.folder import update

            update(folder, embedder, rebuild=True, workers=workers)
        else:
            embed(paths)

    def block():
        start = perf_counter()
        run()
        return [len(paths) / (perf_counter() - start)]

    facts = {"versions": versions}
    return facts, {"rows": lambda: embed(paths[:CHECKED]).astype(float).tolist(), "block": block}


# --- the parent -------------------------------------------------------------------------------


def check(children: dict[str, common.Child]) -> None:
    """Compare the first images' vectors with those after a full decode; exit where one is off."""
    rows = {name: np.array(child.ask("rows")) for name, child in children.items()}
    reference = rows.get("script", next(iter(rows.values())))
    for name, mine in rows.items():
        cosine = (mine * reference).sum(1).min()
        common.note(f"{name}: cosine to the full decode at least {cosine:.5f}")
        limit = AGREEMENT[RVCNN.get(name, ("fp32",))[0]]
        if name != "script, most reduced" and not 1 - cosine <= limit:
            raise SystemExit(f"{name} is off")


def measure(given, folder: Path, case: str, onnx: str) -> list[dict]:
    """Rows of every engine over one folder."""
    ours = [name for name, (precision, _) in RVCNN.items() if precision in given.precision]
    engines = [*ours, *(MARGINS if onnx else [])]
    settings = {"folder": str(folder), "onnx": onnx, "weights": given.weights}
    children = {
        engine: common.Child(__file__, engine=engine, workers=given.workers, **settings)
        for engine in engines
    }
    check(children)
    for child in children.values():
        child.ask("block")
    blocks = common.in_random_order(children, given.rounds, given.seed)
    print(f"\n{case}, {given.workers} workers: images/s")
    mine = [engine for engine in ("rvcnn", "rvcnn int8") if engine in blocks]
    print(
        f"{'':24}{'median':>9}{'max':>9}{'noise %':>9}", *(f"{name + ' is':>15}" for name in mine)
    )
    rows = []
    for engine, series in blocks.items():
        summary = common.summarise(series)
        ratio, *others = (common.paired_ratio(blocks[name], series) for name in mine)
        best = max(map(max, series))
        times = "".join(f"{r:10.2f} times" for r in (ratio, *others))
        print(f"{engine:24}{summary.median:9.1f}{best:9.1f}{summary.noise:9.1f}{times}")
        more = {"versions": children[engine].facts["versions"], "threads": given.workers}
        # A row's ratio is that of rvcnn's speed to its own.
        more |= {"ratio": ratio, "ratio_to": f"{mine[0]}'s to this"}
        rows.append(common.row("folder", engine, case, "images/s", summary, **more))
    for child in children.values():
        child.close()
    return rows


def export(given, folder: Path) -> str:
    """The network as ONNX for the script; empty if ONNX Runtime or onnx is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        common.note(f"the script is not measured: {error}")
        return ""
    file = folder / "network.onnx"
    model = networks.load(given.weights, "embedding")
    rvcnn.export_onnx(model, file, size=224, batch=1)
    return str(file)


def main() -> None:
    """Make or copy the photographs, measure, and write the rows."""
    parser = common.arguments(__doc__, rounds=7)
    parser.add_argument("--weights", help="safetensors file (default: the embedded model)")
    parser.add_argument("--images", type=int, default=500, help="photographs in the folder")
    parser.add_argument(
        "--large", action="store_true", help="forty of 12 megapixels in their place"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=["fp32", "int8"],
        help="of rvcnn (default: both; fp32 of --weights)",
    )
    given = parser.parse_args()
    if given.child:
        common.serve(make_engine, given.child)
        return
    import photographs

    given.precision = given.precision or (["fp32"] if given.weights else ["fp32", "int8"])
    if given.quick:
        given.images, given.rounds = 10, 2
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photographs")
        if given.large:
            case = photographs.make_large(folder, 1 if given.quick else 40, given.seed)
        else:
            case = photographs.fill(folder, given.images, given.seed)
        rows = measure(given, folder, case, export(given, Path(temporary)))
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
