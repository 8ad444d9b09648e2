"""Images in, vectors out."""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from .errors import ImageError, UsageError
from .images import Decoded, Preprocess, decode
from .images.sources import max_bytes, open_stream
from .model import create_model
from .projection import principal_axes, reduced_weights
from .quantization import calibrate
from .threads import available_cpus, ordered_map
from .weights import Weights


class Embedder:
    """Turns images into vectors with one network; safe to share between threads.

    Follows scikit-learn's protocol (``fit``, ``transform``, ``get_params``) and can be pickled: the
    network is loaded at first use and never stored.

    Parameters
    ----------
    model : str, MobileNetConfig or object, optional
        An architecture's name or configuration, or any object with ``dim`` and
        ``embed(list of PIL images) -> (N, D)``. By default the embedded model.
    weights : path-like, optional
        A safetensors file, or another that :func:`rvcnn.create_model` takes.
    precision : {"fp32", "int8"}
        Arithmetic of the network; int8 needs weights that ``rvcnn quantize`` made, or
        ``calibration``, but for the embedded model, which brings its own.
    workers : int
        Images in work at once; 0 for all the CPUs this process may use.
    normalize : bool
        Scale vectors to unit length.
    cache : int
        How many vectors of the images seen last are kept, by the images' content.
    calibration : sequence, optional
        For int8 from weights in float32: some hundred images, as :meth:`embed` takes them, of the
        kind to be embedded.
    embedding : str, optional
        The layer that vectors are taken from, as :func:`rvcnn.create_model` names it; by default
        the one that the weights file names.
    components : int, optional
        Length of the vectors after :meth:`fit` to images, which are then projected on the
        principal axes of those images' vectors.
    max_megapixels : float
        Larger images are refused before memory is taken.

    Attributes
    ----------
    dim : int
        Length of a vector.
    preprocess : Preprocess
        What an image goes through before the network.
    errors_ : dict of int to str
        After ``embed(..., errors="nan")``: the reason for each input that has no vector.

    Examples
    --------
    >>> rows = Embedder().embed(["a.jpg", "b.jpg"])  # doctest: +SKIP
    """

    def __init__(
        self,
        model: Any = None,
        *,
        weights: str | os.PathLike[str] | Weights | None = None,
        precision: str = "fp32",
        workers: int = 0,
        normalize: bool = True,
        cache: int = 0,
        calibration: Iterable[Any] | None = None,
        embedding: str | None = None,
        components: int | None = None,
        max_megapixels: float = 200,
    ):
        self.model = model
        self.weights = weights
        self.precision = precision
        self.workers = workers
        self.normalize = normalize
        self.cache = cache
        self.calibration = calibration
        self.embedding = embedding
        self.components = components
        self._axes = None
        self.max_megapixels = max_megapixels
        self._reset()

    def _reset(self):
        self._backend = None
        self._recent = OrderedDict()
        self._lock = threading.Lock()

    # --- what it is ---------------------------------------------------------------------------

    @property
    def backend(self) -> "_Network | _Custom":
        """The network behind, loaded at first use."""
        if self._backend is None:
            with self._lock:
                if self._backend is None:
                    self._check()
                    custom = hasattr(self.model, "embed")
                    self._backend = _Custom(self) if custom else _Network(self)
        return self._backend

    def _check(self):
        if self.workers < 0 or self.cache < 0:
            raise UsageError(f"workers ({self.workers}) and cache ({self.cache}) start at 0")
        if not 0 < self.max_megapixels < float("inf"):
            raise UsageError(f"max_megapixels must be above 0, not {self.max_megapixels}")

    @property
    def dim(self) -> int:
        return self.backend.dim

    @property
    def preprocess(self) -> Preprocess:
        return self.backend.preprocess

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.backend.name

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights file."""
        return self.backend.sha256

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of how the weights file was read."""
        return self.backend.notes

    def describe(self) -> dict[str, Any]:
        """What decides the vectors, as plain values that JSON can hold."""
        layer = self.backend.embedding
        return {
            "model": self.name,
            "weights_sha256": self.weights_sha256,
            "precision": self.precision,
            "dimension": self.dim,
            "normalize": self.normalize,
            "preprocessing": self.preprocess.to_metadata(),
            **({"embedding": layer} if layer else {}),
        }

    # --- images to vectors --------------------------------------------------------------------

    def embed(self, images: Iterable[Any], errors: str = "raise") -> np.ndarray:
        """Vectors of images.

        Parameters
        ----------
        images : iterable
            Paths, encoded bytes, binary files, (H, W, 3) uint8 arrays, PIL images.
        errors : {"raise", "nan"}
            What an image that cannot be read does: raise :class:`~rvcnn.errors.ImageError`, or
            leave a row of NaN and its reason in ``errors_``.

        Returns
        -------
        ndarray
            (N, D) float32; row i belongs to image i.
        """
        if errors not in ("raise", "nan"):
            raise UsageError(f"errors must be 'raise' or 'nan', not {errors!r}")
        reasons: dict[int, str] = {}
        rows = []
        for i, row in enumerate(self._rows(images)):
            if isinstance(row, ImageError):
                if errors == "raise":
                    raise ImageError(f"image {i}: {row}") from row
                reasons[i] = str(row)
                row = np.full(self.dim, np.nan, np.float32)
            rows.append(row)
        self.errors_ = reasons
        return np.array(rows, np.float32).reshape(-1, self.dim)

    def embed_iter(self, images: Iterable[Any]) -> Iterator[np.ndarray]:
        """Vectors one by one, in order, with a bounded number of images in memory.

        Parameters
        ----------
        images : iterable
            As :meth:`embed`; read only a little ahead of the vectors.

        Yields
        ------
        ndarray
            (D,) float32.

        Raises
        ------
        ImageError
            In the place of the image that cannot be read.
        """
        for i, row in enumerate(self._rows(images)):
            if isinstance(row, ImageError):
                raise ImageError(f"image {i}: {row}") from row
            yield row

    def embed_one(self, image: Any) -> np.ndarray:
        """Vector (D,) of one image, on the calling thread."""
        key = None
        if self.cache:
            image, key = _content(image, self.max_megapixels)
        if key is not None:
            with self._lock:
                if key in self._recent:
                    self._recent.move_to_end(key)
                    return self._recent[key].copy()
        decoded = decode(image, min_side=self.preprocess.resize, max_megapixels=self.max_megapixels)
        row = self.embed_decoded(decoded)
        if key is not None:
            with self._lock:
                self._recent[key] = row.copy()
                while len(self._recent) > self.cache:
                    self._recent.popitem(last=False)
        return row

    def embed_decoded(self, decoded: Decoded) -> np.ndarray:
        """Vector (D,) of a decoded image, on the calling thread."""
        return self.embed_pixels(self.pixels(decoded))

    def pixels(self, decoded: Decoded) -> Any:
        """What the network sees of a decoded image: resized and cropped."""
        return self.backend.pixels(decoded)

    def embed_pixels(self, pixels: Any) -> np.ndarray:
        """Vector (D,) of what :meth:`pixels` returned."""
        return self.backend.embed(pixels)

    def _rows(self, images):
        alone = isinstance(images, (str, os.PathLike, bytes, bytearray, memoryview, Image.Image))
        if alone or (
            isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim < 4
        ):
            raise UsageError("images is a list of images, even of one: embed([image])")
        self._check()
        workers = self.workers or available_cpus()
        return ordered_map(self._embed_or_error, images, workers, 2 * workers)

    def _embed_or_error(self, image):
        try:
            return self.embed_one(image)
        except ImageError as error:
            return error

    # --- scikit-learn's protocol, and pickle --------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments."""
        names = ("model", "weights", "precision", "workers", "normalize", "cache", "calibration")
        names += ("embedding", "components", "max_megapixels")
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> "Embedder":
        """Change some of the constructor's arguments."""
        unknown = [name for name in params if name not in self.get_params()]
        if unknown:
            raise UsageError(f"Embedder has no parameter {', '.join(unknown)}")
        for name, value in params.items():
            setattr(self, name, value)
        self._axes = None
        self._reset()
        return self

    def fit(self, X: Iterable[Any] | None = None, y: Any = None) -> "Embedder":
        """Find the axes of as many ``components``; without any, there is nothing to learn.

        Parameters
        ----------
        X : iterable
            Images, as :meth:`embed` takes them: no fewer than components.
        """
        if self.components is not None:
            whole = Embedder(**{**self.get_params(), "components": None})
            self._axes = principal_axes(whole.embed(X), self.components)
            self._reset()
        return self

    def transform(self, X: Iterable[Any]) -> np.ndarray:
        """As :meth:`embed`."""
        return self.embed(X)

    def fit_transform(self, X: Iterable[Any], y: Any = None) -> np.ndarray:
        """As :meth:`fit` and :meth:`embed`."""
        X = X if self.components is None else list(X)
        return self.fit(X).embed(X)

    def __sklearn_is_fitted__(self):
        return self.components is None or self._axes is not None

    def __sklearn_tags__(self):
        from sklearn.base import BaseEstimator, TransformerMixin

        tags = type("Tags", (TransformerMixin, BaseEstimator), {})().__sklearn_tags__()
        tags.requires_fit = self.components is not None
        return tags

    def __getstate__(self):
        return {**self.get_params(), "_axes": self._axes}

    def __setstate__(self, state):
        axes = state.pop("_axes")
        self.__init__(**state)
        self._axes = axes


