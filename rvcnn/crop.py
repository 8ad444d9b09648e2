"""A part of an image, given by its corner and size."""

import math
from typing import NamedTuple

from rvcnn.errors import UsageError


class Crop(NamedTuple):
    """A part of an upright image: in pixels or, where `fractions`, in shares of its sides."""

    x: float
    y: float
    width: float
    height: float
    fractions: bool

    @classmethod
    def parse(cls, text: str) -> "Crop":
        """Read ``x,y,width,height``; with a decimal point anywhere these are fractions.

        Raises
        ------
        UsageError
            It is not that: a negative corner, no size, fractions that reach beyond 1.
        """
        fractions = "." in text
        try:
            numbers = [float(part) if fractions else int(part) for part in text.split(",")]
            x, y, width, height = numbers
        except ValueError:
            raise UsageError(
                f"a crop is x,y,width,height in pixels or, like 0.25,0,0.5,1, fractions: not {text}"
            ) from None
        if not all(map(math.isfinite, numbers)) or min(x, y) < 0 or min(width, height) <= 0:
            raise UsageError(f"the crop {text} has no pixels inside an image")
        if fractions and max(x + width, y + height) > 1 + 1e-9:
            raise UsageError(f"the crop {text} goes beyond the image: fractions end at 1")
        return cls(x, y, width, height, fractions)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom of this part of an image, at least one pixel.

        Raises
        ------
        UsageError
            It goes beyond the image.
        """
        right, bottom = self.x + self.width, self.y + self.height
        if not self.fractions:
            if right > width or bottom > height:
                raise UsageError(
                    f"the crop {self.x},{self.y},{self.width},{self.height} goes beyond the image "
                    f"of {width} x {height} pixels"
                )
            return self.x, self.y, right, bottom
        left, top = min(round(self.x * width), width - 1), min(round(self.y * height), height - 1)
        right, bottom = min(round(right * width), width), min(round(bottom * height), height)
        return left, top, max(right, left + 1), max(bottom, top + 1)
