"""Networks by name: sizes, heads, cuts, parameters, and what is refused."""

import re
import threading

import numpy as np
import pytest
from graph_checks import run_reference
from safetensors.numpy import save_file

import rvcnn
from rvcnn.errors import ShapeError, UsageError, WeightsError
from rvcnn.model import PLANS_KEPT, create_model
from rvcnn.models import MobileNetConfig, mobilenetv3
from rvcnn.paths import quoted
from rvcnn.threads import available_cpus


def images(seed, count, height, width):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, height, width, 3)).astype(np.float32)


@pytest.fixture(scope="session")
def classifier():
    return create_model("mobilenetv3_small", weights="random", num_classes=10)


@pytest.fixture(scope="session")
def embedded():
    return create_model()


def assert_close(got, want, name=""):
    limit = 1e-5 + 1e-4 * np.abs(want).max()
    assert got.dtype == np.float32 and got.shape == want.shape, name
    assert (np.abs(got - want) <= limit).all(), f"{name}: off by {np.abs(got - want).max()}"


# --- sizes --------------------------------------------------------------------------------------

SIZES = [(32, 32), (33, 57), (57, 33), (32, 100), (47, 32), (64, 65), (96, 128), (225, 224)]


@pytest.mark.parametrize("size", SIZES)
def test_any_size_from_32_up(classifier, embedded, size):
    x = images(1, 2, *size)
    for model in (classifier, embedded):
        want = [run_reference(model.graph, image)[model.graph.outputs[0]] for image in x]
        assert_close(model(x), np.reshape(want, (2, model.dim)))


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1), (0, 40), (8, 2000)])
def test_a_smaller_image_is_refused_with_both_sizes(classifier, size):
    message = f"mobilenetv3_small takes images from 32 x 32 pixels up, not {size[0]} x {size[1]}"
    with pytest.raises(ShapeError, match=message):
        classifier(images(2, 1, *size))


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 64, 64), (1, 3, 64, 64), (1, 64, 64, 4), (3,)])
def test_what_is_no_batch_of_images_is_refused(classifier, shape):
    wanted = r"expected images \(N, H, W, 3\), got an array of "
    for run in (classifier, lambda x: classifier.forward_features(x, ["pooled"])):
        with pytest.raises(ShapeError, match=wanted):
            run(np.zeros(shape, np.float32))


def test_no_images_give_no_rows(classifier):
    assert classifier(images(3, 0, 40, 50)).shape == (0, 10)
    maps = classifier.forward_features(images(3, 0, 40, 50), ["features.0", "pooled"])
    assert maps["features.0"].shape == (0, 20, 25, 16) and maps["pooled"].shape == (0, 1, 1, 576)


def test_any_numbers_in_any_layout_will_do(classifier):
    x = images(4, 3, 40, 41)
    want = classifier(x).tobytes()
    locked = x.copy()
    locked.flags.writeable = False
    for other in (x.astype(np.float64), locked, np.asfortranarray(x), x[::-1][::-1], list(x)):
        assert classifier(other).tobytes() == want


# --- rows ---------------------------------------------------------------------------------------


def test_a_row_depends_on_its_image_alone(classifier):
    x = images(5, 5, 40, 36)
    alone = [classifier(x[i : i + 1])[0].tobytes() for i in range(5)]
    assert [row.tobytes() for row in classifier(x)] == alone
    assert [row.tobytes() for row in classifier(x[::-1])] == alone[::-1]
    spoilt = x.copy()
    spoilt[2] = np.nan
    rows = classifier(spoilt)
    assert np.isnan(rows[2]).all()
    assert [rows[i].tobytes() for i in (0, 1, 3, 4)] == [alone[i] for i in (0, 1, 3, 4)]


@pytest.mark.parametrize("threads", [0, 2, 8])
def test_threads_change_no_bit(classifier, threads):
    many = create_model("mobilenetv3_small", weights="random", num_classes=10, threads=threads)
    assert many.threads == (threads or available_cpus())
    for count in (1, 3, 11):
        x = images(count, count, 48, 80)
        assert many(x).tobytes() == classifier(x).tobytes()
        cuts = many.forward_features(x, ["features.3"])["features.3"]
        assert (
            cuts.tobytes() == classifier.forward_features(x, ["features.3"])["features.3"].tobytes()
        )


