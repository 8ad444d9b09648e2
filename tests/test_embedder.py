"""Images to vectors: any source, one row an image, whatever else goes wrong."""

import io
import json
import os
import pickle
import threading
import time

import numpy as np
import pytest
from kernels_checks import assert_within
from pictures import encoded, picture
from PIL import Image
from reference_net import ReferenceNet
from safetensors.numpy import save_file

from rvcnn import Embedder
from rvcnn.errors import ImageError, UsageError
from rvcnn.images import Preprocess, decode
from rvcnn.model import create_model
from rvcnn.models import MobileNetConfig


@pytest.fixture(scope="session")
def emb():
    return Embedder(workers=2)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Twelve PNG files, 00.png to 11.png. Not to be changed."""
    path = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        (path / f"{i:02}.png").write_bytes(encoded(i))
    return path


@pytest.fixture(scope="session")
def paths(folder):
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def rows(emb, paths):
    return [emb.embed_one(path).tobytes() for path in paths]


def as_bytes(vectors):
    return [row.tobytes() for row in vectors]


# --- sources ------------------------------------------------------------------------------------


class Somewhere:
    """A path that is neither text nor a Path."""

    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return os.fspath(self.path)


def test_every_kind_of_source_gives_the_same_vector(emb, paths, rows):
    content = paths[0].read_bytes()
    image = Image.open(paths[0])
    array = np.array(image)
    locked = array.copy()
    locked.flags.writeable = False
    wide = np.zeros((80, 192, 3), np.uint8)
    wide[:, ::2] = array
    opaque = np.dstack([array, np.full((80, 96), 255, np.uint8)])
    with open(paths[0], "rb") as file:
        vectors = emb.embed(
            [
                str(paths[0]),
                paths[0],
                Somewhere(paths[0]),
                content,
                bytearray(content),
                memoryview(content),
                io.BytesIO(content),
                file,
                array,
                locked,
                wide[:, ::2],
                np.asfortranarray(array),
                opaque,
                image,
                image.convert("RGBA"),
            ]
        )
    assert as_bytes(vectors) == rows[:1] * 15
    assert (array == np.array(Image.open(paths[0]))).all()


def test_the_vector_is_the_float64_networks(emb):
    weights = emb.backend._model.weights
    net = ReferenceNet(weights.tensors, weights.metadata)
    for size in ((96, 80), (640, 427), (224, 224), (31, 900)):
        pixels = emb.pixels(decode(picture(5, size)))
        assert pixels.shape == (224, 224, 3) and pixels.dtype == np.uint8
        want = net(net.normalise(pixels[None]))["output"]
        assert_within(emb.embed([picture(5, size)]), want, 1e-5, str(size))


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_a_file_of_another_size_width_and_scale(tmp_path, padding):
    """Crops of odd size and vectors longer than 512, which the file's metadata ask for."""
    model = create_model(MobileNetConfig(padding=padding, embedding_dim=640), weights="random")
    metadata = dict(
        architecture="mobilenetv3_small",
        padding=padding,
        bn_eps="0.001",
        num_classes="0",
        embedding="embed",
        embedding_dim="640",
        resize="128",
        crop="97",
        interpolation="bilinear",
        mean="0.485,0.456,0.406",
        std="0.229,0.224,0.225",
    )
    save_file(dict(model.weights.tensors), tmp_path / "w.safetensors", metadata)
    emb = Embedder(weights=tmp_path / "w.safetensors")
    pixels = emb.pixels(decode(picture(7, (200, 133))))
    assert pixels.shape == (97, 97, 3) and emb.dim == 640
    net = ReferenceNet(model.weights.tensors, metadata)
    want = net(net.normalise(pixels[None]))["output"]
    assert_within(emb.embed([picture(7, (200, 133))]), want, 1e-5)
    description = emb.describe()
    assert description["dimension"] == 640 and description["preprocessing"]["crop"] == "97"


