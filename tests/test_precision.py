"""int8 beside fp32: the embedded model's quality, and who chooses between the two."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from cli_checks import picture, run, run_ok

from rvcnn import Embedder, create_model
from rvcnn.bench import PIXELS
from rvcnn.errors import UsageError, WeightsError
from rvcnn.images import Preprocess
from rvcnn.passes import quantise
from rvcnn.plan import Plan
from rvcnn.precision import FEWEST, IMAGES, choose
from rvcnn.quantization import calibrate
from rvcnn.quantization.quality import compare, top1
from rvcnn.quantization.sample import read_pixels
from rvcnn.quantization.trial import vectors
from rvcnn.weights import save_weights


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision")
    for i in range(FEWEST):
        picture(i).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def names(data):
    return [str(path) for path in sorted((data / "images" / "imagenet500").iterdir())]


def test_the_embedded_model_finds_the_same_neighbours(names):
    """Four in five of the ten nearest of 500 photographs is what other int8 networks reach."""
    exact, held = (Embedder(precision=p).embed(names) for p in ("fp32", "int8"))
    quality = compare(exact, held)
    assert quality.recall >= 0.85
    assert quality.cosine >= 0.98


@pytest.mark.slow
def test_a_calibrated_classifier_is_as_good(data, names):
    """Calibrated on every other photograph: top-1 of the rest, and of all, within two points."""
    file = data / "weights" / "mobilenetv3_small_in1k_same.safetensors"
    model = create_model(weights=file)
    _, pixels = read_pixels(names, Preprocess.from_metadata(model.weights.metadata))
    held = model.quantised(calibrate(model, pixels[::2]))
    labels = 2 * np.arange(len(names))
    exact, rounded = vectors(model, pixels), vectors(held, pixels)
    for part in (slice(None), slice(1, None, 2)):
        assert top1(rounded[part], labels[part]) >= top1(exact[part], labels[part]) - 0.02
    assert not np.array_equal(exact, rounded)


def test_pixels_and_normalised_images_give_the_same():
    model = create_model(precision="int8")
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    normalised = ((image / 255 - 0.5) / 0.5).astype(np.float32)
    assert np.array_equal(model(normalised[None]), vectors(model, image[None]))


def test_threads_give_the_same():
    model = create_model(precision="int8")
    image = np.random.default_rng(1).integers(0, 256, (224, 224, 3), np.uint8)
    plan = model.plan((224, 224), (np.full(3, 2 / 255, np.float32), np.full(3, -1, np.float32)))
    (alone,) = plan.run(image)
    for threads in (2, 3):
        assert np.array_equal(plan.run(image, threads)[0], alone)


def test_features_are_what_the_bytes_stand_for():
    x = np.random.default_rng(2).standard_normal((1, 224, 224, 3)).astype(np.float32)
    exact, held = (
        create_model(precision=p).forward_features(x, ["features.4"])["features.4"]
        for p in ("fp32", "int8")
    )
    assert exact.dtype == held.dtype == np.float32
    assert 0 < np.abs(exact - held).max() < 0.1 * np.abs(exact).max()


@pytest.mark.parametrize(("held", "asked"), [("fp32", "int8"), ("int8", "fp32")])
def test_a_file_of_the_other_precision(held, asked):
    file = create_model(precision=held).weights.source
    with pytest.raises(WeightsError, match=f"holds {held} weights, not {asked}"):
        create_model(weights=file, precision=asked)


def test_int8_needs_calibrated_weights():
    with pytest.raises((UsageError, WeightsError), match="quantize"):
        create_model("mobilenetv3_large", weights="random", precision="int8")


def test_too_few_images_stay_fp32(photos):
    assert choose(sorted(map(str, photos.iterdir()))[: FEWEST - 1]).precision == "fp32"


@pytest.mark.parametrize("least", [0.0, 1.01])
def test_the_choice_says_why(photos, least):
    """Whether int8 is the faster one is the machine's affair; no share is above 1."""
    choice = choose(sorted(map(str, photos.iterdir())), least)
    assert "ms an image here" in choice.reason
    assert choice.precision == "fp32" or least == 0


