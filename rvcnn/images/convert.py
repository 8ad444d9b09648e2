"""From whatever a file holds to upright 8-bit RGB."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_WITH_ALPHA = frozenset({"RGBA", "RGBa", "LA", "La", "PA"})
_SIXTEEN_BITS = frozenset({"I;16", "I;16B", "I;16L", "I;16N"})

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING = frozenset(_TRANSPOSE[value] for value in (5, 6, 7, 8))
_HOLDS_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_ORIENTATION_TAG = 0x0112


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded image of any mode to RGB.

    Transparency of every kind is laid over white. One-channel images of more than 8 bits: 16-bit
    values are divided by 257 and rounded; 32-bit integers count as 16-bit while they fit, else they
    are stretched from their minimum to their maximum; floats are taken as 0..1, 0..255 or 0..65535,
    the smallest that holds them all, else stretched, and what is not finite counts as 0. CMYK, LAB,
    YCbCr, HSV and palettes are Pillow's conversion. Files with 16 bits in each of several channels
    are cut to their high byte by Pillow's decoders.

    Returns the image itself where it is plain RGB already.
    """
    mode = image.mode
    transparency = image.info.get("transparency")
    if mode == "RGB" and transparency is None:
        return image
    if mode in _WITH_ALPHA:
        return _over_white(image)
    if mode in _SIXTEEN_BITS:
        values = np.asarray(image)
        clear = None if transparency is None else values == transparency
        return _grey(_from_16_bits(values), clear)
    if mode == "I":
        return _grey(_from_integers(np.asarray(image)))
    if mode == "F":
        return _grey(_from_floats(np.asarray(image)))
    if transparency is not None and mode in ("1", "L", "P", "RGB"):
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image if image.mode == "RGBA" else _to_rgba(image)
    if rgba.getextrema()[3][0] == 255:
        return rgba.convert("RGB")
    flat = Image.new("RGB", rgba.size, (255, 255, 255))
    flat.paste(rgba, mask=rgba)
    return flat


def _to_rgba(image: Image.Image) -> Image.Image:
    if image.mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA")


def _grey(values: np.ndarray, transparent: np.ndarray | None = None) -> Image.Image:
    if transparent is not None:
        values[transparent] = 255
    return Image.fromarray(values).convert("RGB")


def _from_16_bits(values: np.ndarray) -> np.ndarray:
    # round(v / 257) in integers, in place: these images are large.
    values = values.astype(np.uint32)
    values *= 255
    values += 32895
    values >>= 16
    return values.astype(np.uint8)


def _from_integers(values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low >= 0 and high <= 65535:
        return _from_16_bits(values)
    return _stretch(values, low, high)


def _from_floats(values: np.ndarray) -> np.ndarray:
    values = np.where(np.isfinite(values), values, 0)
    low, high = float(values.min()), float(values.max())
    if low >= 0:
        for full in (1, 255, 65535):
            if high <= full:
                return _stretch(values, 0, full)
    return _stretch(values, low, high)


def _stretch(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if high == low:
        return np.zeros(values.shape, np.uint8)
    return np.rint((values - np.float64(low)) * (255 / (high - low))).astype(np.uint8)


def orientation(image: Image.Image) -> Any:
    """Return the ``Image.Transpose`` that sets a loaded image upright, or None.

    EXIF decides, then XMP. Metadata that cannot be read counts as none: every camera and every
    editor writes it, and no damage in it may cost the picture.
    """
    # Pillow turns a TIFF on loading.
    if image.format == "TIFF" or not any(key in image.info for key in _HOLDS_ORIENTATION):
        return None
    try:
        return _TRANSPOSE.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return None


def turned(image: Image.Image, turn: Any) -> Image.Image:
    """Transpose by what ``orientation`` returned, dropping metadata so that it is done once."""
    if turn is None:
        return image
    image = image.transpose(turn)
    image.info = {}
    return image


def swaps(turn: Any) -> bool:
    """Tell whether a turn exchanges width and height."""
    return turn in _SWAPPING