def test_pixels_are_pillows_resize_and_crop(emb):
    image = picture(6, (500, 321))
    scale = 256 / 321
    resized = image.resize((round(500 * scale), 256), Image.Resampling.BILINEAR)
    left, top = (resized.width - 224) // 2, 16
    want = np.asarray(resized.crop((left, top, left + 224, top + 224))).astype(int)
    assert np.abs(emb.pixels(decode(image)).astype(int) - want).max() <= 1


def test_rows_are_unit_vectors_of_float32(emb, paths):
    vectors = emb.embed(paths)
    assert vectors.shape == (12, emb.dim) == (12, 512) and vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors.astype(np.float64), axis=1) - 1).max() < 1e-6
    plain = Embedder(normalize=False).embed(paths)
    length = np.linalg.norm(plain.astype(np.float64), axis=1, keepdims=True)
    assert np.abs(length - 1).min() > 1e-3
    assert_within(vectors, plain / length, 1e-6)


def test_different_pictures_have_different_vectors(emb, paths):
    vectors = emb.embed(paths)
    assert (vectors @ vectors.T)[~np.eye(12, dtype=bool)].max() < 0.999


@pytest.mark.parametrize("images", [[], (), iter([])])
def test_no_images_give_no_rows(emb, images):
    vectors = emb.embed(images)
    assert vectors.shape == (0, 512) and vectors.dtype == np.float32
    assert list(emb.embed_iter([])) == []


def test_any_iterable_will_do(emb, paths, rows):
    batch = np.stack([np.array(Image.open(p)) for p in paths[:3]])
    for images in (tuple(paths[:3]), (p for p in paths[:3]), batch, dict.fromkeys(paths[:3])):
        assert as_bytes(emb.embed(images)) == rows[:3]


def test_a_decoded_image_gives_its_row(emb, paths, rows):
    decoded = decode(paths[1], min_side=emb.preprocess.resize)
    assert emb.embed_decoded(decoded).tobytes() == rows[1]
    assert emb.embed_pixels(emb.pixels(decoded)).tobytes() == rows[1]


# --- images that cannot be read -----------------------------------------------------------------


def spoil(path, how):
    """Make a file unreadable in one of several ways."""
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "cut": content[:60], "text": b"no image" * 50}[how])


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("seed", range(6))
def test_every_survivor_keeps_its_own_vector(folder, rows, tmp_path, seed, workers):
    """A random part of the files is spoilt; no other row moves, changes or goes missing."""
    rng = np.random.default_rng(seed)
    paths = []
    for source in sorted(folder.iterdir()):
        paths.append(tmp_path / source.name)
        paths[-1].write_bytes(source.read_bytes())
    bad = {i: rng.choice(["gone", "folder", "empty", "cut", "text"]) for i in range(12)}
    bad = {i: how for i, how in bad.items() if rng.random() < rng.choice([0.1, 0.4, 0.9, 1.1])}
    for i, how in bad.items():
        spoil(paths[i], how)
    emb = Embedder(workers=workers)
    vectors = emb.embed(paths, errors="nan")
    assert vectors.shape == (12, 512)
    assert emb.errors_.keys() == bad.keys()
    for i in range(12):
        if i in bad:
            assert np.isnan(vectors[i]).all() and "\n" not in emb.errors_[i] and emb.errors_[i]
        else:
            assert vectors[i].tobytes() == rows[i]
    if bad:
        with pytest.raises(ImageError, match=f"^image {min(bad)}: "):
            emb.embed(paths)
        done = []
        with pytest.raises(ImageError, match=f"^image {min(bad)}: "):
            done.extend(emb.embed_iter(paths))
        assert as_bytes(done) == rows[: min(bad)]


def test_reasons_are_of_the_last_call(emb, paths):
    emb.embed([b"", paths[0], 3], errors="nan")
    assert emb.errors_.keys() == {0, 2} and "int is no image" in emb.errors_[2]
    emb.embed(paths[:2], errors="nan")
    assert emb.errors_ == {}


def test_calls_that_run_at_once_do_not_mix_their_reasons(emb, paths):
    def images():
        yield b"outer"
        emb.embed([paths[0], paths[1], b"inner"], errors="nan")
        assert emb.errors_.keys() == {2}
        yield paths[2]

    emb.embed(images(), errors="nan")
    assert emb.errors_.keys() == {0}


