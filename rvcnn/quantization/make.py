"""From a user's images to a calibrated weights file, tried before it is written."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from rvcnn.errors import UsageError
from rvcnn.images import Preprocess
from rvcnn.model import create_model
from rvcnn.paths import check_output

from . import sample
from .calibrate import calibrate, passes
from .file import save
from .trial import Trial, compare_classes, compare_models

ENOUGH = 40
"""From so many images up, half are kept from calibration, to compare on."""


class Watch(Protocol):
    """What is told of the work's course."""

    def start(self, total: int) -> None: ...

    def advance(self) -> None: ...

    def note(self, message: str) -> None: ...


class Made(NamedTuple):
    """What became of a network.

    Attributes
    ----------
    trial : Trial
    calibrated : int
        Images that were calibrated on.
    held_out : bool
        Whether the trial was on others.
    bytes : (int, int)
        Size of the weights file, float and int8.
    written : bool
    """

    trial: Trial
    calibrated: int
    held_out: bool
    bytes: tuple[int, int]
    written: bool

    def facts(self) -> dict[str, Any]:
        """Everything as plain values."""
        trial = self.trial
        return {
            "recall_at_10": trial.quality.recall,
            "cosine": trial.quality.cosine,
            "smallest_cosine": trial.quality.smallest_cosine,
            "ms_per_image": list(trial.milliseconds),
            "bytes": list(self.bytes),
            "top1": trial.top1 and list(trial.top1),
            "calibrated_on": self.calibrated,
            "compared_on": trial.images,
            "held_out": self.held_out,
            "written": self.written,
        }


def make(
    paths: Sequence[Path],
    output: Path,
    min_recall: float | None,
    watch: Watch,
    filters: Mapping[str, Any],
    *,
    model: str | None = None,
    weights: Path | None = None,
    embedding: str | None = None,
    calibration: str = "mse",
    images: int = 300,
    labels: Path | None = None,
    workers: int = 0,
) -> Made:
    """Calibrate a network on images below paths, compare it, and write it.

    Parameters
    ----------
    paths : sequence of Path
        Images, and folders of them.
    output : Path
    min_recall : float, optional
        With less, nothing is written.
    watch : Watch
    filters : mapping
        Which files of a folder: see :func:`rvcnn.quantization.sample.list_images`.
    model, weights, embedding
        As :func:`rvcnn.create_model`'s.
    calibration : str
    images : int
        How many to calibrate on; as many more are compared.
    labels : Path, optional
        See :func:`rvcnn.quantization.sample.read_labels`.
    workers : int
        Threads that read images.

    Raises
    ------
    UsageError
        Fewer than two images, an output that cannot be a file, labels of a model without classes.
    """
    check_output(output)
    known = None if labels is None else sample.read_labels(labels)
    exact = create_model(model, weights=weights, num_classes=0, normalize=True, embedding=embedding)
    if known is not None and exact.weights.number("num_classes") == 0:
        raise UsageError(f"{exact.weights.source} has no classes to hold --labels against")
    names, pixels = _read(paths, exact, images, workers, watch, filters)
    held_out = len(names) >= ENOUGH
    first, second = (slice(0, None, 2), slice(1, None, 2)) if held_out else (slice(None),) * 2
    quantization = calibrate(exact, pixels[first], calibration, progress=watch.advance)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "int8.safetensors")
        save(file, exact, quantization)
        held = create_model(weights=file, num_classes=0, normalize=True, precision="int8")
        trial = compare_models(exact, held, pixels[second])
        if known is not None:
            classifiers = (
                create_model(model, weights=weights),
                create_model(weights=file, precision="int8"),
            )
            wanted = np.array(sample.labels_of(names[second], known))
            trial = trial._replace(top1=compare_classes(*classifiers, pixels[second], wanted))
        sizes = (Path(exact.weights.source).stat().st_size, file.stat().st_size)
    written = min_recall is None or trial.quality.recall >= min_recall
    if written:
        save(output, exact, quantization)
    return Made(trial, len(pixels[first]), held_out, sizes, written)


def _read(paths, exact, images, workers, watch, filters):
    def skipping(name, reason):
        watch.note(f"skipping {name}: {reason}")

    names = sample.spread(sample.list_images(paths, skipping, **filters), 2 * images)
    calibrated = -(-len(names) // 2) if len(names) >= ENOUGH else len(names)
    watch.start(len(names) + passes(exact) * calibrated)
    names, pixels = sample.read_pixels(
        names,
        Preprocess.from_metadata(exact.weights.metadata),
        workers=workers,
        skipping=skipping,
        progress=watch.advance,
    )
    if len(names) < 2:
        raise UsageError(f"{len(names)} readable images found; calibration needs some hundred")
    return names, pixels
