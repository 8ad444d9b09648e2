"""Thresholds: the edits they are found by, the tail beyond what was seen, what is said of them."""

import json
import re

import numpy as np
import pytest
from cli_checks import picture, run, run_ok
from PIL import Image, ImageDraw, ImageOps

import rvcnn
from rvcnn.dedup.calibrate import calibrate
from rvcnn.dedup.edits import EDITS, edited
from rvcnn.dedup.orientations import Invariant, embed_orientations, orientations
from rvcnn.dedup.pictures import Picture
from rvcnn.dedup.tail import least_rate, threshold_for
from rvcnn.dedup.vectors import Vectors
from rvcnn.errors import UsageError
from rvcnn.images import decode
from rvcnn.index import Item


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("size", [(96, 80), (1, 1), (1, 40), (31, 2)])
def test_an_edit_is_an_rgb_image_and_the_same_each_time(name, size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(pixels)
    once, again, other = (edited(image, name, seed) for seed in (3, 3, 4))
    assert once.mode == "RGB"
    assert once.tobytes() == again.tobytes()
    assert np.array_equal(np.asarray(image), pixels)
    assert min(other.size) >= 1


def test_edits_do_what_they_are_called():
    image = picture(1)
    pixels = np.asarray(image).astype(int)
    for seed in range(8):
        assert edited(image, "half size", seed).size == (48, 40)
        assert edited(image, "crop 10 %", seed).size == (86, 72)
        assert edited(image, "crop 30 %", seed).size == (67, 56)
        assert edited(image, "border", seed).size == (104, 88)
        assert edited(image, "mirror", seed).tobytes() == ImageOps.mirror(image).tobytes()
        assert edited(image, "rotation", seed).size in ((96, 80), (80, 96))
        hidden = (np.asarray(edited(image, "occluded part", seed)) == 128).all(axis=2).mean()
        assert 0.03 < hidden < 0.08
        for name in ("brightness", "gamma", "recompression", "blur", "text overlay"):
            changed = np.asarray(edited(image, name, seed)).astype(int)
            assert changed.shape == pixels.shape
            assert 0 < np.abs(changed - pixels).max()


def test_a_rate_that_was_seen_is_counted():
    cosines = np.random.default_rng(0).uniform(-0.2, 0.7, 20_000)
    for rate in (0.3, 0.01, least_rate(20_000)):
        cosine, extrapolated = threshold_for(rate, cosines)
        assert not extrapolated
        assert (cosines >= cosine).sum() == round(rate * 20_000)
    assert threshold_for(least_rate(20_000) * 0.99, cosines).extrapolated
    assert least_rate(20_000) == 10 / 20_000


@pytest.mark.parametrize("power", [2.0, 6.0, 12.0])
def test_beyond_it_a_tail_that_ends_at_one_is_followed(power):
    """``P(cosine > c) = (1 - c) ** power``: the threshold of a rate is known."""
    uniform = np.random.default_rng(int(power)).uniform(0, 1, 50_000)
    cosines = 1 - uniform ** (1 / power)
    for rate in (1e-5, 1e-6, 1e-8):
        cosine, extrapolated = threshold_for(rate, cosines)
        assert extrapolated
        # The exponent's standard error is 1 / sqrt(500) of it: four of them.
        logs = np.log(1 - cosine) / (np.log(rate) / power)
        assert abs(logs - 1) < 4 / np.sqrt(500)
        assert cosine < 1


def test_rates_and_samples_that_cannot_be_meant():
    for rate in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UsageError, match="between 0 and 1"):
            threshold_for(rate, np.zeros(100))
    with pytest.raises(UsageError, match="too few"):
        threshold_for(0.1, np.zeros(39))


def test_orientations_are_the_eight_of_a_square():
    pixels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    turned = list(orientations(pixels))
    assert np.array_equal(turned[0], pixels)
    transposed = [np.asarray(Image.fromarray(pixels).transpose(t)) for t in Image.Transpose]
    want = {pixels.tobytes(), *(t.tobytes() for t in transposed)}
    assert {t.tobytes() for t in turned} == want
    assert len(want) == 8
    assert [np.asarray(i).tobytes() for i in orientations(Image.fromarray(pixels))] == [
        t.tobytes() for t in turned
    ]


def write_turned(folder, count=3):
    """Write pictures and each of their orientations; what is where is in the name."""
    paths = []
    for seed in range(count):
        image = Image.fromarray(
            np.asarray(picture(seed)).repeat(4, 0).repeat(4, 1)[:300, :300].copy()
        )
        image.paste(picture(seed + 50), (10, 20))
        for i, turned in enumerate(orientations(image)):
            paths.append(folder / f"{seed}-{i}.png")
            turned.save(paths[-1])
    return paths


