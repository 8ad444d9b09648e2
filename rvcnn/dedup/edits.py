"""Edits that people and programs make of a picture: what a near-duplicate is, by example."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Edit = Callable[[Image.Image, np.random.Generator], Image.Image]
"""Of an upright RGB image and a source of chance, a new RGB image."""

_TEXT = "sample text"


def _recompression(image, chance):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(chance.integers(30, 76)))
    return Image.open(stream, formats=["JPEG"]).convert("RGB")


def _half_size(image, chance):
    return image.resize([max(1, side // 2) for side in image.size], Image.Resampling.LANCZOS)


def _blur(image, chance):
    # Radii in proportion to the picture: 1 to 2 pixels where the shorter side has 500.
    radius = chance.uniform(1, 2) * min(image.size) / 500
    return image.filter(ImageFilter.GaussianBlur(radius))


def _brightness(image, chance):
    return ImageEnhance.Brightness(image).enhance(_either(chance, (0.7, 0.9), (1.1, 1.3)))


def _gamma(image, chance):
    power = _either(chance, (0.7, 0.9), (1.1, 1.4))
    curve = np.rint(255 * (np.arange(256) / 255) ** power).astype(np.uint8)
    return image.point(curve.tolist() * 3)


def _crop(share: float) -> Edit:
    """Cut away a share of the width and of the height, from wherever chance wants."""

    def crop(image, chance):
        sizes = [max(1, round(side * (1 - share))) for side in image.size]
        left, top = (
            int(chance.integers(0, side - size + 1))
            for side, size in zip(image.size, sizes, strict=True)
        )
        return image.crop((left, top, left + sizes[0], top + sizes[1]))

    return crop


def _rotation(image, chance):
    turns = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
    return image.transpose(turns[chance.integers(3)])


def _mirror(image, chance):
    return ImageOps.mirror(image)


def _text(image, chance):
    """A line of white text on black, a tenth of the height, as captions and dates are."""
    out = image.copy()
    height = max(8, image.height // 10)
    line = Image.new("RGB", (80, 11))
    ImageDraw.Draw(line).text((4, 0), _TEXT, fill="white")
    width = min(image.width, height * line.width // line.height)
    corner = (
        int(chance.integers(0, image.width - width + 1)),
        int(chance.choice([0, max(0, image.height - height)])),
    )
    out.paste(line.resize((width, height)), corner)
    return out


def _occlusion(image, chance):
    """A grey rectangle over a twentieth of the picture."""
    sides = [max(1, round(side * 0.05**0.5)) for side in image.size]
    left, top = (
        int(chance.integers(0, whole - side + 1))
        for whole, side in zip(image.size, sides, strict=True)
    )
    out = image.copy()
    out.paste((128, 128, 128), (left, top, left + sides[0], top + sides[1]))
    return out


def _border(image, chance):
    width = max(1, round(0.05 * min(image.size)))
    return ImageOps.expand(image, width, fill=["black", "white"][chance.integers(2)])


def _either(chance, *spans):
    low, high = spans[chance.integers(len(spans))]
    return float(chance.uniform(low, high))


EDITS: dict[str, Edit] = {
    "recompression": _recompression,
    "half size": _half_size,
    "blur": _blur,
    "brightness": _brightness,
    "gamma": _gamma,
    "crop 10 %": _crop(0.1),
    "crop 30 %": _crop(0.3),
    "rotation": _rotation,
    "mirror": _mirror,
    "text overlay": _text,
    "occluded part": _occlusion,
    "border": _border,
}
"""Every edit by its name; of an area, a crop of 10 % keeps 81 %."""


def edited(image: Image.Image, name: str, seed: int) -> Image.Image:
    """Return an edit of an upright RGB image: always the same one for the same seed."""
    return EDITS[name](image, np.random.default_rng([seed, *name.encode()]))
