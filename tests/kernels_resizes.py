"""Images, windows of them, and sizes to resample them to."""

import numpy as np

CASES = [
    # (width, height) of the image, box, (width, height) of the result
    ((640, 480), (80, 0, 560, 480), (224, 224)),
    ((500, 375), (62.6, 4.2, 437.4, 370.8), (224, 224)),
    ((37, 53), (0, 0, 37, 53), (64, 40)),
    ((9, 11), (0, 0, 9, 11), (9, 11)),
    ((5, 7), (1, 2, 3, 4), (16, 16)),
    ((1, 1), (0, 0, 1, 1), (3, 2)),
    ((1, 2000), (0, 900, 1, 901), (8, 8)),
    ((2000, 3), (7.5, 0, 1999.5, 3), (5, 1)),
    ((1203, 17), (300.25, 0.5, 900.75, 16.5), (31, 7)),
    ((16, 16), (0, 0, 16, 16), (1, 1)),
    ((300, 200), (0, 0, 300, 200), (299, 199)),
]


def picture(width, height):
    """Noise from end to end of the range, with an edge, and a fourth channel that is noise."""
    rng = np.random.default_rng(width * 10000 + height)
    pixels = rng.integers(0, 256, (height, width, 4), dtype=np.uint8)
    pixels[: height // 2, : width // 2, :3] = (255, 0, 255)
    pixels.flags.writeable = False
    return pixels
