"""`rvcnn quantize`: a calibrated file, what it is worth, and what cannot be asked for."""

import json

import numpy as np
import pytest
from cli_checks import make_photos, picture, run, run_ok
from PIL import Image

import rvcnn
from rvcnn.cli.quantize import CALIBRATIONS as NAMES
from rvcnn.quantization import CALIBRATIONS
from rvcnn.quantization.make import ENOUGH
from rvcnn.weights import save_weights


@pytest.fixture(scope="module")
def folder(compiled, tmp_path_factory):
    """Six pictures, and a file that is none."""
    folder = tmp_path_factory.mktemp("quantize") / "photos"
    make_photos(folder)
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def made(folder):
    """The embedded model calibrated on them: the file, stdout and stderr."""
    file = folder.parent / "mine.safetensors"
    result = run("quantize", folder, "-o", file)
    assert result.exit_code == 0, result.stderr
    return file, result


def test_the_file_makes_vectors_near_float32s(folder, made):
    file, _ = made
    paths = sorted(folder.glob("*.png"))
    exact = rvcnn.Embedder().embed(paths)
    held = rvcnn.Embedder(weights=file, precision="int8").embed(paths)
    assert (np.einsum("nd,nd->n", exact, held) > 0.95).all()
    assert (exact != held).any(1).all()
    assert file.stat().st_size < 1.5e6


def test_what_it_says(made):
    file, result = made
    first, head, *rows = result.stdout.splitlines()
    assert first == "calibrated on 6 images, compared on 6 the same"
    assert head.split() == ["float32", "int8"]
    table = {row[:14].strip(): row[14:].split() for row in rows}
    assert list(table) == ["recall@10", "cosine", "least cosine", "ms an image", "bytes"]
    assert float(table["cosine"][1]) > 0.97
    assert int(table["bytes"][1]) == file.stat().st_size < int(table["bytes"][0])
    assert "skipping" in result.stderr and "broken.jpg" in result.stderr


def test_enough_images_are_compared_on_others(folder, tmp_path):
    for seed in range(ENOUGH):
        picture(seed).save(tmp_path / f"{seed}.png")
    out = tmp_path / "q.safetensors"
    facts = json.loads(run_ok("quantize", tmp_path, "-o", out, "--json", "--quiet"))
    assert facts["held_out"] and facts["written"] and facts["top1"] is None
    assert facts["calibrated_on"] + facts["compared_on"] == ENOUGH
    assert 0.5 < facts["recall_at_10"] <= 1 and facts["cosine"] > 0.9
    assert min(facts["ms_per_image"]) > 0
    fewer = json.loads(run_ok("quantize", tmp_path, "-o", out, "--json", "--images", "3"))
    assert fewer["calibrated_on"] == 6 and not fewer["held_out"]


def test_a_recall_that_is_not_reached_writes_nothing(folder, tmp_path, monkeypatch):
    from rvcnn.quantization import make

    monkeypatch.setattr(make, "compare_models", lambda *models: _trial(0.5))
    out = tmp_path / "q.safetensors"
    result = run("quantize", folder, "-o", out, "--min-recall", "0.9")
    assert result.exit_code == 1 and "recall@10 is below 0.9" in result.stderr
    assert not out.exists()
    assert "recall@10          1.000     0.500" in result.stdout
    run_ok("quantize", folder, "-o", out, "--min-recall", "0.5")
    assert out.exists()


def _trial(recall):
    from rvcnn.quantization.quality import Quality
    from rvcnn.quantization.trial import Trial

    return Trial(6, Quality(0.9, 0.8, recall), (2.0, 1.0))


def test_top1_of_a_classifier(folder, tmp_path):
    model = rvcnn.create_model("mobilenetv3_small", weights="random", num_classes=7)
    weights, labels = tmp_path / "classes.safetensors", tmp_path / "labels.csv"
    model.save_weights(weights)
    x = [np.asarray(Image.open(f).convert("RGB").resize((224, 224))) for f in folder.glob("*.png")]
    assert model(np.float32(x)).shape[1] == 7
    names = [p.name for p in folder.rglob("*.*") if p.is_file()]
    labels.write_text("".join(f"{name},3\n" for name in names))
    out = tmp_path / "q.safetensors"
    options = ("--weights", weights, "-o", out)
    facts = json.loads(run_ok("quantize", folder, *options, "--labels", labels, "--json"))
    exact, held = facts["top1"]
    assert exact == pytest.approx(round(6 * exact) / 6) and 0 <= held <= 1
    logits = rvcnn.create_model(weights=out, precision="int8")
    assert logits.dim == 7
    labels.write_text("a.png,3\n")
    assert "no label for" in run("quantize", folder, *options, "--labels", labels).stderr


def test_calibrations_are_the_librarys():
    assert tuple(CALIBRATIONS) == NAMES


@pytest.mark.parametrize("name", NAMES[1:])
def test_every_calibration_makes_a_network(folder, tmp_path, name):
    out = tmp_path / "q.safetensors"
    facts = json.loads(run_ok("quantize", folder, "-o", out, "--calibration", name, "--json"))
    assert facts["cosine"] > 0.9


def test_what_cannot_be(folder, made, tmp_path):
    out = tmp_path / "q.safetensors"
    (tmp_path / "empty").mkdir()
    save_weights(tmp_path / "bad.safetensors", {"a": np.zeros(3, np.float32)}, {})
    for words, code, message in (
        ((tmp_path / "absent", "-o", out), 2, "no such file or folder"),
        ((tmp_path / "empty", "-o", out), 2, "0 readable images"),
        ((folder / "a.png", "-o", out), 2, "1 readable images"),
        ((folder, "-o", tmp_path), 2, "no regular file"),
        ((folder, "-o", tmp_path / "absent" / "q"), 2, "no such folder"),
        ((folder, "-o", out, "--weights", tmp_path / "bad.safetensors"), 2, "bad.safetensors"),
        ((folder, "-o", out, "--weights", made[0]), 2, "int8"),
        ((folder, "-o", out, "--labels", tmp_path / "absent"), 2, "cannot read the labels"),
        ((folder, "-o", out, "--calibration", "best"), 2, "best"),
    ):
        result = run("quantize", *words)
        assert result.exit_code == code, (words, result.stderr)
        assert message in result.stderr.splitlines()[-1], (words, result.stderr)
        assert not out.exists() and "Traceback" not in result.stderr


def test_an_existing_file_survives_a_failure(folder, tmp_path):
    out = tmp_path / "q.safetensors"
    out.write_bytes(b"mine")
    assert run("quantize", tmp_path, "-o", out).exit_code == 2
    assert out.read_bytes() == b"mine"
