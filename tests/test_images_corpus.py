"""Decoding and preprocessing on real files: photographs, modes, orientations, broken files."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from rvcnn.errors import ImageError
from rvcnn.images import ALLOWED_FORMATS, Preprocess, decode

SECONDS_A_FILE = 10

# Run apart, so that a crash or a hang in a C library is a failed test and not a dead run.
DECODE_ALL = f"""
import faulthandler, sys, time, warnings
from rvcnn.errors import ImageError
from rvcnn.images import Preprocess, decode
warnings.simplefilter("ignore")
preprocess = Preprocess()
for path in sys.stdin.read().split("\\0"):
    faulthandler.dump_traceback_later({SECONDS_A_FILE}, exit=True)
    print("reading", ascii(path), flush=True)
    try:
        decoded = decode(path, min_side=256)
        preprocess.pixels(decoded.image, (decoded.width, decoded.height))
    except ImageError as error:
        text = str(error)
        assert text.isprintable() and 0 < len(text) <= 160, ascii(text)
    faulthandler.cancel_dump_traceback_later()
print("all read")
"""


def survives(paths):
    run = subprocess.run(
        [sys.executable, "-c", DECODE_ALL],
        input="\0".join(map(str, paths)),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    last = run.stdout.splitlines()[-2:]
    assert run.returncode == 0, f"{last}\n{run.stderr[-2000:]}"
    assert last[-1] == "all read"


def files(folder):
    found = sorted(p for p in folder.rglob("*") if p.is_file())
    assert found
    return found


def test_pixels_equal_the_stored_ones(data):
    golden = data / "golden" / "mobilenetv3_small_in1k_same.safetensors"
    with safe_open(golden, "np") as file:
        names = json.loads(file.metadata()["files"])
        want = file.get_tensor("pixels_u8_nhwc")
    assert len(names) == len(want) == 16
    for name, stored in zip(names, want, strict=True):
        decoded = decode(data / "images" / "imagenet500" / name, min_side=256)
        got = Preprocess().pixels(decoded.image, (decoded.width, decoded.height))
        assert np.abs(got.astype(int) - stored).max() <= 1, name


def test_photographs_agree_with_resizing_the_whole_image(data):
    pre = Preprocess()
    for path in files(data / "images" / "imagenet500")[::5]:
        image = decode(path).image
        width, height = image.size
        scale = 256 / min(width, height)
        whole = image.resize((round(width * scale), round(height * scale)), Image.BILINEAR)
        x, y = (whole.width - 224) // 2, (whole.height - 224) // 2
        want = np.asarray(whole.crop((x, y, x + 224, y + 224)), int)
        assert np.abs(pre.pixels(image) - want).max() <= 1, path.name


def test_colour_modes(data):
    for path in files(data / "images" / "modes"):
        decoded = decode(path)
        with Image.open(path) as image:
            size, mode = image.size, image.mode
            if mode in ("RGB", "L", "CMYK", "1", "P") and not image.info.get("transparency"):
                assert decoded.image.tobytes() == image.convert("RGB").tobytes(), path.name
        assert decoded.image.size == size


@pytest.mark.parametrize("name", ["Landscape", "Portrait"])
def test_eight_orientations_are_one_picture(data, name):
    pictures = [
        decode(data / "images" / "exif" / f"{name}_{orientation}.jpg", min_side=256)
        for orientation in range(9)
    ]
    assert len({(p.width, p.height) for p in pictures}) == 1
    landscape = name == "Landscape"
    assert (pictures[0].width > pictures[0].height) == landscape
    pre = Preprocess()
    upright = [pre.pixels(p.image, (p.width, p.height)).astype(int) for p in pictures]
    for other in upright[1:]:
        difference = np.abs(other - upright[0]).mean()
        turned = np.abs(np.rot90(other) - upright[0]).mean()
        assert difference < 4 < turned


@pytest.mark.filterwarnings("ignore:::PIL")
def test_what_pillow_loads_is_decoded(data):
    formats = [f for f in ALLOWED_FORMATS if f not in ("MPO", "HEIF")]
    loaded = 0
    for path in files(data / "images" / "odd"):
        content = path.read_bytes()
        try:
            with Image.open(path, formats=formats) as image:
                image.load()
                size = image.size
        except Exception:
            size = None
        start = time.perf_counter()
        try:
            decoded = decode(content)
        except ImageError as error:
            assert size is None, f"{path.name}: {error}"
            continue
        finally:
            assert time.perf_counter() - start < SECONDS_A_FILE, path.name
        assert decoded.image.mode == "RGB"
        assert (decoded.width, decoded.height) == decoded.image.size
        assert size is None or sorted(size) == sorted(decoded.image.size)
        loaded += 1
    assert loaded >= 525


def test_odd_files_neither_crash_nor_hang(data):
    survives(files(data / "images" / "odd"))


def test_the_fuzzers_files_neither_crash_nor_hang(data):
    survives(files(data / "images" / "fuzz"))


def test_every_photograph_cut_short(data, tmp_path):
    paths = []
    for path in files(data / "images" / "imagenet500")[::10] + files(data / "images" / "modes"):
        content = path.read_bytes()
        for part in (0.01, 0.3, 0.9):
            cut = tmp_path / f"{len(paths)}{path.suffix}"
            cut.write_bytes(content[: int(len(content) * part)])
            paths.append(cut)
            with pytest.raises(ImageError):
                decode(cut)
    survives(paths)
