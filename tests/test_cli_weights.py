"""`rvcnn weights info` and `import`, and what other commands say of foreign weights."""

import json
import sys
from pathlib import Path

import checkpoints as c
import click
import numpy as np
import pytest
from cli_checks import picture, run, run_ok
from graph_checks import random_tensors
from layouts import to_timm

from rvcnn import Embedder
from rvcnn.cli.weights import command
from rvcnn.model import create_model
from rvcnn.models import ARCHITECTURES, MobileNetConfig, mobilenetv3
from rvcnn.weights import load_weights

TRANSLATED = "names are timm's; translated to torchvision's"
FOUND = "from the shapes of its tensors: architecture mobilenetv3_small, num_classes 4"


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A checkpoint in timm's layout, in the current folder."""
    monkeypatch.chdir(tmp_path)
    tensors = random_tensors(mobilenetv3(MobileNetConfig(num_classes=4, embedding_dim=0)))
    halves = {k: v.astype(np.float16) for k, v in to_timm(tensors, "mobilenetv3_small").items()}
    (tmp_path / "model.pth").write_bytes(c.as_zip(halves, lambda t: {"state_dict": t}))
    return "model.pth"


@pytest.mark.parametrize(
    "command",
    [
        ("weights", "info"),
        ("weights", "import", "-o", "w.safetensors"),
        ("embed", ".", "--weights"),
    ],
)
def test_without_the_package_onnx_a_message_says_how_to_get_it(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    Path("m.onnx").write_bytes(b"\x08\x08")
    result = run(*command, "m.onnx")
    needs = "reading ONNX files needs the package onnx: pip install 'rvcnn[onnx]'"
    assert (result.exit_code, result.stderr) == (2, f"rvcnn: {needs}\n")


@pytest.mark.parametrize("name", ["info", "import", "pull", "export", "reduce"])
def test_help_ends_with_an_example(name):
    *_, title, example = run_ok("weights", name, "-h").rstrip().splitlines()
    assert title.strip() == "Example:" and example.split()[:3] == ["rvcnn", "weights", name]
    for option in command.commands[name].params:
        assert isinstance(option, click.Argument) or option.help, option.name


def test_info(source):
    result = run("weights", "info", source)
    assert result.exit_code == 0, result.stderr
    facts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert facts["format"] == "PyTorch checkpoint" and facts["layout"] == "timm"
    assert facts["dtypes"] == "F16 210" and facts["tensors"] == "210"
    assert facts["architecture"] == "mobilenetv3_small" and facts["num_classes"] == "4"
    assert facts["sha256"] == load_weights(source).sha256
    assert result.stderr.splitlines() == [
        "took the tensors under state_dict",
        TRANSLATED,
        FOUND,
    ]


def test_info_as_json(source):
    facts = json.loads(run_ok("weights", "info", source, "--json"))
    trained = create_model(
        "mobilenetv3_small", weights=source, padding="same", bn_eps=1e-3
    ).num_parameters
    assert facts["parameters"] == trained
    assert facts["metadata"] == {"architecture": "mobilenetv3_small", "num_classes": "4"}
    assert facts["notes"][1:] == [TRANSLATED, FOUND]


def test_info_of_what_no_architecture_fits(tmp_path):
    (tmp_path / "w.pth").write_bytes(c.as_zip({"a.weight": np.ones((2, 3), np.float32)}))
    facts = json.loads(run_ok("weights", "info", tmp_path / "w.pth", "--json"))
    assert facts["parameters"] == 6 and facts["layout"] == "not translated"
    assert facts["metadata"] == {} and facts["notes"] == []


def test_import_writes_a_file_that_runs_as_the_source_does(source):
    result = run("weights", "import", source, "-o", "w.safetensors", "--preset", "timm")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "" and result.stderr.splitlines()[1:] == [
        TRANSLATED,
        FOUND,
        "mobilenetv3_small with 210 tensors written to w.safetensors",
    ]
    x = np.random.default_rng(0).standard_normal((1, 64, 64, 3)).astype(np.float32)
    want = create_model(weights=source, padding="symmetric", bn_eps=1e-5)(x)
    imported = create_model(weights="w.safetensors")
    assert imported(x).tobytes() == want.tobytes()
    assert imported.weights.metadata["interpolation"] == "bicubic"
    assert imported.weights.metadata["embedding"] == "pooled"
    assert imported.weights.notes == ()


def test_options_win_over_the_preset(source):
    options = ("--padding", "same", "--bn-eps", "0.01", "--mean", "0,0,0", "--license", "mine")
    run_ok("weights", "import", source, "-o", "w.safetensors", "--preset", "timm", *options)
    metadata = load_weights("w.safetensors").metadata
    assert metadata["padding"] == "same" and metadata["bn_eps"] == "0.01"
    assert metadata["mean"] == "0,0,0" and metadata["std"] == "0.229,0.224,0.225"
    assert metadata["license"] == "mine"


def test_what_a_file_cannot_say_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build = ARCHITECTURES["shufflenetv2_x0_5"].build
    heads = dict(num_classes=0, embedding_dim=0)
    tensors = random_tensors(build(padding=None, bn_eps=1e-5, conv5=False, **heads))
    Path("w.pth").write_bytes(c.as_zip(tensors))
    told = {
        "activation": "leaky_relu_0.1",
        "conv5": "false",
        "shuffle": "before a block",
        "channel_order": "bgr",
        "normalize": "true",
        "embedding": "stage4.1 pooled",
        "mean": "0.1,0.2,0.3",
        "std": "1,2,3",
        "resize": "100",
        "crop": "96",
        "interpolation": "bicubic",
        "padding": "same",
        "bn_eps": "0.01",
        "source": "here",
    }
    given = [part for k, v in told.items() for part in (f"--{k.replace('_', '-')}", v)]
    run_ok("weights", "import", "w.pth", "-o", "w.safetensors", *given)
    assert told.items() <= load_weights("w.safetensors").metadata.items()
    emb = Embedder(weights="w.safetensors")
    assert emb.dim == 192 and emb.preprocess.channel_order == "bgr" and emb.preprocess.crop == 96


def test_import_of_a_complete_file_needs_no_options_and_gives_the_same_bytes(source):
    run_ok("weights", "import", source, "-o", "w.safetensors", "--preset", "timm")
    run_ok("weights", "import", "w.safetensors", "-o", "again.safetensors", "--quiet")
    run_ok("weights", "import", "again.safetensors", "-o", "again.safetensors")
    again = open("again.safetensors", "rb").read()
    assert again == open("w.safetensors", "rb").read()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "give --padding, --bn-eps, --mean, --std, --resize, --crop, --interpolation, or"),
        (("--preset", "keras"), 2, "unknown preset 'keras'; there are torchvision, timm"),
        (("--preset", "timm", "--entry", "ema"), 2, "without tensors under 'ema'"),
        (("--preset", "timm", "--architecture", "mobilenetv3_large"), 2, "model.pth"),
        (("--preset", "timm", "--padding", "some"), 2, "'some'"),
        (("--preset", "timm", "--mean", "0.5"), 2, "mean"),
        (("--preset", "timm", "--resize", "100"), 2, "crop 224 must be from 1 to resize, 100"),
        (("--preset", "timm", "--embedding", "nowhere"), 2, "no layer 'nowhere'"),
    ],
)
def test_what_cannot_be_imported_is_one_line_and_leaves_no_file(source, options, code, message):
    result = run("weights", "import", source, "-o", "w.safetensors", *options)
    assert message in result.stderr
    assert result.exit_code in (1, code) and result.stderr.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["model.pth"]