def test_one_model_on_many_threads_at_many_sizes(classifier):
    """More sizes than plans are kept, so plans come and go while others run."""
    sizes = [(32 + i, 40) for i in range(PLANS_KEPT + 3)]
    x = {size: images(6, 1, *size) for size in sizes}
    want = {size: classifier(x[size]).tobytes() for size in sizes}
    start, wrong = threading.Barrier(4), []

    def work(first):
        start.wait()
        for i in range(2 * len(sizes)):
            size = sizes[(first * 3 + i) % len(sizes)]
            if classifier(x[size]).tobytes() != want[size]:
                wrong.append(size)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_plan_is_remembered_for_the_sizes_used_last():
    model = create_model("mobilenetv3_small", weights="random")
    first = model.plan((32, 33))
    for width in range(34, 33 + PLANS_KEPT):
        model.plan((32, width))
    assert model.plan((32, 33)) is first
    model.plan((32, 100))
    assert model.plan((32, 33)) is first and model.plan((33, 32)) is not first
    for width in range(101, 101 + PLANS_KEPT):
        model.plan((32, width))
    assert model.plan((32, 33)) is not first


def test_a_plan_for_pixels_is_another_for_every_scale_and_shift():
    model = create_model("mobilenetv3_small", weights="random")
    lines = [(np.full(3, a, np.float32), np.full(3, b, np.float32)) for a, b in ((1, 2), (1, 3))]
    plans = [model.plan((40, 40)), *(model.plan((40, 40), line) for line in lines)]
    assert len(set(map(id, plans))) == 3
    again = (np.full(3, 1, np.float32), np.full(3, 3, np.float32))
    assert model.plan((40, 40), again) is plans[2]


# --- heads and arguments ------------------------------------------------------------------------


@pytest.fixture(scope="session")
def both_heads(tmp_path_factory):
    """A file with a classifier of 7 classes whose embedding is the pooled map."""
    graph = mobilenetv3(MobileNetConfig(num_classes=7, embedding_dim=0))
    weights = create_model("mobilenetv3_small", weights="random", num_classes=7).weights.tensors
    path = tmp_path_factory.mktemp("weights") / "classes.safetensors"
    settings = "architecture=mobilenetv3_small padding=same bn_eps=0.001 num_classes=7"
    metadata = dict(pair.split("=") for pair in f"{settings} embedding=pooled".split())
    save_file({key: weights[key] for key in graph.parameters()}, path, metadata)
    return path


def test_the_head_follows_num_classes(both_heads):
    x = images(7, 2, 40, 33)
    logits, same = create_model(weights=both_heads), create_model(weights=both_heads, num_classes=7)
    embeddings = create_model(weights=both_heads, num_classes=0)
    assert (logits.dim, same.dim, embeddings.dim) == (7, 7, 576)
    assert logits(x).tobytes() == same(x).tobytes()
    pooled = logits.forward_features(x, ["pooled"])["pooled"].reshape(2, 576)
    assert_close(embeddings(x), pooled)
    hidden = embeddings.forward_features(x, ["classifier.1"])["classifier.1"]
    assert hidden.shape == (2, 1, 1, 1024)


def test_classes_that_the_file_does_not_have_are_refused(both_heads):
    with pytest.raises(WeightsError, match="has 7 classes, not 1000"):
        create_model(weights=both_heads, num_classes=1000)
    with pytest.raises(WeightsError, match="has 0 classes, not 3"):
        create_model(num_classes=3)
    with pytest.raises(WeightsError, match="'num_classes' is '-1'"):
        create_model("mobilenetv3_small", weights="random", num_classes=-1)


def test_embeddings_have_unit_length_if_asked(both_heads):
    x = images(8, 3, 40, 33)
    plain = create_model(weights=both_heads, num_classes=0)(x)
    unit = create_model(weights=both_heads, num_classes=0, normalize=True)(x)
    length = np.linalg.norm(plain.astype(np.float64), axis=1, keepdims=True)
    assert_close(unit, plain / length)
    assert np.abs(length - 1).min() > 0.1
    # The embedded model's file says so itself.
    assert np.abs(np.linalg.norm(create_model()(x), axis=1) - 1).max() < 1e-6
    assert np.abs(np.linalg.norm(create_model(normalize=False)(x), axis=1) - 1).min() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(name="mobilenet_v3", weights="random"),
            "'mobilenet_v3'; there are mobilenetv3_small",
        ),
        (dict(name="mobilenetv3_small"), "needs weights"),
        (dict(name="mobilenet_v3"), "'mobilenet_v3'; there are mobilenetv3_small"),
        (dict(precision="int4"), "precision must be one of fp32, int8, not 'int4'"),
        (dict(padding="valid"), "padding must be 'same' or 'symmetric', not 'valid'"),
    ],
)
def test_arguments_that_cannot_be_meant(options, message):
    with pytest.raises(UsageError, match=message):
        create_model(**options)


