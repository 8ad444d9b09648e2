"""What int8 costs: rvcnn, OpenVINO and ONNX Runtime, each calibrated on the same photographs.

Top-1 of a classifier, and how many of the ten nearest photographs that fp32 finds int8 finds too
(recall@10, of the embedded model). Every other photograph is calibrated on; figures are given over
all photographs, and over those that no engine was calibrated on. The embedded model is also judged
as it is shipped in int8; its MODEL_CARD.md says what that was calibrated on.

    RVCNN_TEST_DATA=data python benchmarks/quality.py
    python benchmarks/quality.py --weights FILE.safetensors
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cases
import common
import numpy as np
import peers
import photographs

import rvcnn

SIZE = 224
CLASSIFIER = "mobilenetv3_small_in1k_same.safetensors"
NEAREST = 10
ENGINES = str(Path(__file__).with_name("engines.py"))
"""The script whose children run an engine."""

# --- measures ---------------------------------------------------------------------------------


def top1(logits: np.ndarray) -> float:
    """Share of photographs whose class is the k-th one's, 2k."""
    return float((logits.argmax(1) == 2 * np.arange(len(logits))).mean())


def cosines(rows: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Cosine of each row with its reference."""
    return (_unit(rows) * _unit(reference)).sum(1)


def recalls(rows: np.ndarray, reference: np.ndarray, nearest: int = NEAREST) -> np.ndarray:
    """For each row, the share of its nearest other rows that are the reference's nearest."""
    found, wanted = (_nearest(_unit(vectors), nearest) for vectors in (rows, reference))
    return np.array([len({*a} & {*b}) / nearest for a, b in zip(found, wanted, strict=True)])


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _nearest(unit: np.ndarray, count: int) -> np.ndarray:
    scores = unit @ unit.T
    np.fill_diagonal(scores, -np.inf)
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def row(benchmark: str, engine: str, case: str, measure: str, percent: float) -> dict:
    """A row of a results file for a figure that does not vary."""
    summary = common.Summary(percent, percent, percent, percent, 0.0, 1)
    return common.row(benchmark, engine, case, "%", summary, mode=measure)


# --- the script -------------------------------------------------------------------------------


def networks_to_judge(given) -> list[tuple[str, str]]:
    """Weights files and what is taken of them: the embedded model, and a classifier if there is."""
    if given.weights:
        return [(given.weights, given.output)]
    embedded = rvcnn.create_model().weights.source
    data = os.environ.get("RVCNN_TEST_DATA", "")
    classifier = Path(data, "weights", CLASSIFIER)
    known = [(str(classifier), "logits")] if data and classifier.exists() else []
    return [*known, (embedded, "embedding")]


def results(given, weights: str, output: str, pixels: np.ndarray, folder: Path) -> dict:
    """Each engine's rows for all images, with int8 calibrated on every other one."""
    onnx = ""
    if any(peers.ENGINES[engine].needs_onnx for engine in given.engines):
        onnx = cases.write_onnx(weights, output, SIZE, True, folder)
    case = cases.Case(Path(weights).stem, weights, onnx, {})
    case = cases.quantise(given.engines, case, output, pixels[::2], folder)
    jobs = {e: (e, case.job(e, output, SIZE, 1, "latency")) for e in given.engines}
    if weights == rvcnn.create_model().weights.source and "rvcnn-int8" in jobs:
        shipped = rvcnn.create_model(precision="int8").weights.source
        jobs["rvcnn-int8, shipped"] = "rvcnn-int8", jobs["rvcnn-int8"][1]._replace(weights=shipped)
    every, file = folder / "pixels.npy", folder / "rows.npy"
    np.save(every, pixels)
    rows = {}
    for name, (engine, job) in jobs.items():
        child = common.Child(ENGINES, engine=engine, job=job._asdict(), images=1)
        child.ask("rows", pixels=str(every), file=str(file))
        child.close()
        rows[f"{name} {child.facts['precision']}"] = np.load(file)
    return rows


def judge(rows: dict[str, np.ndarray], title: str, classes: bool) -> list[dict]:
    """Print what each engine's rows are worth beside the first one's; rows of a results file."""
    reference = next(iter(rows.values()))
    held = np.arange(len(reference)) % 2 == 1
    print(f"\n{title}: %, over all and over those not calibrated on")
    names = ["recall@10", "cosine", *(["top-1"] if classes else [])]
    print(" " * 30 + "".join(f"{name:>16}" for name in names))
    table = []
    for engine, mine in rows.items():
        recall, cosine = recalls(mine, reference), cosines(mine, reference)
        right = mine.argmax(1) == 2 * np.arange(len(mine))
        each = {"recall@10": recall, "cosine": cosine} | ({"top-1": right} if classes else {})
        shown = "".join(f"{100 * v.mean():9.1f} {100 * v[held].mean():6.1f}" for v in each.values())
        print(f"{engine:30}{shown}")
        table += [row("quality", engine, title, m, 100 * v.mean()) for m, v in each.items()]
        table += [
            row("quality", engine, title, f"{m}, not calibrated on", 100 * v[held].mean())
            for m, v in each.items()
        ]
    return table


def main() -> None:
    """Quantise, run, print a table for each network, and write the rows."""
    parser = common.arguments(__doc__)
    every = [
        name for name in peers.installed() if name == "rvcnn" or peers.ENGINES[name].int8_suffix
    ]
    parser.add_argument("--engines", nargs="+", choices=every, default=every)
    parser.add_argument("--weights", help="safetensors file in place of the usual two")
    parser.add_argument("--output", choices=["logits", "embedding"], default="embedding")
    parser.add_argument("--count", type=int, default=500, help="photographs")
    given = parser.parse_args()
    if given.quick:
        given.count = 24
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kind = photographs.fill(folder / "photographs", given.count, given.seed)
        chosen = sorted((folder / "photographs").iterdir())
        common.note(f"{kind}; calibrated on every other one, from the first")
        table = []
        for weights, output in networks_to_judge(given):
            pixels = cases.pixels(weights, SIZE, chosen)
            rows = results(given, weights, output, pixels, folder)
            classes = output == "logits" and bool(photographs.real())
            title = f"{Path(weights).stem} {output}, {kind}"
            table += judge(rows, title, classes)
    common.write_rows(given.csv, table)


if __name__ == "__main__":
    main()
