"""Shorter vectors: the best axes, as a layer of the network, written and read again."""

import json
import pickle

import numpy as np
import pytest
from cli_checks import picture, run, run_ok
from graph_checks import random_tensors

from rvcnn import Embedder, create_model
from rvcnn.errors import UsageError
from rvcnn.models import ARCHITECTURES
from rvcnn.projection import principal_axes, reduced_weights
from rvcnn.weights import save_weights

IMAGES = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reduce")
    for seed in range(IMAGES):
        picture(seed).save(folder / f"{seed:02}.png")
    return folder


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("count", "width", "dim"), [(40, 7, 3), (5, 9, 5), (30, 6, 6)])
def test_no_other_axes_keep_more_and_lengths_do_not_count(count, width, dim):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, width)) * np.arange(1, width + 1)
    axes = principal_axes(rows, dim)
    np.testing.assert_allclose(axes @ axes.T, np.eye(dim), atol=1e-12)
    moment = unit(rows).T @ unit(rows)  # its largest eigenvalues are the most that can be kept
    kept = np.trace(axes @ moment @ axes.T)
    np.testing.assert_allclose(kept, np.sort(np.linalg.eigvalsh(moment))[-dim:].sum(), rtol=1e-12)
    scaled = principal_axes(rows * rng.uniform(0.1, 9, (count, 1)), dim)
    np.testing.assert_allclose(scaled, axes, atol=1e-9)
    assert (np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], 1) > 0).all()


@pytest.mark.parametrize(
    ("shape", "dim", "message"),
    [
        ((20, 6), 7, "of 6 values can be reduced to 1 to 6, not 7"),
        ((20, 6), 0, "not 0"),
        ((4, 6), 5, "5 values need at least 5 images to fit on; there are 4"),
    ],
)
def test_axes_that_cannot_be_had(shape, dim, message):
    with pytest.raises(UsageError, match=message):
        principal_axes(np.ones(shape), dim)


LAYERS = [None, "pooled", "features.9 pooled"]


@pytest.mark.parametrize("layer", LAYERS)
def test_the_written_network_gives_the_projections(folder, tmp_path, layer):
    file = tmp_path / "w.safetensors"
    options = () if layer is None else ("--embedding", layer)
    printed = run_ok("weights", "reduce", folder, "--dim", "5", "-o", file, *options, "--json")
    paths = sorted(folder.iterdir())
    full = Embedder(embedding=layer).embed(paths)
    axes = principal_axes(full, 5)
    want = unit(full.astype(float) @ axes.T)
    reduced = Embedder(weights=file)
    got = reduced.embed(paths)
    assert reduced.dim == 5
    # A value is a sum of D products of a float32 vector's values, and D more in the float32 head.
    bound = 4 * np.finfo(np.float32).eps * full.shape[1] / np.linalg.norm(full @ axes.T, axis=1)
    assert (np.abs(got - want).max(axis=1) <= bound).all() and bound.max() < 0.01
    facts = json.loads(printed)
    assert facts["dim"] == [full.shape[1], 5] and facts["fitted_on"] == IMAGES
    assert not facts["held_out"] and 0 < facts["kept"] <= 1 and 0 < facts["recall_at_10"] <= 1
    own = Embedder(weights=file, embedding="pooled")
    assert own.embed(paths[:1]).tobytes() == Embedder(embedding="pooled").embed(paths[:1]).tobytes()


def test_a_reduced_network_is_reduced_again_and_quantised(folder, tmp_path):
    first, second, int8 = (tmp_path / f"{name}.safetensors" for name in ("a", "b", "c"))
    run_ok(
        "weights", "reduce", folder, "--dim", "9", "-o", first, "--embedding", "features.9 pooled"
    )
    run_ok("weights", "reduce", folder, "--dim", "4", "-o", second, "--weights", first)
    paths = sorted(folder.iterdir())
    full, short = (Embedder(weights=file).embed(paths) for file in (first, second))
    np.testing.assert_allclose(short, unit(full @ principal_axes(full, 4).T), atol=1e-4)
    run_ok("quantize", folder, "--weights", second, "-o", int8, "--images", "4")
    held = Embedder(weights=int8, precision="int8").embed(paths)
    assert held.shape == (IMAGES, 4) and (held * short).sum(axis=1).min() > 0.9