class _Network:
    """A network of rvcnn's own: uint8 pixels to a vector in one program."""

    def __init__(self, embedder):
        calibrated = embedder.calibration is not None
        options = {
            "num_classes": 0,
            "normalize": embedder.normalize,
            "precision": "fp32" if calibrated else embedder.precision,
        }
        self._model = create_model(
            embedder.model, weights=embedder.weights, embedding=embedder.embedding, **options
        )
        self.embedding = self._model.embedding
        if embedder.components is not None:
            weights = _projected(self._model, embedder)
            self._model = create_model(embedder.model, weights=weights, **options)
        self.preprocess = Preprocess.from_metadata(self._model.weights.metadata)
        if calibrated:
            self._model = self._calibrated(embedder)
        self.dim = self._model.dim
        self.name = self._model.architecture.name
        self.sha256 = self._model.weights.sha256
        self.notes = self._model.weights.notes
        std = np.asarray(self.preprocess.std)
        line = (1 / (255 * std), -np.asarray(self.preprocess.mean) / std)
        size = (self.preprocess.crop, self.preprocess.crop)
        self._plan = self._model.plan(size, tuple(v.astype(np.float32) for v in line))

    def _calibrated(self, embedder):
        if embedder.precision != "int8":
            raise UsageError(f"calibration is for precision='int8', not {embedder.precision!r}")
        limits = {"min_side": self.preprocess.resize, "max_megapixels": embedder.max_megapixels}
        images = [self.pixels(decode(image, **limits)) for image in embedder.calibration]
        if not images:
            raise UsageError("calibration needs images; there are none")
        return self._model.quantised(calibrate(self._model, np.stack(images)))

    def kernels(self):
        return self._plan.kernels()

    def pixels(self, decoded):
        return self.preprocess.pixels(decoded.image, (decoded.width, decoded.height))

    def embed(self, pixels):
        (row,) = self._plan.run(pixels)
        return row.reshape(-1)