def test_photographs_keep_their_neighbours(names):
    reason = choose(names).reason
    assert f"of the ten nearest of {IMAGES} images" in reason
    kept = float(reason.split("int8 keeps ")[1].split()[0])
    assert kept >= 0.85


def test_an_index_keeps_its_precision(photos):
    said = run("embed", photos, "--precision", "auto", "--min-recall", "1")
    assert said.exit_code == 0
    assert "--precision" in said.stderr
    run_ok("embed", photos, "--precision", "int8", "--rebuild")
    assert ["precision", "int8"] in [line.split() for line in run_ok("info", photos).splitlines()]
    query = photos / "03.png"
    first = json.loads(run_ok("search", query, "--in", photos, "--json").splitlines()[0])
    assert first["score"] > 0.9999
    assert "int8" not in run("embed", photos, "--precision", "auto").stderr
    refused = run("embed", photos, "--precision", "fp32")
    assert refused.exit_code == 4
    assert "precision int8" in refused.stderr
    assert f"--rebuild {photos} --precision fp32`" in refused.stderr
    run_ok("embed", photos, "--rebuild", "--precision", "fp32")
    assert ["precision", "fp32"] in [line.split() for line in run_ok("info", photos).splitlines()]


def test_a_rebuild_chooses_anew(photos):
    run_ok("embed", photos, "--precision", "int8", "--rebuild")
    said = run("embed", photos, "--precision", "auto", "--min-recall", "1", "--rebuild")
    chosen = re.search(r"^--precision (fp32|int8): ", said.stderr, re.M)
    assert chosen, said.stderr
    assert ["precision", chosen[1]] in [
        line.split() for line in run_ok("info", photos).splitlines()
    ]


def test_auto_is_of_the_embedded_model(photos):
    result = run("embed", photos, "--precision", "auto", "--weights", "other.safetensors")
    assert result.exit_code == 2
    assert "rvcnn quantize" in result.stderr
    run_ok("embed", photos, "--embedding", "pooled", "--rebuild")
    result = run("embed", photos, "--precision", "auto", "--rebuild")
    assert result.exit_code == 2
    assert "rvcnn quantize" in result.stderr


def test_an_embedder_calibrates_on_images(photos):
    paths = sorted(photos.glob("*.png"))
    file = create_model().weights.source
    calibrated = Embedder(weights=file, precision="int8", calibration=paths[:8])
    exact = Embedder().embed(paths)
    held = calibrated.embed(paths)
    assert (np.einsum("nd,nd->n", exact, held) > 0.95).all()
    assert (exact != held).any(1).all()
    again = Embedder(weights=file, precision="int8", calibration=paths[:8])
    assert again.weights_sha256 == calibrated.weights_sha256
    others = Embedder(weights=file, precision="int8", calibration=paths[:7])
    assert len({calibrated.weights_sha256, others.weights_sha256, Embedder().weights_sha256}) == 3


@pytest.mark.parametrize(
    ("precision", "calibration", "said"),
    [("fp32", ["a.png"], "precision='int8'"), ("int8", [], "there are none")],
)
def test_a_calibration_that_cannot_be(precision, calibration, said):
    with pytest.raises(UsageError, match=said):
        Embedder(precision=precision, calibration=calibration).embed([])


def test_what_is_wanted_is_real():
    """Any layer can be an embedding; bytes stay inside the network."""
    model = create_model(precision="int8")
    inner = replace(model.graph, outputs=("features.4.block.1.2", *model.graph.outputs))
    plan = Plan(quantise(inner, model._quantization), (64, 64, 3), PIXELS)
    image = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    expanded, vector = plan.run(image)
    assert expanded.dtype == vector.dtype == np.float32
    assert np.allclose(vector, vectors(model, image[None])[0], atol=0.1)


@pytest.mark.parametrize("key", ["embedding_dim", "num_classes"])
def test_a_width_that_no_memory_holds_is_refused_first(tmp_path, key):
    held = create_model(precision="int8").weights
    metadata = {**held.metadata, key: "1000000000000000"}
    save_weights(tmp_path / "w.safetensors", held.tensors, metadata)
    with pytest.raises(WeightsError, match="does not fit the network: it holds [0-9]+ values, not"):
        create_model(weights=tmp_path / "w.safetensors", precision="int8")
