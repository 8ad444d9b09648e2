"""JPEGs at reduced size, threads, and the process that is left as it was."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from images_samples import BOMBS, encoded, smooth
from PIL import Image, PngImagePlugin

from rvcnn.errors import ImageError
from rvcnn.images import decode
from rvcnn.images.decode import DRAFT_MARGIN

rng = np.random.default_rng(4)


@pytest.mark.parametrize(
    ("height", "width", "reduction"),
    [(511, 700, 1), (1030, 1300, 2), (2070, 2061, 4), (4200, 4300, 8)],
)
def test_a_jpeg_is_reduced_while_enough_remains(height, width, reduction):
    content = encoded(smooth(height, width), "JPEG")
    got = decode(content, min_side=round(512 / DRAFT_MARGIN))
    assert (got.width, got.height) == (width, height)
    assert got.image.size == (-(-width // reduction), -(-height // reduction))
    assert min(got.image.size) >= 512 or reduction == 1
    assert decode(content).image.size == (width, height)


def test_a_reduced_jpeg_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(smooth(1200, 2400), "JPEG", exif=exif)
    got = decode(content, min_side=200)
    assert (got.width, got.height) == (1200, 2400)
    assert got.image.width < got.image.height < 2400
    full = decode(content).image.resize(got.image.size, Image.Resampling.BOX)
    assert np.abs(np.asarray(full, int) - np.asarray(got.image)).mean() < 2


def test_only_jpegs_are_reduced():
    assert decode(encoded(smooth(1200, 1200)), min_side=100).image.size == (1200, 1200)


def test_threads():
    names = {"JPEG": {}, "PNG": {}, "GIF": {}, "WEBP": {}, "TIFF": {"compression": "tiff_lzw"}}
    sides = (20, 64, 301)
    contents = [
        encoded(rng.integers(0, 256, (side, side + 9, 3), np.uint8), name, **options)
        for name, options in names.items()
        for side in sides
    ]
    contents += [b"not an image", contents[0][:200]]

    def outcome(content):
        try:
            return decode(content, min_side=64).image.tobytes()
        except ImageError as error:
            return str(error)

    want = [outcome(c) for c in contents]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(outcome, contents * 12))
    assert got == want * 12


GLOBALS = """
import sys, warnings
import numpy
from PIL import Image, ImageFile, PngImagePlugin, TiffImagePlugin
def state():
    return (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK,
        PngImagePlugin.MAX_TEXT_CHUNK, PngImagePlugin.MAX_TEXT_MEMORY, TiffImagePlugin.READ_LIBTIFF,
        list(warnings.filters), sys.stderr, sys.stdout, Image.WARN_POSSIBLE_FORMATS)
before = state()
from rvcnn.errors import ImageError
from rvcnn.images import decode
for path in sys.argv[1:]:
    try:
        decode(path, min_side=32, max_megapixels=0.5)
    except ImageError:
        pass
assert state() == before, (state(), before)
assert Image._initialized < 2
"""


def test_nothing_global_is_changed(tmp_path):
    contents = [encoded(), encoded(name="GIF"), encoded(name="TIFF"), b"none", *BOMBS.values()]
    contents += [encoded()[:60], encoded(smooth(900, 900), "JPEG")]
    paths = [tmp_path / str(i) for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    run = subprocess.run(
        [sys.executable, "-c", GLOBALS, *paths], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr, run.stdout) == (0, "", "")
    assert PngImagePlugin.MAX_TEXT_CHUNK < 100_000_000