def test_what_to_do_with_errors_is_checked_before_anything_else(emb):
    with pytest.raises(UsageError, match="errors must be 'raise' or 'nan', not 'skip'"):
        emb.embed(iter([1]), errors="skip")


def test_an_image_beyond_the_limit_of_pixels_is_refused(paths):
    with pytest.raises(ImageError, match="limit"):
        Embedder(max_megapixels=0.005).embed(paths[:1])


def test_an_error_of_the_iterable_is_not_swallowed(emb, paths):
    def images():
        yield paths[0]
        raise KeyError("the data set")

    for errors in ("raise", "nan"):
        with pytest.raises(KeyError, match="the data set"):
            emb.embed(images(), errors=errors)


# --- one by one ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_few_images_are_read_ahead(paths, rows, workers):
    taken = 0

    def images():
        nonlocal taken
        for i in range(60):
            taken += 1
            yield paths[i % 12]

    for done, row in enumerate(Embedder(workers=workers).embed_iter(images())):
        assert row.tobytes() == rows[done % 12]
        assert taken <= done + (1 if workers == 1 else 2 * workers)
    assert taken == 60


def test_stopping_early_leaves_no_thread_behind(paths):
    before = threading.active_count()
    iterator = Embedder(workers=3).embed_iter(paths * 10)
    next(iterator)
    assert threading.active_count() > before
    iterator.close()
    assert threading.active_count() == before


# --- cache --------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch):
    """Count the images that are decoded."""
    counted = []

    def count(source, **options):
        counted.append(source)
        return decode(source, **options)

    monkeypatch.setattr("rvcnn.embedder.decode", count)
    return counted


def test_an_image_seen_before_is_not_decoded_again(paths, rows, decoded):
    emb = Embedder(workers=1, cache=8)
    array = np.array(Image.open(paths[0]))
    content = paths[1].read_bytes()
    images = [paths[0], str(paths[0]), array, content, paths[1], bytearray(content), array.copy()]
    for _ in range(3):
        vectors = emb.embed(images)
        assert as_bytes(vectors) == [rows[i] for i in (0, 0, 0, 1, 1, 1, 0)]
    assert len(decoded) == 3  # the file 0, the array, and the bytes that are file 1's too


def test_without_a_cache_every_image_is_decoded(paths, decoded):
    Embedder(workers=1).embed([paths[0]] * 3)
    assert len(decoded) == 3


def test_the_image_unused_longest_is_forgotten(paths, decoded):
    emb = Embedder(workers=1, cache=2)
    for i in (0, 1, 0, 2, 0, 1):
        emb.embed_one(paths[i])
    assert len(decoded) == 4  # 0, 1, 2 and 1 again; five if 0 had gone first


def test_a_cached_vector_cannot_be_spoilt(paths, rows):
    emb = Embedder(workers=1, cache=2)
    for _ in range(3):
        row = emb.embed_one(paths[0])
        assert row.tobytes() == rows[0]
        row[:] = 0


def test_a_file_with_new_content_gets_a_new_vector(tmp_path, paths, rows):
    emb, path = Embedder(workers=1, cache=2), tmp_path / "a.png"
    for i in (3, 4):
        path.write_bytes(paths[i].read_bytes())
        assert emb.embed_one(path).tobytes() == rows[i]


def test_a_file_that_changes_while_it_is_read_spoils_no_other(tmp_path, paths, rows, monkeypatch):
    """Its content is read once: what is remembered is what was digested."""
    emb, path = Embedder(workers=1, cache=2), tmp_path / "a.png"
    path.write_bytes(paths[3].read_bytes())

    def change(source, **options):
        path.write_bytes(paths[4].read_bytes())
        return decode(source, **options)

    with monkeypatch.context() as patch:
        patch.setattr("rvcnn.embedder.decode", change)
        emb.embed_one(path)
    path.write_bytes(paths[3].read_bytes())
    assert emb.embed_one(path).tobytes() == rows[3]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
