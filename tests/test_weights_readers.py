"""Checkpoints of every kind give the tensors that were put in, and nothing else."""

import io
import zipfile
from collections import OrderedDict

import checkpoints as c
import numpy as np
import pytest
from safetensors.numpy import load_file

from rvcnn.errors import WeightsError
from rvcnn.model import create_model
from rvcnn.passes import optimise
from rvcnn.weights import load_weights, open_weights
from rvcnn.weights.contents import Refusal
from rvcnn.weights.readers.archive import Archive

REAL = "mobilenetv3_small_in1k_same"
KINDS = {f"{REAL}.pth": "PyTorch checkpoint", f"{REAL}_legacy.pth": "PyTorch checkpoint (legacy)"}


@pytest.fixture
def values():
    """Tensors of several shapes, one of them empty and one a scalar."""
    rng = np.random.default_rng(0)
    shapes = {"a.weight": (3, 4), "b": (5,), "empty": (0, 3), "scalar": (), "deep": (2, 3, 1, 2)}
    return {k: rng.standard_normal(s).astype(np.float32) for k, s in shapes.items()}


@pytest.fixture
def read(tmp_path):
    """Load weights from bytes."""

    def read(content, **options):
        (tmp_path / "w.any").write_bytes(content)
        return load_weights(tmp_path / "w.any", **options)

    return read


def npz(tensors, save=np.savez):
    out = io.BytesIO()
    save(out, **tensors)
    return out.getvalue()


def assert_holds(weights, tensors):
    assert weights.tensors.keys() == tensors.keys()
    for key, want in tensors.items():
        got = weights.tensors[key]
        assert got.dtype == np.float32 and got.shape == want.shape and got.flags.c_contiguous
        np.testing.assert_array_equal(got, want.astype(np.float32))


WRITERS = {
    "zip": c.as_zip,
    "legacy": c.as_legacy,
    "npz": npz,
    "npz compressed": lambda tensors: npz(tensors, np.savez_compressed),
}


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", WRITERS)
def test_values_come_back_as_float32(values, read, kind, dtype):
    values = {k: v.astype(dtype) for k, v in values.items()}
    assert_holds(read(WRITERS[kind](values)), values)


def test_the_kind_is_found_by_content_whatever_the_name(values, tmp_path):
    kinds = {"zip": "PyTorch checkpoint", "legacy": "PyTorch checkpoint (legacy)"}
    kinds |= {"npz": "NumPy archive", "npz compressed": "NumPy archive"}
    for name, write in WRITERS.items():
        path = tmp_path / "misleading.safetensors"
        path.write_bytes(write(values))
        assert open_weights(path).format == kinds[name]


@pytest.mark.parametrize("write", [c.as_zip, c.as_legacy])
def test_other_types_than_floats_are_refused_by_name_unless_ignored(read, write):
    fine = {"a": np.ones(2, np.float32), "bn.num_batches_tracked": np.array(7, np.int64)}
    assert_holds(read(write(fine)), {"a": fine["a"]})
    with pytest.raises(WeightsError, match="tensor 'counts' has dtype I64"):
        read(write(fine | {"counts": np.ones(2, np.int64)}))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_npz_of_any_byte_and_dimension_order(read, order, layout):
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 4) / 7
    stored = np.asarray(array.astype(f"{order}f8"), order=layout)
    assert_holds(read(npz({"a": stored})), {"a": array})


def test_a_legacy_checkpoint_of_the_other_byte_order(read):
    array = np.array([1.5, -2.25], np.float32)
    swapped = c.torch_legacy(
        {"a": c.tensor(array, "0", None)},
        {"0": np.frombuffer(array.astype(">f4").tobytes(), "<f4")},
        little_endian=False,
    )
    assert_holds(read(swapped), {"a": array})


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3, 2), (1, 3), 0),
        ((2, 2), (6, 2), 1),
        ((4,), (3,), 2),
        ((), (), 11),
        ((1, 5), (999, 1), 7),
        ((0, 7), (1, 1), 12),
    ],
)
def test_views_of_a_storage(read, shape, strides, offset):
    array = np.arange(12, dtype=np.float32)
    want = np.lib.stride_tricks.as_strided(array[offset:], shape, [4 * s for s in strides])
    stored = c.storage("FloatStorage", "7", 12)
    one = {"a": c.view(stored, shape, strides, offset), "b": c.view(stored, (12,), (1,))}
    assert_holds(read(c.torch_zip(one, {"7": array.tobytes()})), {"a": want, "b": array})


def test_a_legacy_storage_that_is_a_view_of_another(read):
    array = np.arange(12, dtype=np.float32)
    part = c.storage("FloatStorage", "7", 12, ("8", 4, 6))
    one = {"a": c.view(part, (2, 3), (3, 1))}
    assert_holds(read(c.torch_legacy(one, {"7": array})), {"a": array[4:10].reshape(2, 3)})


def test_bfloat16_is_the_upper_half_of_a_float32(read):
    bits = np.array([0x3F80, 0xC040, 0x0001, 0x7F80, 0x4049], np.uint16)
    one = {"a": c.view(c.storage("BFloat16Storage", "0", 5), (5,), (1,))}
    weights = read(c.torch_zip(one, {"0": bits.tobytes()}))
    assert (weights.tensors["a"].view(np.uint32) == bits.astype(np.uint32) << 16).all()
    assert weights.tensors["a"][:2].tolist() == [1.0, -3.0]


