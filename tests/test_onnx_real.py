"""Imported networks on real pictures: against ONNX Runtime, and against what is to be seen."""

import sys

import numpy as np
import pytest
from cli_checks import run
from PIL import Image
from scipy import ndimage
from test_backbones import relative_error

import rvcnn
from rvcnn.errors import ShapeError, WeightsError
from rvcnn.weights.convert import import_weights

onnx = pytest.importorskip("onnx", reason="the extra `onnx`")
pytestmark = pytest.mark.compare

IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))
SAME = "weights/mobilenetv3_small_in1k_same"


def planes(path, size, mean=0.5, std=0.5):
    """A picture of this (width, height) as (1, 3, H, W) float32."""
    pixels = Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)
    x = (np.asarray(pixels) / 255 - mean) / std
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)


def photos(data, count):
    return sorted((data / "images" / "imagenet500").iterdir())[: 50 * count : 50]


def runtime(onnxruntime, path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("fastestdet", [(352, 352)]),
        ("nanodet_m", [(416, 416)]),
        ("ppocr_cls", [(192, 48), (100, 48)]),
        ("ppocr_v3_det", [(256, 160), (96, 128)]),
    ],
)
def test_real_models_agree_with_onnx_runtime(onnxruntime, data, name, sizes):
    path = data / "onnx" / f"{name}.onnx"
    session, reference = rvcnn.onnx.load(path), runtime(onnxruntime, path)
    picture = data / "images" / "ocr_sample.jpg" if "ocr" in name else photos(data, 1)[0]
    for size in sizes:
        x = planes(picture, size, *IMAGENET)
        if session.inputs[0].shape[0] is None:
            x = np.concatenate([x, x[..., ::-1]])
        want = reference.run(None, {session.inputs[0].name: x})
        for got, expected in zip(session.run(x), want, strict=True):
            assert relative_error(got, expected) <= 1e-3


TEXTS = {
    "the bank's name": (112, 46, 362, 72),
    "CHINA CONSTRUCTION BANK": (113, 79, 362, 93),
    "LONG CARD (DEBIT CARD": (113, 108, 422, 130),
    "6214 6672 0188 8893": (55, 166, 422, 189),
    "CCB SZ": (80, 204, 161, 222),
    "ATM": (50, 252, 86, 267),
    "a line of small Chinese": (99, 238, 330, 250),
    "ACCESS TO DEPOSIT": (99, 253, 329, 264),
    "AND PAYMENT": (99, 266, 327, 279),
    "UnionPay": (377, 240, 460, 260),
    "the same in Chinese": (407, 261, 449, 278),
    "the site's name": (402, 294, 490, 307),
    "the site's address": (402, 307, 490, 318),
}
"""Where the eye sees text on the bank card: left, top, right, bottom in pixels."""


def text_boxes(probability, width, height):
    """Boxes round what the detector takes for text (Liao et al., 2020).

    A detector of this kind marks the inside of a text; its box is larger by 1.5 times area over
    circumference.
    """
    labels, _ = ndimage.label(probability > 0.3)
    scale = np.array([width / probability.shape[1], height / probability.shape[0]])
    boxes = []
    for rows, columns in ndimage.find_objects(labels):
        w, h = columns.stop - columns.start, rows.stop - rows.start
        if min(w, h) < 3 or probability[rows, columns].mean() < 0.6:
            continue
        more = 1.5 * w * h / (2 * (w + h))
        corners = [
            [columns.start - more, rows.start - more],
            [columns.stop + more, rows.stop + more],
        ]
        boxes.append((np.array(corners) * scale).ravel())
    return boxes


def overlap(a, b):
    """Area that two boxes share, and the areas of both."""
    w, h = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    return w * h, *((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))