@pytest.mark.parametrize("target", ["w.pth", "no/w.safetensors", "folder.safetensors"])
def test_a_target_that_cannot_be(source, target, tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    result = run("weights", "import", source, "-o", target, "--preset", "timm")
    assert result.exit_code == 2 and f"cannot write {target}" in result.stderr


def test_a_command_that_is_given_foreign_weights_says_how_it_read_them(source, compiled, tmp_path):
    run_ok("weights", "import", source, "-o", "w.safetensors", "--preset", "timm")
    weights = load_weights("w.safetensors")
    from safetensors.numpy import save_file

    save_file(to_timm(weights.tensors, "mobilenetv3_small"), "timm.safetensors", weights.metadata)
    picture(1).save("a.png")
    files = ("a.png", "--no-index", "-o", "x.npy", "--weights")
    assert TRANSLATED in run("embed", *files, "timm.safetensors").stderr
    first = np.load("x.npy")
    assert TRANSLATED not in run("embed", *files, "w.safetensors").stderr
    assert np.load("x.npy").tobytes() == first.tobytes()
    assert TRANSLATED not in run("embed", *files, "timm.safetensors", "--quiet").stderr


@pytest.mark.compare
def test_export_writes_the_embedders_network(onnxruntime, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    image = picture(3)
    result = run("weights", "export", "-o", "m.onnx", "--preprocess", "resize", "--postprocess")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "mobilenetv3_small, 512 values an image, written to m.onnx\n"
    session = onnxruntime.InferenceSession("m.onnx", providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {"pixels": np.array(image)[None]})[0]
    assert got @ Embedder().embed([image])[0] > 0.999
    run_ok("weights", "export", "-o", "p.onnx", "--embedding", "pooled", "--any-size", "--quiet")
    session = onnxruntime.InferenceSession("p.onnx", providers=["CPUExecutionProvider"])
    x = np.ones((1, 3, 50, 61), np.float32)
    assert session.run(None, {"input": x})[0].shape == (1, 576)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "m.pb"), "its name must end in .onnx"),
        (("-o", "m.onnx", "--logits"), "has no classifier: leave --logits out"),
        (("-o", "m.onnx", "--logits", "--embedding", "pooled"), "--logits is"),
        (("-o", "m.onnx", "--embedding", "nowhere"), "no layer 'nowhere'; layers are features.0"),
        (("-o", "m.onnx", "--any-size", "--input-size", "64"), "neither one that is given"),
        (("-o", "m.onnx", "-m", "resnet18"), "resnet18 needs weights"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_no_file(
    tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    result = run("weights", "export", *options)
    assert message in result.stderr and result.exit_code in (1, 2)
    assert not any(Path().iterdir())
