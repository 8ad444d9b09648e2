"""Which arithmetic to embed a folder with: bytes where they are faster here and near enough."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from .images import Preprocess
from .model import create_model
from .quantization.sample import read_pixels, spread
from .quantization.trial import compare_models

IMAGES = 100
"""How many images are compared."""

FEWEST = 10
"""Of fewer, nothing can be said."""

MIN_RECALL = 0.90
"""Share of the ten nearest images that must stay the ten nearest."""


class Choice(NamedTuple):
    """A precision, and in a line why."""

    precision: str
    reason: str


def choose(
    names: Sequence[str],
    min_recall: float = MIN_RECALL,
    *,
    workers: int = 0,
    skipping: Callable[[str, str], None] = lambda name, reason: None,
) -> Choice:
    """Compare the embedded model in float32 and in bytes on some of the images.

    Parameters
    ----------
    names : sequence of str
        Files.
    min_recall : float
        Least recall@10 of int8 against fp32.
    workers : int
        Threads that read images; 0 for as many as this process may use.
    skipping : callable
        Told of each image that cannot be read, and why.
    """
    exact, held = (create_model(normalize=True, precision=p) for p in ("fp32", "int8"))
    preprocess = Preprocess.from_metadata(exact.weights.metadata)
    chosen = spread(names, IMAGES)
    _, pixels = read_pixels(chosen, preprocess, workers=workers, skipping=skipping)
    if len(pixels) < FEWEST:
        return Choice("fp32", f"{len(pixels)} images are too few to compare int8 on")
    trial = compare_models(exact, held, pixels)
    before, after = trial.milliseconds
    good = after < before and trial.quality.recall >= min_recall
    return Choice(
        "int8" if good else "fp32",
        f"int8 takes {after:.2f} ms an image here, fp32 {before:.2f}; of the ten nearest of "
        f"{trial.images} images, int8 keeps {trial.quality.recall:.3f} (at least {min_recall} "
        "wanted)",
    )
