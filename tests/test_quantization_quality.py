"""What bytes cost, measured: recall, cosines and top-1 against plain loops; images and labels."""

from pathlib import Path

import numpy as np
import pytest
from cli_checks import make_photos, picture

from rvcnn.errors import ShapeError, UsageError
from rvcnn.images import Preprocess
from rvcnn.quantization.quality import compare, recall, top1
from rvcnn.quantization.sample import labels_of, list_images, read_labels, read_pixels, spread

FILTERS = {"recursive": True, "exclude": (), "include_hidden": False}


def vectors(count, dim=16, seed=0):
    rows = np.random.default_rng(seed).normal(0, 1, (count, dim))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def counted(exact, other, k):
    """Recall by sorting each row's dot products in Python."""
    total = 0
    for i in range(len(exact)):
        found = []
        for rows in (exact, other):
            scores = [(-float(rows[i] @ rows[j]), j) for j in range(len(rows)) if j != i]
            found.append({j for _, j in sorted(scores)[:k]})
        total += len(found[0] & found[1])
    return total / k / len(exact)


@pytest.mark.parametrize(("count", "k"), [(60, 10), (40, 10), (20, 5), (3, 1)])
def test_recall_is_what_a_loop_counts(count, k):
    exact = vectors(count)
    other = exact + vectors(count, seed=1) * 0.5
    assert recall(exact, other) == pytest.approx(counted(exact, other, k))
    assert recall(exact, exact) == 1.0


def test_recall_of_unrelated_vectors_is_small():
    assert recall(vectors(500), vectors(500, seed=1)) < 0.06


def test_cosines_do_not_depend_on_length():
    exact, other = vectors(50), vectors(50, seed=1)
    quality = compare(exact * 7, other * np.linspace(1, 9, 50)[:, None])
    cosines = (exact * other).sum(1)
    assert quality.cosine == pytest.approx(cosines.mean())
    assert quality.smallest_cosine == pytest.approx(cosines.min())
    assert quality.recall == recall(exact, other)
    with pytest.raises(ShapeError, match="compare"):
        compare(exact, other[:9])
    with pytest.raises(ShapeError, match="compare"):
        compare(exact[:1], other[:1])


def test_top1():
    assert top1([[1, 2], [3, 0], [5, 6], [1, 9]], [1, 0, 0, 1]) == 0.75


def test_images_are_spread_over_a_folder():
    assert spread("abcdef", 3) == ["a", "c", "e"]
    assert spread("abc", 9) == ["a", "b", "c"]
    assert len(set(spread(range(1000), 300))) == 300


def test_pixels_are_what_the_network_sees(tmp_path):
    make_photos(tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    skipped, done = [], []
    names = list_images([tmp_path], lambda *problem: skipped.append(problem), **FILTERS)
    preprocess = Preprocess()
    kept, pixels = read_pixels(
        names,
        preprocess,
        skipping=lambda *problem: skipped.append(problem),
        progress=lambda: done.append(1),
    )
    assert [Path(name).name for name, _ in skipped] == ["broken.jpg"]
    assert len(done) == len(names) == len(kept) + 1 == 7
    assert pixels.shape == (6, 224, 224, 3) and pixels.dtype == np.uint8
    position = [Path(name).name for name in kept].index("other3.png")
    np.testing.assert_array_equal(pixels[position], preprocess.pixels(picture(3)))


def test_a_folder_without_images(tmp_path):
    assert read_pixels([], Preprocess())[1].shape == (0, 224, 224, 3)
    with pytest.raises(UsageError, match="no such file"):
        list_images([tmp_path / "absent"], print, **FILTERS)


@pytest.mark.parametrize("separator", ["\t", ",", " ", ", "])
def test_labels(tmp_path, separator):
    file = tmp_path / "labels.txt"
    file.write_text(f"photos/a b.jpg{separator}7\n\nc,d.png{separator}0\n")
    labels = read_labels(file)
    assert labels == {"a b.jpg": 7, "c,d.png": 0}
    assert labels_of(["else/c,d.png", "a b.jpg"], labels) == [0, 7]
    with pytest.raises(UsageError, match="no label for x.png"):
        labels_of(["x.png"], labels)


@pytest.mark.parametrize("line", ["a.jpg", "a.jpg fox", "a.jpg -1", "7", "a.jpg 1.5"])
def test_labels_that_are_none(tmp_path, line):
    file = tmp_path / "labels.txt"
    file.write_text(f"a.jpg 1\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        read_labels(file)
    with pytest.raises(UsageError, match="cannot read"):
        read_labels(tmp_path / "absent.txt")