def _projected(model, embedder):
    """The weights with a layer for the axes that the embedder was fitted to."""
    if model.precision != "fp32":
        raise UsageError("components of int8 weights: give float32's, and images as calibration")
    if embedder._axes is None:
        raise UsageError(f"components={embedder.components}: fit(images) comes first")
    return reduced_weights(model.weights, embedder._axes)


class _Custom:
    """Somebody else's model: PIL images to vectors, one call at a time."""

    def __init__(self, embedder):
        if embedder.embedding is not None:
            raise UsageError(f"{embedder.model!r} has no layers to choose an embedding from")
        if embedder.components is not None:
            raise UsageError(f"{embedder.model!r} has no layer for components to be added to")
        self.embedding = None
        self._model = embedder.model
        self._normalize = embedder.normalize
        self._alone = threading.Lock()
        self.dim = int(self._model.dim)
        self.name = getattr(self._model, "name", type(self._model).__name__)
        self.sha256 = getattr(self._model, "weights_sha256", "")
        self.notes = ()
        self.preprocess = getattr(self._model, "preprocess", None) or Preprocess()

    def kernels(self):
        return []

    def pixels(self, decoded):
        return decoded.image

    def embed(self, image):
        with self._alone:
            row = np.asarray(self._model.embed([image]), np.float32).reshape(-1)
        if row.shape != (self.dim,):
            raise UsageError(f"{self.name}.embed gave {row.size} values, its dim is {self.dim}")
        if self._normalize:
            row = row / max(float(np.linalg.norm(row)), 1e-12)
        return row


def _content(image, max_megapixels):
    """An image, a file as its bytes, and their digest; None where there is no cheap one."""
    if isinstance(image, (str, os.PathLike)):
        try:
            stream = open_stream(image, max_bytes(max_megapixels * 1e6))
            try:
                image = stream.read()
            finally:
                stream.close()
        except (ImageError, OSError, ValueError):
            return image, None  # decoding it says why
    digest = None
    if isinstance(image, (bytes, bytearray, memoryview)):
        digest = hashlib.sha256(image).digest()
    elif isinstance(image, np.ndarray):
        header = f"{image.shape}{image.dtype}".encode()
        digest = hashlib.sha256(header + np.ascontiguousarray(image).tobytes()).digest()
    return image, digest
