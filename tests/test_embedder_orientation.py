"""A photograph embeds the same whichever way the camera was held."""

import io
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from rvcnn import Embedder
from rvcnn.images import decode

STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How the pixels of an upright photograph are stored under each EXIF orientation."""


@pytest.fixture(scope="module")
def emb():
    return Embedder(workers=1)


def least_cosine(rows):
    rows = np.asarray(rows, np.float64)
    return (rows @ rows.T).min()


@pytest.mark.parametrize("photo", ["china.jpg", "flower.jpg"])
def test_eight_orientations_of_one_photograph(emb, photo):
    upright = Image.open(io.BytesIO(files("sklearn.datasets.images").joinpath(photo).read_bytes()))
    stored = []
    for orientation, transpose in STORED.items():
        pixels = upright if transpose is None else upright.transpose(transpose)
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = io.BytesIO()
        pixels.save(file, "JPEG", quality=90, exif=exif)
        stored.append(file.getvalue())
    assert least_cosine(emb.embed(stored)) > 0.98


@pytest.mark.parametrize("name", ["Landscape", "Portrait"])
def test_eight_files_of_one_photograph(emb, data, name):
    # Each of these files has its orientation's number painted in the middle: a different picture.
    pixels = []
    for orientation in STORED:
        path = data / "images" / "exif" / f"{name}_{orientation}.jpg"
        seen = decode(path, min_side=emb.preprocess.resize)
        pixels.append(emb.pixels(seen))
    number = np.s_[90:127, 99:126]
    for image in pixels[1:]:
        image[number] = pixels[0][number]
    assert least_cosine([emb.embed_pixels(image) for image in pixels]) > 0.98
