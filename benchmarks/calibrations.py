"""What each calibration of int8 is worth: errors of maps and weights, and of the network's results.

Every other photograph is calibrated on. The errors of maps are over the others, the results over
all: cosine and recall@10 with float32's (of a classifier, of its logits), top-1.

    RVCNN_TEST_DATA=data python benchmarks/calibrations.py
    python benchmarks/calibrations.py --calibrations mse pi
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import cases
import common
import numpy as np
import photographs
import quality

from rvcnn import create_model
from rvcnn.graph import INPUT
from rvcnn.passes import optimise
from rvcnn.quantization import CALIBRATIONS, QuantizedTensor, QuantParams, calibrate
from rvcnn.quantization.calibrate import pixel_line
from rvcnn.quantization.file import save
from rvcnn.quantization.layout import byte_nodes
from rvcnn.quantization.pi import widened
from rvcnn.quantization.record import Recorder
from rvcnn.quantization.trial import vectors

SIZE = 224
LOOKED_AT = 32
"""Images whose maps are compared."""

# --- weights ----------------------------------------------------------------------------------


def _by_pi(weights: np.ndarray) -> np.ndarray:
    """Weights rounded with scales times ``1 + (pi - 3) / 2**8``."""
    rows = weights.reshape(len(weights), -1)
    plain = QuantParams.symmetric(rows.min(1), rows.max(1))
    wider = QuantParams(widened(plain.scale), plain.zero_point, plain.dtype)
    return wider.round_trip(rows.T).T.reshape(weights.shape)


def _rounded(ties: str):
    return lambda w: QuantizedTensor.from_weights_per_channel(w, ties).dequantize()


WEIGHTS = {
    "largest value": _rounded("even"),
    "largest value, ties by pi": _rounded("pi"),
    "largest value times pi's factor": _by_pi,
}
"""Ways to round weights for each output channel."""


def weight_errors(graph) -> dict[str, float]:
    """Root mean square of what rounding changes of all weights, in % of theirs, each way."""
    weights = [node.params["weight"] for node in byte_nodes(graph).values()]
    return {name: _percent([(way(w), w) for w in weights]) for name, way in WEIGHTS.items()}


def _percent(pairs) -> float:
    """Root mean square of the differences of pairs, in % of the second ones'."""
    lost, whole = (
        sum(np.square(x, dtype=np.float64).sum() for x in arrays)
        for arrays in ([a - b for a, b in pairs], [b for _, b in pairs])
    )
    return 100 * float(np.sqrt(lost / whole))


# --- maps and results -------------------------------------------------------------------------


def map_error(model, quantization, pixels: np.ndarray) -> float:
    """Root mean square of what a round trip changes of each map, in % of its own: their mean."""
    names = [name for name in quantization.activations if name != INPUT]
    recorder = Recorder(optimise(model._layers), pixels, pixel_line(model))
    pairs = {name: [] for name in names}
    for maps in recorder.maps(names):
        for name, x in maps.items():
            pairs[name].append((quantization.activations[name].round_trip(x), x))
    return float(np.mean([_percent(several) for several in pairs.values()]))


def results(model, quantization, pixels: np.ndarray) -> np.ndarray:
    """What the network in int8 makes of the images."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "int8.safetensors")
        save(file, model, quantization)
        return vectors(create_model(weights=file, precision="int8"), pixels)


def judge(model, pixels: np.ndarray, title: str, names: list[str], classes: bool) -> list[dict]:
    """Print a network's table; rows of a results file."""
    table = []

    def keep(name: str, measure: str, percent: float) -> None:
        table.append(quality.row("calibrations", name, title, measure, percent))

    print(f"\n{title}: %")
    for name, error in weight_errors(optimise(model._layers)).items():
        print(f"weights by {name:35}{error:9.3f}")
        keep(name, "error of the weights", error)
    measures = ["error of maps", "cosine", "recall@10", *(["top-1"] if classes else [])]
    print(" " * 24 + "".join(f"{measure:>15}" for measure in measures))
    exact = vectors(model, pixels)
    if classes:
        print(f"{'float32':24}{'':>45}{100 * quality.top1(exact):15.1f}")
    for name in names:
        for correct in (True, False):
            held = calibrate(model, pixels[::2], name, correct_bias=correct)
            mine = results(model, held, pixels)
            figures = [
                map_error(model, held, pixels[1::2][:LOOKED_AT]),
                100 * quality.cosines(mine, exact).mean(),
                100 * quality.recalls(mine, exact).mean(),
                *([100 * quality.top1(mine)] if classes else []),
            ]
            label = name if correct else f"{name}, biases as is"
            print(f"{label:24}" + "".join(f"{figure:15.2f}" for figure in figures))
            for measure, figure in zip(measures, figures, strict=True):
                keep(label, measure, figure)
    return table


def main() -> None:
    """Calibrate each network in every way and write the rows."""
    parser = common.arguments(__doc__)
    parser.add_argument("--calibrations", nargs="+", choices=CALIBRATIONS, default=[*CALIBRATIONS])
    parser.add_argument("--weights", help="safetensors file in place of the usual two")
    parser.add_argument("--output", choices=["logits", "embedding"], default="embedding")
    parser.add_argument("--count", type=int, default=500, help="photographs")
    given = parser.parse_args()
    if given.quick:
        given.count = 12
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photographs")
        kind = photographs.fill(folder, given.count, given.seed)
        chosen = sorted(folder.iterdir())
        common.note(f"{kind}; calibrated on every other one, from the first")
        table = []
        for weights, output in quality.networks_to_judge(given):
            model = create_model(weights=weights, num_classes=None if output == "logits" else 0)
            pixels = cases.pixels(weights, SIZE, chosen)
            title = f"{Path(weights).stem} {output}, {kind}"
            classes = output == "logits" and bool(photographs.real())
            table += judge(model, pixels, title, given.calibrations, classes)
    common.write_rows(given.csv, table)


if __name__ == "__main__":
    main()