@pytest.mark.parametrize("cache", [0, 4])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, cache):
    os.mkfifo(tmp_path / "pipe")
    emb = Embedder(workers=1, cache=cache)
    vectors = []
    work = threading.Thread(
        target=lambda: vectors.extend(emb.embed([tmp_path / "pipe"], errors="nan")), daemon=True
    )
    work.start()
    work.join(20)
    assert len(vectors) == 1 and "not a regular file" in emb.errors_[0]


def test_the_shape_of_an_array_is_part_of_its_content():
    flat = np.arange(48, dtype=np.uint8)
    emb = Embedder(workers=1, cache=4)
    a, b = emb.embed([flat.reshape(4, 4, 3), flat.reshape(2, 8, 3)])
    assert (a != b).any()


def test_an_error_is_not_remembered(tmp_path, paths, rows):
    emb, path = Embedder(workers=1, cache=4), tmp_path / "a.png"
    with pytest.raises(ImageError):
        emb.embed_one(path)
    path.write_bytes(paths[0].read_bytes())
    assert emb.embed_one(path).tobytes() == rows[0]


# --- settings, pickle, scikit-learn -------------------------------------------------------------

DEFAULTS = dict(
    model=None,
    weights=None,
    precision="fp32",
    workers=0,
    normalize=True,
    cache=0,
    calibration=None,
    embedding=None,
    components=None,
    max_megapixels=200,
)


def test_parameters_are_the_constructors():
    assert Embedder().get_params() == DEFAULTS
    given = dict(DEFAULTS, workers=3, normalize=False, cache=5, max_megapixels=7)
    emb = Embedder(**given)
    assert emb.get_params(deep=False) == given and {k: getattr(emb, k) for k in given} == given


def test_changed_parameters_take_effect(paths):
    emb = Embedder(workers=1, cache=4)
    unit = emb.embed(paths[:1])
    assert emb.set_params(normalize=False) is emb
    plain = emb.embed(paths[:1])
    assert abs(np.linalg.norm(plain) - 1) > 1e-3
    emb.set_params(normalize=True)
    assert emb.embed(paths[:1]).tobytes() == unit.tobytes()


def test_an_unknown_parameter_changes_nothing():
    emb = Embedder()
    with pytest.raises(UsageError, match="no parameter colour"):
        emb.set_params(workers=2, colour="red")
    assert emb.get_params() == DEFAULTS


def test_pickled_without_the_network(emb, paths, rows):
    emb.embed(paths[:1])
    data = pickle.dumps(emb)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert copy.get_params() == emb.get_params()
    assert as_bytes(copy.embed(paths)) == rows


def test_scikit_learns_protocol(paths, rows):
    base = pytest.importorskip("sklearn.base")
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline

    emb = Embedder(workers=1, cache=3)
    copy = base.clone(emb)
    assert copy is not emb and copy.get_params() == emb.get_params()
    assert emb.fit(paths) is emb
    for transform in (emb.transform, emb.fit_transform):
        assert as_bytes(transform(paths)) == rows
    pipeline = make_pipeline(emb, KNeighborsClassifier(1))
    labels = np.arange(12) % 3
    assert (pipeline.fit(paths, labels).predict(paths) == labels).all()
    pipeline.set_params(embedder__workers=2)
    assert emb.workers == 2
    assert (base.clone(pipeline).fit(paths, labels).predict(paths[:4]) == labels[:4]).all()
    assert "KNeighborsClassifier" in repr(pipeline)


def test_the_description_is_plain_and_says_what_decides_the_vectors(emb):
    description = emb.describe()
    assert json.loads(json.dumps(description)) == description
    assert description["model"] == emb.name == "mobilenetv3_small"
    assert description["weights_sha256"] == emb.weights_sha256 and len(emb.weights_sha256) == 64
    assert description["dimension"] == 512 and description["precision"] == "fp32"
    assert Preprocess.from_metadata(description["preprocessing"]) == emb.preprocess
    assert Embedder(normalize=False).describe() != description
    assert Embedder(workers=7, cache=3).describe() == description


