"""Pictures made up for tests: smooth, coloured, each of its seed alone."""

import io

import numpy as np
from PIL import Image


def picture(seed, size=(96, 80)):
    """Return an RGB image of (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(seed, format="PNG", size=(96, 80), **options):
    """Return a picture as a file's bytes."""
    out = io.BytesIO()
    picture(seed, size).save(out, format, **options)
    return out.getvalue()


def many(count):
    """Return files' bytes, of several formats and sizes; a JPEG is large enough to be reduced."""
    kinds = [
        ("PNG", (96, 80), {}),
        ("JPEG", (300, 257), dict(quality=92)),
        ("JPEG", (2100, 1100), dict(quality=85)),
        ("WEBP", (256, 256), dict(quality=80)),
        ("PNG", (40, 500), {}),
    ]
    files = []
    for i in range(count):
        format, size, options = kinds[2 if i == 7 else i % 5 if i % 5 != 2 else 0]
        files.append(encoded(i, format, size, **options))
    return files
