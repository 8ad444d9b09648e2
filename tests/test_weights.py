"""Weights files: what does not fit is named, what is damaged is refused, nothing is made up."""

import hashlib
import json
import struct
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from rvcnn.errors import RvcnnError, UsageError, WeightsError
from rvcnn.model import create_model
from rvcnn.models import MobileNetConfig, mobilenetv3
from rvcnn.weights import Weights, load_weights, random_weights, save_weights

EMBEDDED_FILE = str(files("rvcnn.data") / "mobilenetv3_small_rvcnn.safetensors")

METADATA = {
    "architecture": "mobilenetv3_small",
    "padding": "symmetric",
    "bn_eps": "0.001",
    "num_classes": "0",
    "embedding": "pooled",
    "key_layout": "torchvision",
}


@pytest.fixture(scope="module")
def tensors():
    """Small values for every key of MobileNetV3-Small without a head."""
    parameters = mobilenetv3(MobileNetConfig(embedding_dim=0)).parameters()
    return dict(random_weights(parameters, {}, seed=1).tensors)


@pytest.fixture
def save(tmp_path):
    """Write a weights file and return its path; a metadata value of None leaves the key out."""

    def save(tensors, **metadata):
        merged = {k: v for k, v in (METADATA | metadata).items() if v is not None}
        save_file(tensors, tmp_path / "weights.safetensors", merged)
        return tmp_path / "weights.safetensors"

    return save


# --- keys ---------------------------------------------------------------------------------------


def test_every_key_that_does_not_fit_is_named_in_one_error(tensors, save):
    changed = dict(tensors)
    del changed["features.0.0.weight"], changed["features.12.1.bias"]
    changed["features.99.weight"] = np.zeros(3, np.float32)
    changed["head.weight"] = np.zeros(3, np.float32)
    changed["features.1.block.0.0.weight"] = np.zeros((16, 16, 3, 3), np.float32)
    changed["features.2.block.0.1.running_var"] = np.zeros(71, np.float32)
    with pytest.raises(WeightsError) as caught:
        create_model(weights=save(changed))
    message = str(caught.value)
    missing, unexpected, misshapen = message.split("; ")[1:]
    assert "weights.safetensors" in message
    assert missing == "missing: features.0.0.weight, features.12.1.bias"
    assert unexpected == "unexpected: features.99.weight, head.weight"
    assert misshapen == (
        "misshapen: features.1.block.0.0.weight (16, 16, 3, 3) instead of (16, 1, 3, 3), "
        "features.2.block.0.1.running_var (71,) instead of (72,)"
    )


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "missing: a, b$"),
        ({"a": (2,), "b": (1, 2), "c": (1,)}, "network; unexpected: c$"),
        ({"a": (2,), "b": (2, 1)}, r"network; misshapen: b \(2, 1\) instead of \(1, 2\)$"),
        ({"a": (2,), "b": (1, 2), "c\nd": (1,)}, r"unexpected: 'c\\nd'$"),
        ({"a": (2,), "b": (2,)}, r"misshapen: b \(2,\) instead of \(1, 2\)$"),
    ],
)
def test_check_names_what_is_wrong_and_nothing_else(tensors, message):
    weights = Weights({k: np.zeros(s) for k, s in tensors.items()}, {}, "a file", "")
    with pytest.raises(WeightsError, match=message):
        weights.check({"a": (2,), "b": (1, 2)})


def test_num_batches_tracked_is_ignored(tensors, save):
    counters = {
        f"{key[: -len('running_var')]}num_batches_tracked": np.array(7, np.int64)
        for key in tensors
        if key.endswith("running_var")
    }
    assert len(counters) == 34
    x = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    want = create_model(weights=save(tensors))(x)
    got = create_model(weights=save(tensors | counters))(x)
    assert got.tobytes() == want.tobytes()


# --- metadata -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["padding", "bn_eps", "embedding"])
def test_what_the_file_does_not_say_is_an_error_that_names_it(tensors, save, key):
    with pytest.raises(WeightsError, match=rf"weights\.safetensors does not say its '{key}'"):
        create_model(weights=save(tensors, **{key: None}))


@pytest.mark.parametrize(("key", "value"), [("padding", "same"), ("bn_eps", 0.5)])
def test_what_the_file_does_not_say_may_be_given(tensors, save, key, value):
    x = np.random.default_rng(0).standard_normal((1, 33, 40, 3)).astype(np.float32)
    want = create_model(weights=save(tensors, **{key: str(value)}))(x)
    got = create_model(weights=save(tensors, **{key: None}), **{key: value})(x)
    assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize(("key", "value"), [("padding", "same"), ("bn_eps", 0.5)])