@pytest.mark.parametrize(
    "path",
    [
        ("state_dict",),
        ("model",),
        ("model_state",),
        ("ema", "module"),
        ("checkpoint_is_not_a_known_name",),
    ],
)
def test_where_the_tensors_are_in_a_checkpoint(values, read, path):
    def wrap(made):
        for name in reversed(path):
            made = {"epoch": 3, "best": 0.5, "args": ["a", None, True], name: made}
        return made

    content = c.as_zip(values, wrap)
    if path[0].startswith("checkpoint"):
        with pytest.raises(WeightsError, match="without a state dict"):
            read(content)
        assert_holds(read(content, entry=path[0]), values)
        return
    weights = read(content)
    assert_holds(weights, values)
    assert weights.notes == (f"took the tensors under {'.'.join(path)}",)


def test_averaged_weights_come_first_and_the_choice_is_said_and_can_be_changed(read):
    arrays = {"plain": np.zeros(2, np.float32), "averaged": np.ones(2, np.float32)}

    def wrap(made):
        return {
            "best_acc1": made["plain"],  # a tensor beside them, as PyTorch's examples keep it
            "state_dict": {"a": made["plain"]},
            "state_dict_ema": {"a": made["averaged"]},
        }

    content = c.as_zip(arrays, wrap)
    weights = read(content)
    assert_holds(weights, {"a": arrays["averaged"]})
    assert weights.notes == ("took the tensors under state_dict_ema; state_dict left aside",)
    assert_holds(read(content, entry="state_dict"), {"a": arrays["plain"]})
    with pytest.raises(WeightsError, match="without tensors under 'model'"):
        read(content, entry="model")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "net.backbone."])
def test_prefixes_of_wrapped_modules_come_off(values, read, prefix):
    named = {f"{prefix}x.{k}": v for k, v in values.items()}
    weights = read(c.as_zip(named | {"n_averaged": np.array(3, np.int64)}))
    assert_holds(weights, {f"x.{k}": v for k, v in values.items()})
    assert all(note.startswith("took ") for note in weights.notes)


def test_what_python_2_and_older_versions_wrote(read):
    array = np.arange(4, dtype=np.float32)
    old = c.Call(
        c.Global("torch._utils", "_rebuild_tensor"),
        (c.storage("FloatStorage", "0", 4, None), 0, (2, 2), (2, 1)),
    )
    parameter = c.Call(c.Global("torch._utils", "_rebuild_parameter"), (old, True, None))
    pairs = [[c.Raw(b"U\x01a"), parameter], (c.Raw(b"T\x01\x00\x00\x00b"), old)]
    ordered = c.Call(c.Global("collections", "OrderedDict"), (pairs,))
    want = array.reshape(2, 2)
    assert_holds(read(c.torch_legacy(ordered, {"0": array})), {"a": want, "b": want})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_are_read_as_zipfile_reads_them(method):
    rng = np.random.default_rng(3)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for i, name in enumerate(("a", "folder/b", "é/ü.txt", "empty")):
            data = bytes(rng.integers(0, 4, 1000 * (name != "empty"), np.uint8))
            with archive.open(name, "w", force_zip64=i % 2 == 0) as member:
                member.write(data)
        archive.comment = b"PK\x05\x06 in a comment"[4:] * 3
    found = Archive(memoryview(out.getvalue()))
    with zipfile.ZipFile(out) as archive:
        assert list(found.entries) == archive.namelist()
        for name in archive.namelist():
            assert bytes(found.read(name)) == archive.read(name)
            assert found.head(name, 10) == archive.read(name)[:10]
    with pytest.raises(Refusal, match="without 'b'"):
        found.read("b")


# --- PyTorch's own files ------------------------------------------------------------------------


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves(torch, tmp_path, read, zipped, protocol):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    state = OrderedDict(net.state_dict())
    state["half"], state["brain"] = torch.randn(3, 5).half(), torch.randn(7).bfloat16()
    state["turned brain"] = torch.randn(3, 5).bfloat16().T
    state["double"], state["turned"] = torch.randn(4).double(), torch.randn(4, 6).T
    state["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
    state["part"], state["tied"] = torch.arange(20.0)[3:9:2], state["0.weight"]
    state._metadata = net.state_dict()._metadata
    path = tmp_path / "torch.pth"
    torch.save(
        {"model": state, "optimizer": {"state": {0: {"step": 3}}, "sizes": torch.Size([1, 2])}},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )
    del state["1.num_batches_tracked"]
    assert_holds(load_weights(path), {k: v.detach().float().numpy() for k, v in state.items()})


def test_a_whole_module_is_refused_by_the_name_of_its_class(torch, tmp_path):
    for i, zipped in enumerate((True, False)):
        torch.save(
            torch.nn.Linear(2, 2), tmp_path / f"{i}.pth", _use_new_zipfile_serialization=zipped
        )
        with pytest.raises(WeightsError, match=r"asks for 'torch\.nn\.modules\.linear\.Linear'"):
            load_weights(tmp_path / f"{i}.pth")


# --- the same weights in several files ----------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_the_same_weights_in_another_format_are_the_same_network(data, name):
    folder = data / "weights"
    assert open_weights(folder / name).format == KINDS[name]
    want = create_model(weights=folder / f"{REAL}.safetensors")
    got = create_model(weights=folder / name, padding="same", bn_eps=0.001)
    for a, b in zip(optimise(want.graph).nodes, optimise(got.graph).nodes, strict=True):
        assert a.name == b.name and a.op == b.op
        assert {k: v.tobytes() for k, v in a.params.items()} == {
            k: v.tobytes() for k, v in b.params.items()
        }
    golden = load_file(data / "golden" / f"{REAL}.safetensors")
    x = (golden["pixels_u8_nhwc"][:4].astype(np.float32) / 255 - 0.5) / 0.5
    logits = got(x)
    assert logits.tobytes() == want(x).tobytes()
    assert (logits.argmax(1) == golden["logits_1000"][:4].argmax(1)).all()