def test_the_networks_arguments_reach_it(paths):
    with pytest.raises(UsageError, match="precision"):
        Embedder(precision="int4").embed(paths[:1])
    large = Embedder("mobilenetv3_large", weights="random")
    assert large.name == "mobilenetv3_large" and large.dim == 512
    assert np.isfinite(large.embed(paths[:1])).all()


def test_nothing_is_loaded_before_it_is_needed(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("loaded")

    monkeypatch.setattr("rvcnn.embedder.create_model", refuse)
    emb = Embedder()
    assert pickle.loads(pickle.dumps(emb)).get_params() == emb.get_params()
    with pytest.raises(AssertionError, match="loaded"):
        emb.dim  # noqa: B018


# --- somebody else's model ----------------------------------------------------------------------


class Colours:
    """Mean colour; notices when two threads call it at once."""

    dim = 3

    def __init__(self):
        self.busy = threading.Lock()
        self.seen = []

    def embed(self, images):
        assert self.busy.acquire(blocking=False), "two calls at once"
        try:
            (image,) = images
            assert isinstance(image, Image.Image) and image.mode == "RGB"
            self.seen.append(image.size)
            time.sleep(0.002)
            return np.asarray(image, np.float64).mean(axis=(0, 1))[None]
        finally:
            self.busy.release()


def test_any_object_with_embed_and_dim_is_a_model(paths):
    model = Colours()
    emb = Embedder(model, workers=4, normalize=False)
    vectors = emb.embed([*paths, picture(3, (30, 20))])
    want = [np.asarray(Image.open(p), np.float64).mean(axis=(0, 1)) for p in paths]
    assert vectors.dtype == np.float32 and emb.dim == 3 and emb.name == "Colours"
    assert_within(vectors[:12], np.array(want), 1e-4)
    assert sorted(model.seen) == sorted([(96, 80)] * 12 + [(30, 20)])
    unit = Embedder(model).embed(paths)
    assert np.abs(np.linalg.norm(unit, axis=1) - 1).max() < 1e-6
    assert json.dumps(emb.describe())


def test_a_model_that_gives_another_length_is_an_error(paths):
    model = Colours()
    model.dim = 4
    with pytest.raises(UsageError, match=r"Colours\.embed gave 3 values, its dim is 4"):
        Embedder(model).embed(paths[:1])


def test_a_models_own_error_is_raised_whatever_errors_says(paths):
    class Broken(Colours):
        def embed(self, images):
            raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        Embedder(Broken(), workers=2).embed(paths, errors="nan")


def test_a_model_may_say_what_it_is(paths):
    class Named(Colours):
        name = "mean-colour-2"
        weights_sha256 = "abc"
        preprocess = Preprocess(resize=64, crop=32)

    description = Embedder(Named()).describe()
    assert description["model"] == "mean-colour-2" and description["weights_sha256"] == "abc"
    assert description["preprocessing"]["resize"] == "64"


@pytest.mark.parametrize(
    "alone",
    ["a.jpg", b"bytes", Image.new("RGB", (9, 9)), np.zeros((8, 8, 3), np.uint8)],
    ids=["path", "bytes", "pillow", "array"],
)
def test_one_image_is_not_a_list_of_images(emb, alone):
    with pytest.raises(UsageError, match="list of images"):
        emb.embed(alone)


def test_a_stack_of_images_is_a_list(emb):
    stack = np.stack([np.asarray(picture(i).resize((40, 40)).convert("RGB")) for i in range(2)])
    np.testing.assert_array_equal(emb.embed(stack), emb.embed(list(stack)))


@pytest.mark.parametrize(
    "argument", [{"workers": -1}, {"cache": -1}, {"max_megapixels": float("nan")}]
)
def test_arguments_below_their_least(argument):
    with pytest.raises(UsageError):
        Embedder(**argument).embed([picture(0)])


def test_a_configuration_is_no_custom_model():
    emb = Embedder(MobileNetConfig(embedding_dim=24), weights="random")
    assert emb.embed([picture(0)]).shape == (1, 24)