def test_the_models_there_are():
    assert rvcnn.list_models()[:2] == ["mobilenetv3_small", "mobilenetv3_large"]
    for name in rvcnn.list_models():
        model = create_model(name, weights="random")
        assert model.dim == 512 and name in repr(model)


def test_the_seeds_names_for_networks():
    small = rvcnn.create_backbone(rvcnn.BackboneType.MobileNetV3Small)
    x = images(9, 1, 64, 64)
    assert small(x).tobytes() == create_model(num_classes=0)(x).tobytes()
    with pytest.raises(UsageError, match="mobilenetv3_large needs weights"):
        rvcnn.create_backbone(rvcnn.BackboneType.MobileNetV3Large)


def test_random_weights_in_int8_are_refused_without_a_command_for_a_file_of_that_name():
    with pytest.raises(UsageError, match="random weights are fp32: int8 takes a file made by"):
        create_model("resnet18", weights="random", precision="int8")


def test_the_command_that_is_told_can_be_pasted(tmp_path):
    file = tmp_path / "my weights.safetensors"
    create_model(num_classes=0).save_weights(file)
    with pytest.raises(WeightsError, match=re.escape(f"--weights {quoted(file)}`")):
        create_model(weights=file, precision="int8")


def test_a_backbone_may_be_named():
    x = images(9, 1, 64, 64)
    want = rvcnn.create_backbone(rvcnn.BackboneType.MobileNetV3Small)(x)
    assert rvcnn.create_backbone("mobilenetv3_small")(x).tobytes() == want.tobytes()
    with pytest.raises(UsageError, match="unknown backbone 'vgg': one of mobilenetv3_small, "):
        rvcnn.create_backbone("vgg")


@pytest.mark.parametrize("kind", list(rvcnn.BackboneType)[1:])
def test_every_backbone_is_a_model_that_needs_weights(kind):
    assert kind.value in rvcnn.list_models()
    with pytest.raises(UsageError, match=f"{kind.value} needs weights"):
        rvcnn.create_backbone(kind)


def test_a_backbone_from_a_file(both_heads):
    kind = rvcnn.BackboneType.MobileNetV3Small
    assert rvcnn.create_backbone(kind, both_heads).dim == 576


# --- cuts ---------------------------------------------------------------------------------------


def test_any_layer_can_be_looked_at(classifier):
    x = images(10, 2, 40, 57)
    want = [run_reference(classifier.graph, image) for image in x]
    names = [node.name for node in classifier.graph.nodes]
    got = classifier.forward_features(x, names)
    assert list(got) == names
    for name in names:
        assert_close(got[name], np.stack([w[name] for w in want]), name)


def test_a_module_is_its_last_layer_and_cuts_keep_their_order(classifier):
    x = images(11, 1, 40, 40)
    maps = classifier.forward_features(x, ["features.12", "features.4", "classifier"])
    assert list(maps) == ["features.12", "features.4", "classifier"]
    last = classifier.forward_features(x, ["features.12.2", "features.4.block.3.1", "classifier.3"])
    for (name, a), b in zip(maps.items(), last.values(), strict=True):
        assert a.tobytes() == b.tobytes(), name
    assert_close(maps["classifier"].reshape(1, 10), classifier(x))


def test_an_unknown_layer_is_named_with_those_there_are(classifier):
    x = images(12, 1, 40, 40)
    with pytest.raises(ShapeError, match=r"no layer 'features\.13'.*features\.12.*classifier"):
        classifier.forward_features(x, ["features.1", "features.13"])
    with pytest.raises(ShapeError, match="no layer 'feature'"):
        classifier.forward_features(x, ["feature"])


def test_cuts_are_a_sequence(classifier):
    with pytest.raises(UsageError, match="sequence"):
        classifier.forward_features(images(0, 1, 32, 32), "features.0")


def test_cuts_of_an_image_that_is_too_small(classifier):
    with pytest.raises(ShapeError, match="from 32 x 32"):
        classifier.forward_features(images(0, 1, 31, 64), ["features.0"])


@pytest.mark.parametrize("argument", [{"threads": -1}, {"seed": -1}])
def test_arguments_below_zero(argument):
    with pytest.raises(UsageError, match="start at 0"):
        create_model("mobilenetv3_small", weights="random", **argument)