def test_what_the_classifier_reads_is_reduced_beside_it(tmp_path):
    graph = ARCHITECTURES["mobilenetv3_small"].build(
        padding="same", bn_eps=1e-3, num_classes=3, embedding_dim=0
    )
    told = {"architecture": "mobilenetv3_small", "padding": "same", "bn_eps": "0.001"}
    told |= {"num_classes": "3", "embedding": "pooled"}
    save_weights(tmp_path / "w.safetensors", random_tensors(graph), told)
    full = create_model(weights=tmp_path / "w.safetensors", embedding="pre_logits")
    x = np.random.default_rng(1).standard_normal((4, 64, 64, 3)).astype(np.float32)
    axes = np.linalg.qr(np.random.default_rng(2).standard_normal((1024, 6)))[0].T
    weights = reduced_weights(full.weights, axes)
    save_weights(tmp_path / "r.safetensors", weights.tensors, weights.metadata)
    short = create_model(weights=tmp_path / "r.safetensors", num_classes=0)
    want = full(x) @ axes.T
    np.testing.assert_allclose(short(x), want, rtol=1e-4, atol=1e-5 * np.abs(want).max())
    logits = create_model(weights=tmp_path / "r.safetensors")
    whole = create_model(weights=tmp_path / "w.safetensors")
    assert logits(x).tobytes() == whole(x).tobytes()


def test_an_embedder_is_fitted_to_images_pickled_and_told_from_others(folder):
    paths = sorted(folder.iterdir())
    full = Embedder().embed(paths)
    emb = Embedder(components=6)
    with pytest.raises(UsageError, match="components=6: fit.images. comes first"):
        emb.embed(paths)
    assert not emb.__sklearn_is_fitted__()
    rows = emb.fit_transform(iter(paths))
    assert emb.__sklearn_is_fitted__() and emb.dim == 6 and rows.shape == (IMAGES, 6)
    np.testing.assert_allclose(rows, unit(full @ principal_axes(full, 6).T), atol=1e-4)
    assert pickle.loads(pickle.dumps(emb)).embed(paths).tobytes() == rows.tobytes()
    other = Embedder(components=6).fit(paths[:9])
    digests = {e.describe()["weights_sha256"] for e in (Embedder(), emb, other)}
    assert len(digests) == 3
    emb.set_params(components=5)
    with pytest.raises(UsageError, match="comes first"):
        emb.embed(paths)
    assert emb.fit(paths).dim == 5
    pooled = Embedder(components=4, embedding="features.9 pooled").fit(paths)
    assert pooled.dim == 4 and pooled.describe()["embedding"] == "features.9 pooled"


def test_components_that_cannot_be_had(folder):
    paths = sorted(folder.iterdir())
    with pytest.raises(UsageError, match="30 values need at least 30 images"):
        Embedder(components=30).fit(paths)
    with pytest.raises(UsageError, match="components of int8 weights"):
        Embedder(components=3, precision="int8").fit(paths).embed(paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dim", "600"), "can be reduced to 1 to 512, not 600"),
        (("--dim", "30"), "30 values need at least 30 images to fit on; there are 24"),
        (("--dim", "4", "--embedding", "features.4"), "is a map, not an embedding"),
        (("--dim", "4", "--exclude", "*"), "no images found"),
    ],
)
def test_what_cannot_be_reduced_leaves_no_file(folder, tmp_path, options, message):
    result = run("weights", "reduce", folder, "-o", tmp_path / "w.safetensors", *options)
    assert result.exit_code == 2 and message in result.stderr
    assert not any(tmp_path.iterdir())


def test_more_values_than_there_are_is_said_before_any_image_is_read(tmp_path):
    picture(1).save(tmp_path / "whole.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    result = run("weights", "reduce", tmp_path, "-o", tmp_path / "w.safetensors", "--dim", "600")
    assert result.exit_code == 2 and "not 600" in result.stderr
    assert "skipping" not in result.stderr


def test_photographs_are_compared_on_others(data, tmp_path):
    file = tmp_path / "w.safetensors"
    photos = data / "images" / "imagenet500"
    facts = json.loads(
        run_ok("weights", "reduce", photos, "--dim", "64", "--images", "100", "-o", file, "--json")
    )
    assert facts["held_out"] and facts["fitted_on"] == facts["compared_on"] == 100
    assert facts["recall_at_10"] > 0.5