def test_the_detector_finds_the_texts(data):
    picture = data / "images" / "ocr_sample.jpg"
    (y,) = rvcnn.onnx.load(data / "onnx" / "ppocr_v3_det.onnx").run(
        planes(picture, (736, 480), *IMAGENET)
    )
    boxes = text_boxes(y[0, 0], *Image.open(picture).size)
    found = set()
    for name, text in TEXTS.items():
        shares = [overlap(box, text) for box in boxes]
        found |= {name} if any(s / (a + b - s) >= 0.5 for s, a, b in shares) else set()
    assert found == TEXTS.keys()
    for box in boxes:
        assert max(s / a for s, a, _ in (overlap(box, text) for text in TEXTS.values())) >= 0.5


def test_a_classifier_is_the_built_in_network(data):
    built_in = {"weights": data / f"{SAME}.safetensors"}
    imported = {"weights": data / f"{SAME}.onnx"}
    x = np.concatenate([planes(p, (224, 224)) for p in photos(data, 4)]).transpose(0, 2, 3, 1)
    for options in ({}, {"num_classes": 0}, {"embedding": "pre_logits"}):
        want = rvcnn.create_model(**built_in, **options)(x)
        got = rvcnn.create_model(**imported, **options)(x)
        assert relative_error(got, want) <= 1e-5
        assert (got.argmax(1) == want.argmax(1)).all()
    plans = [rvcnn.create_model(**kind).plan((224, 224)) for kind in (built_in, imported)]
    kernels = [[call.kernel.name for call in plan.calls() if call] for plan in plans]
    assert kernels[0] == kernels[1]


SAID = {"mean": "0.5,0.5,0.5", "std": "0.5,0.5,0.5", "resize": "256", "interpolation": "bilinear"}


def test_an_imported_file_needs_no_onnx(data, tmp_path, monkeypatch):
    target = tmp_path / "w.safetensors"
    import_weights(data / f"{SAME}.onnx", target, **SAID)
    monkeypatch.setitem(sys.modules, "onnx", None)
    embedder = rvcnn.Embedder(weights=target)
    files = photos(data, 3)
    want = rvcnn.Embedder(weights=data / f"{SAME}.safetensors").embed(files)
    assert np.abs(embedder.embed(files) - want).max() <= 1e-5
    with pytest.raises(ShapeError, match="images of 224 x 224 pixels alone, not 192 x 192"):
        embedder.backend._model(np.zeros((1, 192, 192, 3)))
    with pytest.raises(WeightsError, match=r"pip install 'rvcnn\[onnx\]'"):
        rvcnn.create_model(weights=data / f"{SAME}.onnx")


def test_what_an_onnx_file_does_not_say_is_named(data, tmp_path):
    model = data / f"{SAME}.onnx"
    refused = run("weights", "import", model, "-o", tmp_path / "w.safetensors")
    assert refused.exit_code == 2
    missing = "does not say its mean, std, resize, interpolation: give --mean, --std, --resize"
    assert missing in refused.stderr
    with pytest.raises(WeightsError, match="has no 'resize'.*weights import"):
        rvcnn.Embedder(weights=model).embed([data / "images" / "ocr_sample.jpg"])
    with pytest.raises(WeightsError, match="run it with rvcnn.onnx.load"):
        rvcnn.create_model(weights=data / "onnx" / "fastestdet.onnx")


def test_tensors_in_another_file_are_part_of_the_weights(data, tmp_path):
    """Two files with the same graph and other tensors beside them are other weights."""
    whole = data / f"{SAME}.onnx"
    apart = tmp_path / "m.onnx"
    onnx.save(onnx.load(whole), apart, save_as_external_data=True, location="m.data")
    model, (first,) = rvcnn.create_model(weights=apart), photos(data, 1)
    x = planes(first, (224, 224)).transpose(0, 2, 3, 1)
    assert np.array_equal(model(x), rvcnn.create_model(weights=whole)(x))
    bytes_beside = bytearray((tmp_path / "m.data").read_bytes())
    bytes_beside[0] ^= 1
    (tmp_path / "m.data").write_bytes(bytes_beside)
    assert rvcnn.create_model(weights=apart).weights.sha256 != model.weights.sha256
