"""Hostile ONNX files: each loads or gives one clear error; nothing runs, hangs or grows."""

import ast

import hostile_onnx
import numpy as np
import pytest
from test_weights_hostile import SLOWEST, mutated, outcomes, write

import rvcnn
from rvcnn.errors import WeightsError

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare


@pytest.mark.parametrize("kind", ["onnx", "weights"])
def test_every_hostile_file_is_refused(tmp_path, kind):
    (tmp_path / "w.bin").write_bytes(b"abcd" * 10)
    names = write(tmp_path / "files", hostile_onnx.files())
    results = outcomes(tmp_path / "files", *([kind] if kind == "onnx" else []))
    wrong = {}
    for number, (seconds, result) in results.items():
        name = names[number]
        if kind == "onnx" and "convolution" in name and result == "loaded 1":
            continue  # a session finds out when it knows the input's size
        refused = result.startswith("refused ")
        message = ast.literal_eval(result.removeprefix("refused ")) if refused else result
        if not refused or "\n" in message or len(result) > 400 or seconds > SLOWEST:
            wrong[name] = (seconds, result)
    assert wrong == {}


def test_the_handmade_network_is_right_where_it_means_to_be():
    """Else every hostile file could be refused for one common mistake."""
    session = rvcnn.onnx.load(hostile_onnx.good())
    (y,) = session.run(np.ones((1, 3, 8, 8), np.float32))
    assert y.shape == (1, 5) and np.isfinite(y).all()


def test_all_unknown_operators_are_named():
    with pytest.raises(WeightsError, match="has not: 'Curse', 'Spell', 'com.example::Relu'"):
        nodes = [
            hostile_onnx.node("Spell", "image", "a"),
            hostile_onnx.node("Relu", "a", "b", domain="com.example"),
            hostile_onnx.node("Curse", "b"),
        ]
        rvcnn.onnx.load(hostile_onnx.model(nodes))


def test_data_beside_the_file(tmp_path):
    """Read from the model's own folder, never from elsewhere, a link's target included."""
    relu = [hostile_onnx.node("Add", "image w")]
    (tmp_path / "model").mkdir()
    (tmp_path / "w.bin").write_bytes(np.float32([3, 5]).tobytes())
    (tmp_path / "model" / "w.bin").write_bytes(np.float32([3, 5]).tobytes())
    path = tmp_path / "model" / "m.onnx"
    path.write_bytes(hostile_onnx.model(relu, [hostile_onnx.outside("w.bin", "4")]))
    (y,) = rvcnn.onnx.load(path).run(np.ones((1, 3, 8, 8), np.float32))
    assert (y == 6).all()
    with pytest.raises(WeightsError, match="lies in another file, 'w.bin'"):
        rvcnn.onnx.load(path.read_bytes())
    for offset in ("5", "-1", "x"):
        path.write_bytes(hostile_onnx.model(relu, [hostile_onnx.outside("w.bin", offset)]))
        with pytest.raises(WeightsError, match="has no place in 'w.bin' of 8 bytes"):
            rvcnn.onnx.load(path)
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "w.bin")
    path.write_bytes(hostile_onnx.model(relu, [hostile_onnx.outside("link.bin")]))
    with pytest.raises(WeightsError, match="no file in the model's folder"):
        rvcnn.onnx.load(path)


def mutations(count, seed):
    rng = np.random.default_rng(seed)
    original = hostile_onnx.good()
    for i in range(count):
        yield f"{i}", mutated(original, rng)


@pytest.mark.parametrize("kind", ["onnx", "weights"])
@pytest.mark.parametrize(
    ("count", "seed"),
    [(150, 1), *(pytest.param(1250, seed, marks=pytest.mark.slow) for seed in range(2, 10))],
)
def test_mutations_load_or_are_refused(tmp_path, kind, count, seed):
    write(tmp_path / "files", mutations(count, seed))
    results = outcomes(tmp_path / "files", *([kind] if kind == "onnx" else []))
    wrong = {
        number: result
        for number, (seconds, result) in results.items()
        if not result.startswith(("refused ", "loaded ")) or seconds > SLOWEST
    }
    assert wrong == {}
    refused = sum(result.startswith("refused ") for _, result in results.values())
    assert 0.3 * count < refused < count