def test_what_is_given_wins_over_the_file(tensors, save, key, value):
    x = np.random.default_rng(0).standard_normal((1, 33, 40, 3)).astype(np.float32)
    given = create_model(weights=save(tensors), **{key: value})(x)
    assert given.tobytes() == create_model(weights=save(tensors, **{key: str(value)}))(x).tobytes()
    assert np.abs(given - create_model(weights=save(tensors))(x)).max() > 1e-3


def test_the_name_may_be_given_but_not_contradict(tensors, save):
    path = save(tensors, architecture=None)
    assert create_model("mobilenetv3_small", weights=path).dim == 576
    with pytest.raises(WeightsError, match="holds weights of mobilenetv3_small, not of mobilenetv"):
        create_model("mobilenetv3_large", weights=save(tensors))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("architecture", "vgg11"),
        ("padding", "reflect"),
        ("num_classes", "ten"),
        ("num_classes", "-4"),
        ("bn_eps", "small"),
        ("bn_eps", "nan"),
        ("bn_eps", "-1"),
        ("embedding", "features.77"),
        ("embedding", "features.3"),
    ],
)
def test_metadata_that_means_nothing_is_an_error_that_shows_it(tensors, save, key, value):
    with pytest.raises(RvcnnError, match=value.replace(".", r"\.")):
        create_model(weights=save(tensors, **{key: value}))


def test_an_embedding_without_a_width_is_an_error_that_names_it(tensors, save):
    with pytest.raises(WeightsError, match="'embedding_dim'"):
        create_model(weights=save(tensors, embedding="embed"))


# --- numbers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_float_is_read_as_float32(tmp_path, dtype):
    values = np.random.default_rng(2).standard_normal((3, 4)).astype(np.float16).astype(dtype)
    save_file({"a": values, "b": np.zeros(0, dtype)}, tmp_path / "w.safetensors", {"k": "v"})
    weights = load_weights(tmp_path / "w.safetensors")
    assert weights.tensors["a"].dtype == np.float32 and weights.tensors["b"].shape == (0,)
    assert (weights.tensors["a"] == values).all() and weights.metadata == {"k": "v"}


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path):
    bits = np.array([0x3F80, 0xC040, 0x4049], np.uint16)
    content = raw({"a": tensor(0, 6, (3, 1), "BF16")}, bits.tobytes())
    (tmp_path / "w.safetensors").write_bytes(content)
    found = load_weights(tmp_path / "w.safetensors").tensors["a"]
    assert found.dtype == np.float32 and found.tolist() == [[1.0], [-3.0], [3.140625]]


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.bool_])
def test_anything_but_floats_is_refused_by_name(tmp_path, dtype):
    path = tmp_path / "w.safetensors"
    save_file({"fine": np.zeros(2, np.float32), "counts": np.zeros(2, dtype)}, path)
    with pytest.raises(WeightsError, match=r"w\.safetensors: tensor 'counts' has dtype "):
        load_weights(path)


def test_tensors_may_lie_beyond_many_megabytes(tmp_path):
    """The largest networks' files: the offsets of a tensor are large, the tensor is not."""
    large, small = np.zeros(15_000_000, np.float16), np.float32([1.5, -2])
    save_file({"a": large, "b": small}, tmp_path / "large.safetensors")
    weights = load_weights(tmp_path / "large.safetensors")
    assert weights.tensors["b"].tolist() == [1.5, -2]


def test_the_digest_is_of_the_files_bytes(tensors, save):
    path = save(tensors)
    weights = load_weights(path)
    assert weights.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.source == str(path)


def test_the_embedded_weights_are_half_floats_of_the_default_model():
    path = files("rvcnn.data") / "mobilenetv3_small_rvcnn.safetensors"
    assert 2_000_000 < path.stat().st_size < 3_000_000
    model = create_model()
    assert model.dim == 512 and model.weights.sha256 == load_weights(path).sha256


# --- damaged and hostile files ------------------------------------------------------------------