@pytest.mark.parametrize("references", [0, 8])
def test_invariant_finds_what_is_turned_or_mirrored(compiled, tmp_path, references):
    paths = write_turned(tmp_path)
    embedder = rvcnn.Embedder()
    rows = embedder.embed(paths)
    pictures = [Picture(path, Item(path.name), None) for path in paths]
    told = []
    finder = Invariant(embedder, 2, lambda *counts: told.append(counts))
    pairs = finder(pictures, Vectors.of(rows), references, 0.97)
    assert told[-1] == (len(paths) - references,) * 2
    # By brute force: every orientation of the one with the other as it is.
    turned = np.stack([embed_orientations(embedder, decode(path)) for path in paths])
    cosines = np.einsum("iod,jd->ijo", turned, rows, dtype=np.float64).max(axis=2)
    got = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    same = {(i, j) for i in range(24) for j in range(i + 1, 24) if i // 8 == j // 8}
    if references:
        assert all(i < 8 <= j for i, j in got)
        same = {(i, j) for i, j in same if i < 8 <= j}
    assert same <= got
    # Which side is turned decides little: pixels of the window, by at most one.
    assert all(max(cosines[i, j], cosines[j, i]) > 0.97 - 2e-2 for i, j in got)
    assert len(got) == len(pairs.first)


def scene(seed: int) -> Image.Image:
    """Return six coloured shapes before stripes."""
    rng = np.random.default_rng(seed)
    image = picture(seed).resize((240, 200))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y = rng.integers(0, 200, 2).tolist()
        width, height = rng.integers(20, 120, 2).tolist()
        shape = (draw.ellipse, draw.rectangle)[rng.integers(2)]
        shape((x, y, x + width, y + height), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return image


@pytest.fixture(scope="module")
def many(compiled, tmp_path_factory):
    """A folder of thirty different pictures, a copy of one and a file that is no image."""
    folder = tmp_path_factory.mktemp("many")
    for seed in range(30):
        scene(seed).save(folder / f"{seed:02}.png")
    Image.open(folder / "00.png").save(folder / "copy.jpg", quality=90)
    run_ok("embed", folder)
    (folder / "broken.png").write_text("no image")
    return folder


def test_what_a_calibration_says_is_so(many):
    embedder = rvcnn.Embedder()
    paths = sorted(many.glob("*.*g"))
    found = calibrate(embedder, paths, 0.05)
    assert found.pictures == 31
    assert [p.rpartition("/")[2].rpartition("\\")[2] for p in found.same] == ["copy.jpg"]
    assert found.pairs == 30 * 29 // 2
    assert not found.extrapolated
    assert found.least_rate == 10 / found.pairs
    # The share of different pairs that reach the threshold in any version, by brute force.
    images = {p.name: decode(p).image for p in paths if p.name not in ("broken.png", "copy.jpg")}
    order = [p.name for p in paths]
    versions = np.stack(
        [
            embedder.embed([im, *(edited(im, name, order.index(n)) for name in EDITS)])
            for n, im in images.items()
        ]
    ).astype(np.float64)
    alike = np.einsum("iad,jbd->ijab", versions, versions).max(axis=(2, 3))
    alike = alike[np.triu_indices(30, 1)]
    assert (alike >= found.threshold + 1e-5).sum() <= int(0.05 * found.pairs)
    assert (alike >= found.threshold - 1e-5).sum() >= int(0.05 * found.pairs)
    assert abs(found.closest[2] - alike.max()) < 1e-5
    assert set(found.recall) == set(EDITS)
    assert found.recall["brightness"] > 0.5
    assert calibrate(embedder, paths, 0.05, workers=1) == found


def test_invariant_calibration_finds_rotations(many):
    paths = sorted(many.glob("*.png"))
    upright, invariant = (
        calibrate(rvcnn.Embedder(), paths, 0.05, sample=14, invariant=i) for i in (False, True)
    )
    assert invariant.recall["rotation"] == invariant.recall["mirror"] == 1
    assert upright.recall["rotation"] < 1


def test_the_command_says_what_the_threshold_is_worth(many):
    seen = run("dedup", many, "--fpr", "0.05")
    assert seen.exit_code == 0
    assert re.search(r"--min-similarity 0\.\d{3}: 5.0e-02 of pairs .*, counted on 435", seen.stderr)
    assert re.search(r"recompression \d+\.\d%, half size \d+\.\d%, blur", seen.stderr)
    assert "1 pictures were set aside" in seen.stderr
    beyond = run("dedup", many, "--fpr", "1e-7", "--quiet", "--json")
    assert re.search(r"extrapolated: 435 pairs show rates from 2.3e-02 up", beyond.stderr)
    assert "recompression" not in beyond.stderr
    assert len(beyond.stderr.splitlines()) == 1
    assert all(json.loads(line)["duplicates"] for line in beyond.stdout.splitlines())


def test_the_command_compares_in_all_orientations(compiled, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_turned(tmp_path, 2)
    run_ok("embed", ".")
    groups = run_ok("dedup", ".", "--invariant", "--min-similarity", "0.97", "--json").splitlines()
    assert sorted(len(json.loads(group)["duplicates"]) for group in groups) == [7, 7]


def test_rates_that_cannot_be_meant_are_refused(many):
    for args in (["--fpr", "0"], ["--fpr", "1"], ["--fpr", "0.1", "--min-similarity", "0.9"]):
        assert run("dedup", many, *args).exit_code == 2
