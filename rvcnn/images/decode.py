"""One image, from any source, to upright RGB; every failure is an ``ImageError``."""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rvcnn.errors import ImageError
from rvcnn.images import convert, formats, headers, sources

# A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size while its shorter side keeps this many times
# ``min_side``. By benchmarks/draft.py the smallest value whose embeddings keep a cosine of 0.995 to
# the full decode's for detailed photographs at every size, and as fast as 2 at 12 megapixels.
DRAFT_MARGIN = 2.5

_MAX_REASON = 160
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_UNIDENTIFIED = "not an image in a format rvcnn reads"


class Decoded(NamedTuple):
    """A decoded image.

    Attributes
    ----------
    image : PIL.Image.Image
        Upright RGB; smaller than the file says where a JPEG was decoded at reduced size.
    width, height : int
        Size in pixels of the upright image as the file stores it.
    format : str
        Pillow's name of the file's format, "" for arrays and images that come from no file.
    """

    image: Image.Image
    width: int
    height: int
    format: str


def decode(source: Any, *, min_side: int | None = None, max_megapixels: float = 200) -> Decoded:
    """Decode the first frame of an image to upright RGB.

    Thread-safe, and changes nothing global in Pillow. The size is known from the header, and
    checked, before memory is taken for pixels. GIF, WebP, ICO and TIFF are also held to Pillow's
    own limit, twice ``PIL.Image.MAX_IMAGE_PIXELS``: 179 megapixels unless a program changes it.

    Parameters
    ----------
    source : str, os.PathLike, bytes, binary file, numpy.ndarray or PIL.Image.Image
        A path to a regular file; the file's content; an object whose ``read`` gives it; (H, W, 3),
        (H, W, 4), (H, W, 1) or (H, W) uint8; or an image, which is not changed.
    min_side : int, optional
        Length in pixels that the shorter side is going to be resized to. Allows a JPEG to be
        decoded at a fraction of its size, as long as enough pixels remain. None: always in full.
    max_megapixels : float
        Largest width times height, in millions.

    Returns
    -------
    Decoded

    Raises
    ------
    rvcnn.errors.ImageError
        With the reason in one line, without the path.
    """
    try:
        return _decode(source, min_side, max_megapixels * 1e6)
    except Exception as error:
        # Pillow's plugins meet damage with whatever exception the damaged field happens to cause.
        failure = _one_line(_reason(error))
    # Raised out here, it does not hold on to the frames that hold the pixels.
    raise ImageError(failure)


def _decode(source: Any, min_side: int | None, max_pixels: float) -> Decoded:
    if isinstance(source, Image.Image):
        return _from_pil(source, max_pixels)
    if isinstance(source, np.ndarray):
        return _from_pil(sources.from_array(source), max_pixels)
    stream = sources.open_stream(source, sources.max_bytes(max_pixels))
    try:
        return _finish(_open(stream, max_pixels), min_side, max_pixels)
    finally:
        stream.close()


def _open(stream: sources.Stream, max_pixels: float) -> Image.Image:
    """Do what ``Image.open(formats=...)`` does, under our limit of pixels, not Pillow's global."""
    prefix = stream.read(16)
    reason = _UNIDENTIFIED
    for opener in formats.openers(prefix):
        if opener.refusal:
            reason = opener.refusal
            continue
        _check_header(opener.name, stream, max_pixels)
        stream.seek(0)
        try:
            image = opener.factory(stream, "")
        except (SyntaxError, ValueError, IndexError, TypeError, struct.error) as error:
            # What Image.open takes for "not this format after all", and what AVIF says of a HEIC.
            if opener.has_magic:
                reason = f"damaged {opener.name} file: {_reason(error)}"
            continue
        except OSError as error:
            if error.errno is not None:
                raise
            raise ImageError(f"cannot read this {opener.name} file: {_reason(error)}") from error
        _check_pixels(image.size, max_pixels)
        return image
    if "HEIF" not in formats.ALLOWED_FORMATS and prefix[4:8] == b"ftyp":
        if prefix[8:12] in _HEIC_BRANDS:
            reason = "HEIC needs pillow-heif: pip install 'rvcnn[heif]'"
    raise ImageError(reason)


def _check_header(name: str, stream: sources.Stream, max_pixels: float) -> None:
    size_of = headers.SIZE_BEFORE_OPEN.get(name)
    if size_of is not None:
        stream.seek(0)
        size = size_of(stream)
        if size is not None:
            _check_pixels(size, max_pixels)


def _check_pixels(size: tuple[int, int], max_pixels: float) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"{width} x {height} pixels are more than the limit of {max_pixels / 1e6:g} megapixels"
        )


def _finish(image: Image.Image, min_side: int | None, max_pixels: float) -> Decoded:
    stored = image.size
    if min_side is not None and image.format in ("JPEG", "MPO"):
        side = max(1, math.ceil(DRAFT_MARGIN * min_side))
        image.draft(None, (side, side))
    drafted = image.size != stored
    _load(image)
    # A GIF, ICO or PSD may turn out larger than its header says.
    _check_pixels(image.size, max_pixels)
    turn = convert.orientation(image)
    upright = convert.turned(convert.to_rgb(image), turn)
    width, height = upright.size
    if drafted:
        width, height = stored if turn is None or not convert.swaps(turn) else stored[::-1]
    return Decoded(upright, width, height, image.format or "")


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except (ImageError, MemoryError, Image.DecompressionBombError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ImageError(f"damaged {image.format} file: {_reason(error)}") from error


def _from_pil(image: Image.Image, max_pixels: float) -> Decoded:
    if 0 in image.size:
        raise ImageError(f"an image of {image.width} x {image.height} has no pixels")
    _check_pixels(image.size, max_pixels)
    # Loading some formats starts a program; one that is loaded is only pixels.
    if getattr(image, "tile", None) and image.format not in formats.ALLOWED_FORMATS:
        raise ImageError(f"{image.format} is not a format rvcnn reads; load() the image first")
    return _finish(image, None, max_pixels)


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):
        most = 2e-6 * Image.MAX_IMAGE_PIXELS
        return f"more than the {most:.0f} megapixels that Pillow reads of a file of this format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _one_line(text: str) -> str:
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 3] + "..."
