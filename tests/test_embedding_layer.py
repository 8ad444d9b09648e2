"""The layer that vectors come from: chosen, recorded in the index, never mixed."""

import json
import pickle

import numpy as np
import pytest
from cli_checks import picture, run, run_ok

from rvcnn import Embedder, create_model
from rvcnn.errors import ShapeError, UsageError, WeightsError


@pytest.fixture(scope="module")
def pictures():
    return [picture(i) for i in range(3)]


@pytest.mark.parametrize(("layer", "dim"), [("pooled", 576), ("features.9 pooled", 96)])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_vector_is_the_mean_of_that_layers_map_at_unit_length(pictures, layer, dim, precision):
    emb = Embedder(embedding=layer, precision=precision)
    rows = emb.embed(pictures)
    assert rows.shape == (3, dim) and emb.dim == dim
    name = layer.removesuffix(" pooled").replace("pooled", "features.12")
    x = emb.preprocess.normalise(np.stack([emb.preprocess.pixels(p) for p in pictures]))
    want = create_model().forward_features(x, [name])[name].mean(axis=(1, 2))
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    cosines = (rows * want).sum(axis=1)
    assert cosines.min() > (1 - 1e-6 if precision == "fp32" else 0.95)
    assert emb.describe()["embedding"] == layer


def test_the_weights_own_layer_is_not_told_and_gives_the_same_bits(pictures):
    usual, named = Embedder(), Embedder(embedding="embed")
    assert named.describe() == usual.describe() and "embedding" not in usual.describe()
    assert named.embed(pictures).tobytes() == usual.embed(pictures).tobytes()
    assert pickle.loads(pickle.dumps(Embedder(embedding="pooled"))).dim == 576


def test_what_gives_no_vector_is_refused_with_the_layers_there_are(pictures):
    with pytest.raises(ShapeError, match="no layer 'nowhere'; layers are features.0.0, .*, pooled"):
        Embedder(embedding="nowhere").embed(pictures)
    with pytest.raises(WeightsError, match="the mean of it is one, 'features.4 pooled'"):
        Embedder(embedding="features.4").embed(pictures)

    class Own:
        dim = 3

        def embed(self, images):
            return np.ones((len(images), 3))

    with pytest.raises(UsageError, match="has no layers to choose an embedding from"):
        Embedder(Own(), embedding="pooled").embed(pictures)


def test_an_index_keeps_its_layer(photos):
    pooled = ("--embedding", "pooled")
    result = run("embed", "photos", *pooled)
    assert result.exit_code == 4 and "embedding pooled" in result.stderr
    assert "rvcnn embed --rebuild" in result.stderr and "--embedding pooled" in result.stderr
    run_ok("embed", "photos", "--rebuild", *pooled)
    assert json.loads(run_ok("info", "photos", "--json"))["embedding"] == "pooled"
    query = photos / "a.png"
    assert run_ok("search", query, "--in", "photos") == run_ok(
        "search", query, "--in", "photos", *pooled
    )
    other = ("--embedding", "features.9 pooled")
    result = run("search", query, "--in", "photos", *other)
    assert result.exit_code == 4 and "embedding pooled" in result.stderr
    assert "embedding features.9 pooled" in result.stderr
    result = run("embed", "photos", *other)
    assert result.exit_code == 4 and "--embedding 'features.9 pooled'" in result.stderr
    picture(9).save(photos / "new.png")
    run_ok("embed", "photos")
    assert json.loads(run_ok("info", "photos", "--json"))["dimension"] == 576


def test_an_index_of_the_weights_own_layer_is_not_searched_with_another(photos):
    """Also where both give vectors as long."""
    query = photos / "a.png"
    result = run("search", query, "--in", "photos", "--embedding", "pooled")
    assert result.exit_code == 4 and result.stderr.endswith(" --embedding pooled`\n")
    assert "embedding pooled" in result.stderr.partition("which is not ")[2].partition(")")[0]


def test_a_model_of_another_layer_is_saved_with_every_head(tmp_path):
    create_model(embedding="pooled").save_weights(tmp_path / "w.safetensors")
    x = np.ones((1, 64, 64, 3), np.float32)
    assert create_model(weights=tmp_path / "w.safetensors").dim == 576
    again = create_model(weights=tmp_path / "w.safetensors", embedding="embed")
    assert again(x).tobytes() == create_model()(x).tobytes()


def test_a_quantised_network_keeps_the_layer_it_was_calibrated_for(photos, tmp_path):
    file = tmp_path / "w.safetensors"
    run_ok("quantize", photos, "-o", file, "--embedding", "features.9 pooled", "--images", "2")
    held = Embedder(weights=file, precision="int8")
    exact = Embedder(embedding="features.9 pooled")
    paths = [photos / "a.png", photos / "other2.png"]
    rows = held.embed(paths)
    assert rows.shape == (2, 96) and (rows * exact.embed(paths)).sum(axis=1).min() > 0.95


def test_auto_precision_is_of_the_weights_own_layer(photos):
    result = run("embed", "photos", "--rebuild", "--precision", "auto", "--embedding", "pooled")
    assert result.exit_code == 2 and "own embedding" in result.stderr
