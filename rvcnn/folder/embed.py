"""From a file to an item with its vector: what a worker thread does for one image."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL

import rvcnn
from rvcnn.errors import ImageError, UsageError
from rvcnn.folder.read import Content, Unreadable, content_of
from rvcnn.images import ALLOWED_FORMATS, decode
from rvcnn.images.sources import max_bytes
from rvcnn.index import Item, Status, Writer
from rvcnn.index.vectors import checked

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


class Task(NamedTuple):
    """A file to read, and the id it has in the index."""

    id: str
    path: str


class Outcome(NamedTuple):
    """What became of one file.

    Attributes
    ----------
    item
        What the index is to know of it; None if the file is gone. Its status is ``failed`` where
        it could not be embedded, and its size None where a later run is to try again.
    vector
        (D,) float32, None where there is none.
    reused
        Whether the vector was in the index already, for another file of this content.
    seconds
        Time taken by each stage.
    """

    item: Item | None
    vector: np.ndarray | None
    reused: bool
    seconds: dict[str, float]


def attempt_name(max_megapixels: float) -> str:
    """Return what decides whether an image can be read, besides its file."""
    return (
        f"rvcnn {rvcnn.__version__}, Pillow {PIL.__version__}, {max_megapixels:g} megapixels, "
        + " ".join(sorted(ALLOWED_FORMATS))
    )


class Worker:
    """Embeds files; called from several threads at once."""

    def __init__(self, embedder: "Embedder", writer: Writer, max_megapixels: float):
        self._embedder = embedder
        self._writer = writer
        self._max_megapixels = max_megapixels
        self._largest = max_bytes(max_megapixels * 1e6)
        self._tried = attempt_name(max_megapixels)

    def __call__(self, task: Task) -> Outcome:
        """Read a file, look whether its content is known, else decode and embed it."""
        watch = _Watch()
        failure = Item(task.id, Status.FAILED, tried=self._tried)
        try:
            with content_of(task.path, self._largest) as content:
                watch.lap("read")
                seen = replace(
                    failure, size=content.size, mtime_ns=content.mtime_ns, sha256=content.sha256
                )
                try:
                    return self._embed(content, seen, watch)
                except ImageError as error:
                    failure = replace(seen, error=one_line(str(error)))
        except FileNotFoundError:
            return Outcome(None, None, False, watch.seconds)
        except Unreadable as error:
            failure = replace(failure, error=one_line(str(error)))
        except MemoryError:
            failure = replace(failure, error="there is not enough memory for it")
        return Outcome(failure, None, False, watch.seconds)

    def _embed(self, content: Content, seen: Item, watch: "_Watch") -> Outcome:
        good = replace(seen, status=Status.OK, tried=None, added_at=int(time.time()))
        known = self._writer.find_content(content.sha256)
        watch.lap("index")
        if known is not None:
            other, vector = known
            item = replace(good, width=other.width, height=other.height, format=other.format)
            return Outcome(item, vector, True, watch.seconds)
        embedder = self._embedder
        decoded = decode(
            content.data,
            min_side=embedder.preprocess.resize,
            max_megapixels=self._max_megapixels,
        )
        watch.lap("decode")
        pixels = embedder.pixels(decoded)
        watch.lap("resize")
        vector = self._usable(embedder.embed_pixels(pixels))
        watch.lap("network")
        item = replace(good, width=decoded.width, height=decoded.height, format=decoded.format)
        return Outcome(item, vector, False, watch.seconds)

    def _usable(self, vector: np.ndarray) -> np.ndarray:
        """Refuse for this image what the index would refuse for all."""
        manifest = self._writer.manifest
        try:
            return checked(vector, manifest.dimension, manifest.metric)[0]
        except UsageError:
            raise ImageError("its vector is zero or not finite") from None


class _Watch:
    """Time by stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._last
        self._last = now


def one_line(text: str) -> str:
    """Return a reason that is sure to be one line."""
    return " ".join(text.split())
