"""What a search looks for: crops, vectors from files, and what is made of several."""

import io
import json
import os
import threading

import numpy as np
import pytest
from cli_checks import picture

import rvcnn
from rvcnn.crop import Crop
from rvcnn.errors import ImageError, ShapeError, UsageError
from rvcnn.index import Index
from rvcnn.queries import combine, embed_files, query_vector
from rvcnn.vector_files import read_vector

# --- crops ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, box",
    [
        ("0,0,200,100", (0, 0, 200, 100)),
        ("10,20,30,40", (10, 20, 40, 60)),
        (" 1, 2, 3, 4", (1, 2, 4, 6)),
        ("0,0,1,1", (0, 0, 1, 1)),
        ("0.0,0,1,1", (0, 0, 200, 100)),
        ("0.25,0.5,0.5,0.25", (50, 50, 150, 75)),
        ("0.333,0.1,0.667,0.9", (67, 10, 200, 100)),
        ("0.9999,0.9999,0.0001,0.0001", (199, 99, 200, 100)),
    ],
)
def test_crops(text, box):
    assert Crop.parse(text).box(200, 100) == box


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "a crop is x,y,width,height"),
        ("1,2,3", "a crop is x,y,width,height"),
        ("1,2,3,4,5", "a crop is x,y,width,height"),
        ("a,b,c,d", "a crop is x,y,width,height"),
        ("0,0,0,5", "has no pixels inside"),
        ("-1,0,5,5", "has no pixels inside"),
        ("0.5,0.,inf,nan", "has no pixels inside"),
        ("0.5,0,0.6,1", "goes beyond the image"),
        ("150,0,51,100", "goes beyond the image of 200 x 100"),
        ("0,1,1,100", "goes beyond the image of 200 x 100"),
    ],
)
def test_no_crops(text, message):
    with pytest.raises(UsageError, match=message):
        Crop.parse(text).box(200, 100)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_is_of_the_upright_image(orientation, tmp_path):
    upright = picture(5)
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transposes, which undo these
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = stored.getexif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    upright.crop((10, 5, 70, 45)).save(tmp_path / "part.png")
    embedder = rvcnn.Embedder(workers=1)
    (part,) = embed_files(embedder, [tmp_path / "turned.png"], Crop.parse("10,5,60,40"))
    (expected,) = embed_files(embedder, [tmp_path / "part.png"])
    np.testing.assert_array_equal(part, expected)


def test_a_crop_of_what_is_no_image(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ImageError, match="text.jpg: not an image"):
        embed_files(rvcnn.Embedder(), [tmp_path / "text.jpg"], Crop.parse("0,0,1,1"))


# --- vectors from files ---------------------------------------------------------------------------

ROWS = np.array([[1, 2.5, -3], [4, 5, 6]])


def npy(array) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=True)
    return out.getvalue()


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<f2", "i1", "<u8"])
def test_a_row_of_an_array(dtype, tmp_path):
    rows = np.abs(ROWS).astype(dtype)
    (tmp_path / "v").write_bytes(npy(rows))
    for row in (0, 1):
        for source in (tmp_path / "v", io.BytesIO(npy(rows))):
            found = read_vector(source, row)
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, rows[row].astype(np.float32))
    np.testing.assert_array_equal(read_vector(io.BytesIO(npy(ROWS[1]))), ROWS[1])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipe has a name there")
def test_a_row_from_a_pipe_with_a_name(tmp_path):
    """As a shell's `<(...)` is one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(npy(ROWS),))
    writer.start()
    np.testing.assert_array_equal(read_vector(pipe, 1), ROWS[1])
    writer.join()


@pytest.mark.parametrize("form", [list, lambda row: {"path": "a", "embedding": row}])
def test_a_line_of_json(form):
    lines = "\n".join(json.dumps(form(row)) for row in ROWS.tolist()).encode()
    for row in (0, 1):
        np.testing.assert_array_equal(read_vector(io.BytesIO(lines), row), ROWS[row])


HUGE = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1, 10**15), }"


@pytest.mark.parametrize(
    "content, row, message",
    [
        (npy(ROWS), 2, "has 2 rows, and so no row 2"),
        (npy(ROWS[0]), 1, "has 1 row, and so no row 1"),
        (npy(ROWS), -1, "counted from 0"),
        (npy(np.asfortranarray(ROWS)), 0, "no rows of numbers in C order"),
        (npy(np.array([{}])), 0, "no rows of numbers in C order"),
        (npy(ROWS[None]), 0, "no rows of numbers in C order"),
        (npy(np.array(["a"])), 0, "no rows of numbers"),
        (npy(np.empty((2, 0))), 0, "rows of 0 numbers"),
        (npy(ROWS)[:-1], 1, "ends before its row 1"),
        (HUGE.replace(b"10**15", b"9" * 15).ljust(128), 0, "999999999999999 numbers"),
        (b"\x93NUMPY\x09\x00", 0, "no array that can be read"),
        (b"\x93NUMPY\x01\x00\xff\xff", 0, "no array that can be read"),
        (b"", 0, "has 0 rows"),
        (b"[1]\n", 1, "has 1 row"),
        (b"1 2 3", 0, "neither an .npy array nor lines of JSON"),
        (b"[" * 100_000, 0, "neither an .npy array nor lines of JSON"),
        (b'{"vector": [1]}', 0, "no list of numbers in its line 1"),
        (b"[]", 0, "no list of numbers"),
        (b"[true]", 0, "no list of numbers"),
        (b"[NaN]", 0, "no list of numbers"),
        (b"[1" + b"0" * 50 + b"]", 0, "no list of numbers"),
    ],
)
def test_no_vectors(content, row, message, tmp_path):
    (tmp_path / "v.npy").write_bytes(content)
    for source in (tmp_path / "v.npy", io.BytesIO(content)):
        with pytest.raises(UsageError, match=message):
            read_vector(source, row)


def test_no_file_of_vectors(tmp_path):
    for path in (tmp_path, tmp_path / "missing.npy"):
        with pytest.raises((UsageError, PermissionError)):
            read_vector(path)


def test_a_vector_must_fit(tmp_path):
    index = Index.create(tmp_path, 4)
    found = query_vector(index, None, given=np.float32([0, 0, 3, 4]))
    np.testing.assert_allclose(found, [0, 0, 0.6, 0.8], rtol=1e-6)
    with pytest.raises(ShapeError, match="a vector of 5 numbers: the index's vectors have 4"):
        query_vector(index, None, given=np.ones(5))
    with pytest.raises(UsageError, match="not finite"):
        query_vector(index, None, given=np.array([1, 2, 3, np.inf]))


# --- several --------------------------------------------------------------------------------------


def test_directions_are_averaged_each_as_a_unit_vector():
    mean = combine(np.array([[10.0, 0], [0, 1]]))
    np.testing.assert_allclose(mean, [0.5**0.5, 0.5**0.5], rtol=1e-6)
    away = combine(np.array([[1.0, 0]]), np.array([[0, 7.0]]))
    np.testing.assert_allclose(away, [0.5**0.5, -(0.5**0.5)], rtol=1e-6)


def test_points_are_averaged_as_they_are():
    rows = np.array([[10.0, 0], [0, 1]])
    np.testing.assert_array_equal(combine(rows, unit=False), [5, 0.5])
    np.testing.assert_array_equal(combine(rows, rows[:1], unit=False), [-5, 0.5])


def test_queries_that_leave_nothing():
    row = np.array([[1.0, 0]])
    with pytest.raises(UsageError, match="cancel each other out"):
        combine(row, row)
    with pytest.raises(UsageError, match="no direction"):
        combine(0 * row)
