"""A network in bytes against itself in float32: quality and time, on the same images."""

import time
from typing import NamedTuple

import numpy as np

from .calibrate import pixel_line
from .quality import Quality, compare, top1

SECONDS = 0.5
"""How long each network is timed, about."""


class Trial(NamedTuple):
    """What bytes cost and what they buy; pairs are float32's figure and that of bytes.

    Attributes
    ----------
    images : int
    quality : Quality
    milliseconds : (float, float)
        Median of one image on one thread.
    top1 : (float, float), optional
        Where labels are known.
    """

    images: int
    quality: Quality
    milliseconds: tuple[float, float]
    top1: tuple[float, float] | None = None


def vectors(model, pixels):
    """Rows (N, D) of images (N, H, W, 3) of bytes, not yet normalised."""
    run = _runner(model, pixels)
    return np.concatenate([run(image) for image in pixels])


def compare_models(exact, held, pixels) -> Trial:
    """Two models of embeddings over the same images, at least two.

    Parameters
    ----------
    exact, held : Model
        In float32, and in bytes.
    pixels : ndarray
        (N, H, W, 3) uint8.
    """
    quality = compare(vectors(exact, pixels), vectors(held, pixels))
    return Trial(len(pixels), quality, _milliseconds(exact, held, pixels))


def compare_classes(exact, held, pixels, labels) -> tuple[float, float]:
    """Top-1 of two classifiers over the same images."""
    return tuple(top1(vectors(model, pixels), labels) for model in (exact, held))


def _runner(model, pixels):
    line = tuple(v.astype(np.float32) for v in pixel_line(model))
    plan = model.plan(pixels.shape[1:3], line)
    return lambda image: plan.run(np.ascontiguousarray(image))[0].reshape(1, -1)


def _milliseconds(exact, held, pixels):
    """Medians, measured in turns so that what else the machine does is shared."""
    runs = [_runner(model, pixels) for model in (exact, held)]
    times = [[], []]
    stop = time.perf_counter() + len(runs) * SECONDS
    while time.perf_counter() < stop:
        for run, seen in zip(runs, times, strict=True):
            run(pixels[0])  # brings this network's weights back into the caches
            for image in pixels[:8]:
                started = time.perf_counter()
                run(image)
                seen.append(time.perf_counter() - started)
    return tuple(1e3 * float(np.median(seen)) for seen in times)
