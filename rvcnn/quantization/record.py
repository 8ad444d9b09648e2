"""Run a network over images and look at every map as it comes by."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.graph import INPUT, Graph
from rvcnn.plan import Plan

from .histograms import Histograms
from .params import QuantParams


class Recorder:
    """A float32 network whose maps can be watched, image by image, so that few are in memory.

    Parameters
    ----------
    graph : Graph
        Optimised, with its weights.
    images : ndarray
        (N, H, W, 3) uint8.
    line : tuple of ndarray
        Scale and shift of each channel from pixels to the network's input.
    progress : callable, optional
        Called after each image.
    """

    def __init__(self, graph: Graph, images, line, progress: Callable[[], None] = lambda: None):
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
            raise ShapeError(
                f"expected images (N, H, W, 3) uint8, got {images.dtype} {images.shape}"
            )
        self.graph = graph
        self.images = images
        self._line = tuple(np.asarray(v, np.float32) for v in line)
        self._progress = progress

    def of(self, graph: Graph) -> "Recorder":
        """The same images through another network."""
        return Recorder(graph, self.images, self._line, self._progress)

    def maps(self, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        """For each image, the (H, W, C) float32 maps of these names."""
        wanted = tuple(name for name in names if name != INPUT)
        watched = replace(self.graph, outputs=wanted or self.graph.outputs)
        plan = Plan(watched, self.images.shape[1:], self._line)
        scale, shift = self._line
        for image in self.images:
            maps = dict(zip(watched.outputs, plan.run(np.ascontiguousarray(image)), strict=True))
            if INPUT in names:
                maps[INPUT] = image * scale + shift
            self._progress()
            yield {name: maps[name] for name in names}

    def ranges(self, names) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Least and greatest value of each channel of each map."""
        ranges = {}
        for maps in self.maps(names):
            for name, x in maps.items():
                ends = x.min((0, 1)), x.max((0, 1))
                low, high = ranges.get(name, ends)
                ranges[name] = np.minimum(low, ends[0]), np.maximum(high, ends[1])
        return ranges

    def histograms(self, names) -> dict[str, Histograms]:
        """Distributions of each map's channels."""
        found = {name: Histograms(*ends) for name, ends in self.ranges(names).items()}
        for maps in self.maps(names):
            for name, x in maps.items():
                found[name].add(x)
        return found

    def channel_means(self, names) -> dict[str, np.ndarray]:
        """(C,) float64 mean over images and pixels of each map."""
        sums = dict.fromkeys(names, 0.0)
        for maps in self.maps(names):
            for name, x in maps.items():
                sums[name] = sums[name] + x.mean((0, 1), dtype=np.float64)
        return {name: total / len(self.images) for name, total in sums.items()}

    def means(self, names, activations: dict[str, QuantParams]):
        """Mean map of each name, as it is and as it is after a round trip through bytes.

        Returns
        -------
        dict of str to (ndarray, ndarray)
            (H, W, C) float64 each; the same twice where a map is not held as bytes.
        """
        exact, rounded = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for maps in self.maps(list(names)):
            for name, x in maps.items():
                held = name in activations and name != INPUT
                exact[name] = exact[name] + x.astype(np.float64)
                after = activations[name].round_trip(x) if held else x
                rounded[name] = rounded[name] + after.astype(np.float64)
        count = len(self.images)
        return {name: (exact[name] / count, rounded[name] / count) for name in names}