def raw(header, data=b"", length=None):
    """Write a safetensors file by hand, right or wrong."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


HOSTILE = {
    "empty": b"",
    "seven bytes": b"1234567",
    "text": b"these are no weights, " * 100,
    "zeros": bytes(4096),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00.",
    "header beyond the file": raw({}, length=1000),
    "header of 2**63 bytes": raw({}, length=2**63),
    "header of 2**64 - 1 bytes": raw({}, length=2**64 - 1),
    "header of no bytes": raw(b""),
    "no JSON": raw(b"hello"),
    "a JSON list": raw([]),
    "invalid UTF-8": raw(b'{"\xff": 1}'),
    "brackets": raw(b"[" * 100_000),
    "braces": raw(b'{"a":' * 100_000),
    "metadata that is no text": raw({"__metadata__": {"architecture": 1}}),
    "negative offset": raw({"a": tensor(-4, 0)}, b"1234"),
    "end before begin": raw({"a": tensor(4, 0)}, b"1234"),
    "overlap": raw({"a": tensor(0, 4), "b": tensor(2, 6)}, b"123456"),
    "the same place twice": raw({"a": tensor(0, 4), "b": tensor(0, 4)}, b"1234"),
    "a hole": raw({"a": tensor(0, 4), "b": tensor(8, 12)}, b"123456789012"),
    "beyond the end": raw({"a": tensor(0, 400, (100,))}, b"1234"),
    "more than its place": raw({"a": tensor(0, 4, (2,))}, b"1234"),
    "more than memory": raw({"a": tensor(0, 4, (2**40, 2**40))}, b"1234"),
    "more than memory times zero": raw({"a": tensor(0, 0, (0, 2**62))}),
    "a negative side": raw({"a": tensor(0, 4, (-1,))}, b"1234"),
    "a hundred dimensions": raw({"a": tensor(0, 4, (1,) * 100)}, b"1234"),
    "unknown dtype": raw({"a": tensor(0, 4, dtype="X9")}, b"1234"),
    "eight bits": raw({"a": tensor(0, 1, dtype="F8_E4M3")}, b"1"),
    "bytes after the last tensor": raw({"a": tensor(0, 4)}, b"12345678"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_or_hostile_file_is_refused(tmp_path, content):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    for attempt in (load_weights, lambda p: create_model(weights=p)):
        with pytest.raises(WeightsError, match=r"hostile\.safetensors") as caught:
            attempt(path)
        assert "\n" not in str(caught.value)


def test_the_handmade_file_is_right_where_it_means_to_be(tmp_path):
    """Else every hostile file above could be refused for one common mistake."""
    data = np.array([1.5, -2.0], np.float32).tobytes()
    header = {"__metadata__": {"k": "v"}, "a": tensor(0, 4), "b": tensor(4, 8)}
    (tmp_path / "fine.safetensors").write_bytes(raw(header, data))
    weights = load_weights(tmp_path / "fine.safetensors")
    assert {k: v.tolist() for k, v in weights.tensors.items()} == {"a": [1.5], "b": [-2.0]}


@pytest.mark.parametrize("length", [128, 640, 640 + 256])
def test_a_header_whose_length_begins_as_a_pickle(tmp_path, length):
    header = json.dumps({"a": tensor(0, 4)}).encode().ljust(length)
    content = raw(header, np.float32(1.5).tobytes())
    assert content[0] == 0x80
    (tmp_path / "fine.safetensors").write_bytes(content)
    assert load_weights(tmp_path / "fine.safetensors").tensors["a"].tolist() == [1.5]


def test_a_file_cut_short_anywhere_is_refused(tensors, save, tmp_path):
    content = save(tensors).read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    path = tmp_path / "cut.safetensors"
    for length in (1, 8, header - 1, header, header + 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"cut\.safetensors"):
            load_weights(path)


def test_a_file_that_is_absent_or_no_file(tmp_path):
    with pytest.raises(WeightsError, match=r"gone\.safetensors: No such file"):
        create_model(weights=tmp_path / "gone.safetensors")
    with pytest.raises(WeightsError, match="cannot read the weights file"):
        create_model(weights=tmp_path)
    with pytest.raises(WeightsError, match="cannot read the weights file"):
        create_model(weights=Path("random"))


# --- random weights -----------------------------------------------------------------------------


def test_weights_are_never_made_up():
    for name in ("mobilenetv3_small", "mobilenetv3_large"):
        with pytest.raises(UsageError, match=f"{name} needs weights.*weights='random'"):
            create_model(name)
    with pytest.raises(WeightsError, match="random weights does not say its 'architecture'"):
        create_model(weights="random")


def test_random_weights_follow_their_seed_alone():
    def make(**options):
        model = create_model("mobilenetv3_small", weights="random", **options)
        return model.weights.tensors, model.weights.sha256

    (a, a_name), (b, b_name), (c, c_name) = make(), make(seed=0), make(seed=1)
    assert a_name == b_name != c_name
    assert all((a[k] == b[k]).all() for k in a)
    assert all((a[k] != c[k]).any() for k in a if a[k].ndim > 1)


def test_random_weights_keep_the_signal_alive():
    """He initialisation: maps neither vanish nor explode on the way."""
    model = create_model("mobilenetv3_large", weights="random", num_classes=10)
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 3)).astype(np.float32)
    logits = model(x)
    assert np.isfinite(logits).all() and 1e-4 < np.abs(logits).max() < 1e4
    assert np.abs(logits[0] - logits[1]).max() > 1e-3 * np.abs(logits).max()


def test_a_configuration_leaves_padding_to_the_file():
    same = create_model(num_classes=0)
    configured = create_model(MobileNetConfig(), num_classes=0, weights=EMBEDDED_FILE)
    x = np.random.default_rng(3).standard_normal((1, 64, 64, 3)).astype(np.float32)
    np.testing.assert_array_equal(configured(x), same(x))
    symmetric = MobileNetConfig(padding="symmetric")
    for config, padding in ((symmetric, None), (MobileNetConfig(), "symmetric")):
        other = create_model(config, num_classes=0, weights=EMBEDDED_FILE, padding=padding)
        assert np.abs(other(x) - same(x)).max() > 1e-3


@pytest.mark.parametrize("weights", [3, b"x", ["a"]])
def test_weights_that_are_no_path(weights):
    with pytest.raises(UsageError, match="weights must be a path"):
        create_model("mobilenetv3_small", weights=weights)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no device files here")
def test_a_device_is_no_weights_file():
    with pytest.raises(WeightsError, match="not a regular file"):
        create_model(weights="/dev/zero")


def test_what_the_shapes_of_the_tensors_say_need_not_be_stated(tmp_path):
    tensors = create_model("mobilenetv3_small", weights="random", num_classes=7).weights.tensors
    trunk = {k: v for k, v in tensors.items() if not k.startswith("embed.")}
    metadata = {"padding": "same", "bn_eps": "0.001", "embedding": "pooled"}
    save_file(trunk, tmp_path / "w.safetensors", metadata)
    weights = load_weights(tmp_path / "w.safetensors")
    found = {"architecture": "mobilenetv3_small", "num_classes": "7"}
    assert weights.metadata == metadata | found
    (note,) = weights.notes
    assert note == "from the shapes of its tensors: architecture mobilenetv3_small, num_classes 7"
    x = np.ones((1, 32, 32, 3), np.float32)
    assert create_model(weights=tmp_path / "w.safetensors")(x).shape == (1, 7)
    assert create_model(weights=tmp_path / "w.safetensors", num_classes=0)(x).shape == (1, 576)


def test_shapes_that_fit_no_architecture_say_nothing(tensors, save):
    path = save(tensors | {"more": np.zeros(3, np.float32)}, architecture=None)
    assert load_weights(path).notes == ()
    with pytest.raises(WeightsError, match="does not say its 'architecture'"):
        create_model(weights=path)


# --- saving -------------------------------------------------------------------------------------


def test_saved_weights_run_as_the_model_they_came_from(tmp_path, tensors, save):
    x = np.random.default_rng(0).standard_normal((1, 40, 33, 3)).astype(np.float32)
    path = save(tensors, padding=None, bn_eps=None, architecture=None)
    model = create_model(weights=path, padding="same", bn_eps=0.01, normalize=True)
    model.save_weights(tmp_path / "saved.safetensors")
    again = create_model(weights=tmp_path / "saved.safetensors")
    assert again(x).tobytes() == model(x).tobytes()
    stated = {"padding": "same", "bn_eps": "0.01", "normalize": "true", "num_classes": "0"}
    assert stated.items() <= again.weights.metadata.items()


def test_saved_bytes_depend_on_the_weights_alone(tmp_path):
    for name, order in {"forth": list, "back": reversed}.items():
        model = create_model("mobilenetv3_small", weights="random", num_classes=3)
        mappings = (model.weights.tensors, model.weights.metadata)
        turned = (dict(order(mapping.items())) for mapping in mappings)
        save_weights(tmp_path / name, *turned)
    assert (tmp_path / "forth").read_bytes() == (tmp_path / "back").read_bytes()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", np.int8, np.bool_])
def test_what_is_written_is_what_safetensors_reads(tmp_path, dtype):
    array = np.arange(-3, 9).reshape(3, 4).astype(dtype)
    odd = {"b": array.T, "a": array[:0], 'name with "quotes" é': array[1, 1]}
    save_weights(tmp_path / "w.safetensors", odd, {"k": "välue\n"})
    read = load_file(tmp_path / "w.safetensors")
    assert read.keys() == odd.keys()
    for key, want in odd.items():
        assert read[key].shape == want.shape and (read[key] == want).all()
        assert read[key].dtype == np.dtype(dtype).newbyteorder("=")
    with safe_open(tmp_path / "w.safetensors", "np") as file:
        assert file.metadata() == {"k": "välue\n"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    import rvcnn.paths

    path = tmp_path / "w.safetensors"
    save_weights(path, {"a": np.ones(3, np.float32)}, {})
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rvcnn.paths.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(path, {"a": np.zeros(9, np.float32)}, {})
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1
