"""From an upright RGB image to the network's input: resize, centre crop, normalise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from PIL import Image

from rvcnn.errors import UsageError, WeightsError
from rvcnn.images.memory import rgbx

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RGB, BGR = "rgb", "bgr"

# Half of each filter's width, in output pixels where the image shrinks, in its own where it grows.
_SUPPORT = {"nearest": 1, "bilinear": 1, "bicubic": 2, "lanczos": 3}

# Pillow takes the window's corners as float32: beyond this ratio of the sides their rounding would
# show, unless the window is cut out first.
_LONG_STRIP = 4

# Above this many pixels Image.crop would raise what Image.MAX_IMAGE_PIXELS stands for.
_MOST_TO_CUT = 64_000_000


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a network's input.

    Attributes
    ----------
    resize : int
        Length of the shorter side after resizing, in pixels.
    crop : int
        Side of the centre crop, in pixels; at most ``resize``.
    interpolation : str
        "nearest", "bilinear", "bicubic" or "lanczos", antialiased as ``PIL.Image.resize`` is.
    mean, std : tuple of float
        Of each channel, for values from 0 to 1.
    channel_order : str
        "rgb", or "bgr" for networks of OpenCV's users.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    channel_order: str = RGB

    def __post_init__(self) -> None:
        if self.interpolation not in INTERPOLATIONS:
            raise UsageError(
                f"interpolation {self.interpolation!r}: choose one of {', '.join(INTERPOLATIONS)}"
            )
        if self.channel_order not in (RGB, BGR):
            raise UsageError(f"channel_order {self.channel_order!r}: choose one of {RGB}, {BGR}")
        if not 1 <= self.crop <= self.resize:
            raise UsageError(f"crop {self.crop} must be from 1 to resize, {self.resize}")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) != 3 or not all(math.isfinite(v) for v in value):
                raise UsageError(f"{name} {value}: three finite numbers are needed")
        if min(self.std) <= 0:
            raise UsageError(f"std {self.std} must be above 0")

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], **overrides: Any) -> Preprocess:
        """Read the settings from a weights file's metadata.

        Parameters
        ----------
        metadata : mapping of str to str
            With the keys ``resize, crop, interpolation, mean, std``; the last two are three numbers
            with commas between. ``channel_order`` may be left out where it is rgb.
        **overrides
            Values of the class's attributes that win over the metadata; None means not given.

        Raises
        ------
        rvcnn.errors.WeightsError
            Naming the key that is missing, or that cannot be understood.
        """
        values = {"channel_order": metadata.get("channel_order", RGB)}
        values |= {key: value for key, value in overrides.items() if value is not None}
        for name, parse in _PARSE.items():
            if name in values:
                continue
            if name not in metadata:
                raise WeightsError(
                    f"the weights' metadata has no {name!r}: give {name}=..., or write it into the "
                    f"file with `rvcnn weights import FILE -o NEW.safetensors --{name} ...`"
                )
            try:
                values[name] = parse(metadata[name])
            except ValueError:
                raise WeightsError(
                    f"the weights' metadata has {name} = {metadata[name]!r}, which cannot be read: "
                    f"give {name}=..."
                ) from None
        try:
            return cls(**values)
        except UsageError as error:
            raise WeightsError(f"preprocessing of the weights: {error}") from None

    def to_metadata(self) -> dict[str, str]:
        """Return what ``from_metadata`` reads back to an equal object."""
        metadata = {f.name: _text(getattr(self, f.name)) for f in fields(self)}
        if self.channel_order == RGB:
            del metadata["channel_order"]
        return metadata

    def pixels(self, image: Image.Image, size: tuple[int, int] | None = None) -> np.ndarray:
        """Resize the shorter side, crop the centre: only the crop's window is computed.

        Parameters
        ----------
        image : PIL.Image.Image
            Upright, RGB.
        size : (int, int), optional
            Width and height in the file (``Decoded.width``, ``Decoded.height``), where the image
            was decoded at a whole fraction of them, as JPEG allows: the window is then the full
            image's, to a fraction of a pixel. Default: the image's own.

        Returns
        -------
        numpy.ndarray
            (crop, crop, 3) uint8, C-contiguous, in the network's order of channels.
        """
        pixels = self._resized(image, size)
        return pixels if self.channel_order == RGB else np.ascontiguousarray(pixels[..., ::-1])

    def _resized(self, image: Image.Image, size: tuple[int, int] | None) -> np.ndarray:
        box = self._window(size or image.size, image.size)
        if self.interpolation == "bilinear":
            from rvcnn.kernels.resize import resize

            return resize(rgbx(image), box, (self.crop, self.crop))
        if max(image.size) > _LONG_STRIP * min(image.size):
            image, box = self._cut(image, box)
        window = image.resize((self.crop, self.crop), INTERPOLATIONS[self.interpolation], box)
        return np.array(window)

    def _window(
        self, size: tuple[int, int], image_size: tuple[int, int]
    ) -> tuple[float, float, float, float]:
        """Return the crop's corners in the coordinates of an image of ``image_size``."""
        scale = self.resize / min(size)
        # A reduced image's last row and column may stand for fewer pixels than the others.
        reduction = round(max(size) / max(image_size))
        spans = []
        for length, own in zip(size, image_size, strict=True):
            resized = round(length * scale)
            step = length / (resized * reduction)
            start = (resized - self.crop) // 2
            spans.append((start * step, min((start + self.crop) * step, own)))
        (left, right), (top, bottom) = spans
        return left, top, right, bottom

    def _cut(
        self, image: Image.Image, box: tuple[float, float, float, float]
    ) -> tuple[Image.Image, tuple[float, float, float, float]]:
        """Cut out the window with all that the filter reaches around it."""
        left, top, right, bottom = box
        reach = _SUPPORT[self.interpolation]
        across = math.ceil(reach * max(1, (right - left) / self.crop)) + 1
        down = math.ceil(reach * max(1, (bottom - top) / self.crop)) + 1
        x = max(0, math.floor(left) - across)
        y = max(0, math.floor(top) - down)
        far_x = min(image.width, math.ceil(right) + across)
        far_y = min(image.height, math.ceil(bottom) + down)
        if (far_x - x) * (far_y - y) > _MOST_TO_CUT:
            return image, box
        return image.crop((x, y, far_x, far_y)), (left - x, top - y, right - x, bottom - y)

    def normalise(self, pixels: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Compute ``(pixels / 255 - mean) / std``.

        Parameters
        ----------
        pixels : numpy.ndarray
            (..., W, 3) uint8.
        out : numpy.ndarray, optional
            C-contiguous float32 of the same shape, written and returned.

        Returns
        -------
        numpy.ndarray
            Float32 of the same shape.
        """
        if out is None:
            out = np.empty(pixels.shape, np.float32)
        out[...] = pixels
        # Whole rows at a time: NumPy's inner loop over three channels alone is ten times slower.
        width = pixels.shape[-2]
        rows = out.reshape(*pixels.shape[:-2], 3 * width)
        std = np.tile(np.asarray(self.std, np.float64), width)
        rows *= (1 / (255 * std)).astype(np.float32)
        rows -= (np.tile(np.asarray(self.mean, np.float64), width) / std).astype(np.float32)
        return out


def _three(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _text(value: Any) -> str:
    return ",".join(repr(float(v)) for v in value) if isinstance(value, tuple) else str(value)


_PARSE = {"resize": int, "crop": int, "interpolation": str, "mean": _three, "std": _three}
