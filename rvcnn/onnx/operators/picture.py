"""Pictures in a file's format."""

import numpy as np

from rvcnn.errors import ImageError

from .base import choose, operators

_FORMATS = {
    "RGB": lambda image: np.asarray(image),
    "BGR": lambda image: np.asarray(image)[:, :, ::-1],
    "Grayscale": lambda image: np.asarray(image.convert("L"))[:, :, None],
}


def image_decoder(stream, *, pixel_format="RGB"):
    """Pixels (H, W, channels) of an encoded picture; (0, 0, channels) where it cannot be read."""
    from rvcnn.images import decode

    pixels = choose(_FORMATS, pixel_format, "pixel_format")
    try:
        return pixels(decode(stream.tobytes()).image)
    except ImageError:
        return np.zeros((0, 0, 1 if pixel_format == "Grayscale" else 3), np.uint8)


OPERATORS = operators({"ImageDecoder": image_decoder})
