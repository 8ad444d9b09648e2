"""Vectors as files: what each format holds, and that a file appears whole or not at all."""

import base64
import csv
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_checks import run_ok

from rvcnn import export
from rvcnn.errors import UsageError
from rvcnn.index import Index
from rvcnn.tables import read_table

NAMES = ["b/two.jpg", 'a,"quoted".jpg', "Füße/雪.png", "a.jpg"]
ODD = "not-utf8-\udcff.jpg"
NEWLINE = "new\nline.jpg"
SUFFIXES = [".npz", ".npy", ".csv", ".jsonl"]


def vectors(rows: int, dim: int = 8) -> np.ndarray:
    x = np.random.default_rng(5).standard_normal((rows, dim)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def by_bytes(paths):
    return sorted(range(len(paths)), key=lambda i: os.fsencode(paths[i]))


def read(file: Path) -> tuple[list[str], np.ndarray]:
    """Read an export with ordinary tools; csv and jsonl numbers as float32."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as z:
            return z["paths"].tolist(), z["embeddings"]
    if file.suffix == ".npy":
        names = file.with_suffix(".paths.txt").read_bytes().split(b"\n")[:-1]
        return [os.fsdecode(n) for n in names], np.load(file, allow_pickle=False)
    if file.suffix == ".csv":
        with open(file, newline="", encoding="utf-8", errors="surrogateescape") as text:
            header, *rows = csv.reader(text)
        assert header == ["path", *(f"e{i}" for i in range(len(header) - 1))]
        return [r[0] for r in rows], np.array([r[1:] for r in rows], np.float32)
    rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    names = [
        os.fsdecode(base64.b64decode(r["path_bytes"])) if "path_bytes" in r else r["path"]
        for r in rows
    ]
    return names, np.array([r["embedding"] for r in rows], np.float32)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".NPZ"])
def test_reads_back_exactly_and_sorted(suffix, tmp_path):
    names = [*NAMES, ODD] if os.name != "nt" else NAMES
    x = vectors(len(names))
    file = tmp_path / f"v{suffix}"
    export.write(file, names, x)
    paths, rows = read(file.rename(file.with_suffix(suffix.lower())))
    order = by_bytes(names)
    assert paths == [names[i] for i in order]
    np.testing.assert_array_equal(rows, x[order])
    assert rows.dtype == np.float32


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_vectors_same_bytes_in_any_order(suffix, tmp_path):
    x = vectors(4)
    export.write(tmp_path / f"one{suffix}", NAMES, x)
    export.write(tmp_path / f"two{suffix}", NAMES[::-1], x[::-1])
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows(suffix, rows, tmp_path):
    export.write(tmp_path / f"v{suffix}", NAMES[:rows], vectors(rows))
    paths, x = read(tmp_path / f"v{suffix}")
    assert paths == NAMES[:rows]
    assert len(x) == rows


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".jsonl"])
def test_newline_in_a_name(suffix, tmp_path):
    export.write(tmp_path / f"v{suffix}", [NEWLINE], vectors(1))
    assert read(tmp_path / f"v{suffix}")[0] == [NEWLINE]


def test_newline_in_a_name_does_not_fit_npy(tmp_path):
    with pytest.raises(UsageError, match=r"use \.npz or \.jsonl"):
        export.write(tmp_path / "v.npy", [NEWLINE], vectors(1))
    assert list(tmp_path.iterdir()) == []


def test_float16(tmp_path):
    x = vectors(4)
    export.write(tmp_path / "v.npz", NAMES, x, "float16")
    _, rows = read(tmp_path / "v.npz")
    np.testing.assert_array_equal(rows, x[by_bytes(NAMES)].astype(np.float16))


def test_int8_keeps_cosines_and_gives_the_vectors_back(tmp_path):
    x = np.vstack([vectors(3, 512), np.zeros((1, 512), np.float32)])
    export.write(tmp_path / "v.npz", NAMES, x, "int8")
    with np.load(tmp_path / "v.npz") as z:
        rows, scales = z["embeddings"], z["scales"]
    assert rows.dtype == np.int8
    order = by_bytes(NAMES)
    assert np.abs(rows[np.array(order) < 3]).max(axis=1).tolist() == [127] * 3
    half_a_step = np.abs(x).max() / 127 / 2
    np.testing.assert_allclose(rows * scales[:, None], x[order], atol=half_a_step + 1e-7)
    a, b = rows[np.array(order) < 3][:2].astype(float)
    full = x[[i for i in order if i < 3]]
    assert abs(a @ b / np.linalg.norm(a) / np.linalg.norm(b) - full[0] @ full[1]) < 0.005


def read_int8(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read int8 rows and their scales with ordinary tools."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as z:
            return z["embeddings"], z["scales"]
    if file.suffix == ".npy":
        return np.load(file), np.load(file.with_suffix(".scales.npy"), allow_pickle=False)
    if file.suffix == ".csv":
        header, *lines = csv.reader(file.read_text().splitlines())
        assert header[:3] == ["path", "scale", "e0"]
        rows = [(line[2:], line[1]) for line in lines]
    else:
        objects = map(json.loads, file.read_bytes().splitlines())
        rows = [(line["embedding"], line["scale"]) for line in objects]
    x, scales = zip(*rows, strict=True)
    return np.array(x, np.int64), np.array(scales, np.float32)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_int8_gives_the_vectors_back_from_every_format(suffix, tmp_path):
    x = vectors(4, 512) * np.float32([[1], [3000], [1e-9], [0]])
    file = tmp_path / f"v{suffix}"
    export.write(file, NAMES, x, "int8")
    rows, scales = read_int8(file)
    x = x[by_bytes(NAMES)]
    np.testing.assert_array_equal(scales, np.abs(x).max(axis=1) / np.float32(127))
    assert (np.abs(rows).max(axis=1) == 127 * (scales > 0)).all()
    assert (np.abs(rows * scales.astype(float)[:, None] - x) <= 0.5001 * scales[:, None]).all()


TAGS = [{"species": "fox", "ü": [1, None]}, None, {"note": 'say "x",\n'}, {}]


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_metadata_goes_with_the_vectors(suffix, dtype, tmp_path):
    file = tmp_path / f"v{suffix}"
    export.write(file, NAMES, vectors(4), dtype, TAGS)
    rows = {row.path: row for row in read_table(file)}
    assert [rows[name].values for name in NAMES] == [tag or {} for tag in TAGS]
    if suffix == ".csv":
        header, *lines = csv.reader(file.read_text("utf-8").splitlines())
        assert header[:3] == ["path", "metadata", "scale" if dtype == "int8" else "e0"]
        assert all(len(line) == len(header) for line in lines)
    else:
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        assert [line["metadata"] for line in lines] == [TAGS[i] or None for i in by_bytes(NAMES)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_metadata_leaves_no_trace(suffix, tmp_path):
    export.write(tmp_path / f"a{suffix}", NAMES, vectors(4), metadata=[None, {}, None, None])
    export.write(tmp_path / f"b{suffix}", NAMES, vectors(4))
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_what_was_exported_tags_another_index(photos):
    file = Path("t.csv")
    file.write_text("path,species,n\na.png,fox,1\nsub/c.webp,cat,2\n")
    run_ok("tag", "photos", file)
    for suffix in (".csv", ".jsonl"):
        run_ok("export", "photos", "-o", f"v{suffix}")
        file.write_text("path\na.png\nsub/c.webp\n")
        run_ok("tag", "photos", file, "--remove")
        assert Index.open("photos").item("a.png").metadata is None
        run_ok("tag", "photos", f"v{suffix}")
        with Index.open("photos") as index:
            tags = {item.id: item.metadata for item in index.items() if item.metadata}
        assert tags == {
            "a.png": {"species": "fox", "n": 1},
            "sub/c.webp": {"species": "cat", "n": 2},
        }
    run_ok("export", "photos/sub", "-o", "below.jsonl")
    (row,) = read_table(Path("below.jsonl"))
    assert row[1:3] == ("c.webp", {"species": "cat", "n": 2})


def test_scales_of_an_earlier_export_do_not_stay(tmp_path):
    export.write(tmp_path / "v.npy", NAMES, vectors(4), "int8")
    assert (tmp_path / "v.scales.npy").exists()
    export.write(tmp_path / "v.npy", NAMES, vectors(4))
    assert sorted(f.name for f in tmp_path.iterdir()) == ["v.npy", "v.paths.txt"]


def test_what_float16_cannot_hold_is_refused(tmp_path):
    x = vectors(4)
    x[2, 3] = 65504
    export.write(tmp_path / "v.npz", NAMES, x, "float16")
    x[2, 3] = 65600
    with pytest.raises(UsageError, match="float16 holds values up to 65504.*use float32"):
        export.write(tmp_path / "w.npz", NAMES, x, "float16")
    assert not (tmp_path / "w.npz").exists()


@pytest.mark.parametrize("largest", [1e-45, 2.5e-43, 1e-42, 1e-38, 3e38])
def test_int8_of_the_smallest_and_largest_values(largest):
    x = np.float32([[largest, -largest, 0]])
    rows, scales = export.quantize_rows(x)
    assert rows[0, 2] == 0 and rows[0, 0] == -rows[0, 1] >= 0
    np.testing.assert_allclose(rows * scales.astype(float)[:, None], x, rtol=1e-6, atol=2e-43)


@pytest.mark.parametrize(
    "name, message",
    [
        ("v", "cannot tell the format of"),
        ("v.pkl", "end it in one of .npz .npy .csv .jsonl .parquet"),
        ("folder.npz", "it is a folder"),
        ("missing/v.npz", "no such folder"),
    ],
)
def test_bad_targets(name, message, tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UsageError, match=message):
        export.check_target(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="no named pipes")
def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "v.npz")
    with pytest.raises(UsageError, match="no regular file"):
        export.write(tmp_path / "v.npz", NAMES, vectors(4))


@pytest.mark.skipif(os.name == "nt", reason="links need rights")
def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "v.npz").symlink_to("target.npz")
    export.write(tmp_path / "v.npz", NAMES, vectors(4))
    assert (tmp_path / "v.npz").is_symlink()
    assert read(tmp_path / "target.npz")[0] == [NAMES[i] for i in by_bytes(NAMES)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failure_leaves_the_old_file_and_no_other(suffix, tmp_path, monkeypatch):
    file = tmp_path / f"v{suffix}"
    export.write(file, NAMES, vectors(4))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        export.write(file, ["other.jpg"], vectors(1))
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"rvcnn\[parquet\]"):
        export.check_target(tmp_path / "v.parquet")


@pytest.mark.extra
@pytest.mark.parametrize("dtype", export.DTYPES)
def test_parquet(dtype, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet`")
    x = vectors(4)
    export.write(tmp_path / "v.parquet", NAMES, x, dtype)
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["path", "embedding", *["scale"] * (dtype == "int8")]
    order = by_bytes(NAMES)
    assert table["path"].to_pylist() == [NAMES[i] for i in order]
    _, expected, scales, _ = export.make_table(NAMES, x, dtype)
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist()), expected)
    if dtype == "int8":
        np.testing.assert_array_equal(np.float32(table["scale"].to_pylist()), scales)


@pytest.mark.extra
def test_parquet_with_metadata(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet`")
    export.write(tmp_path / "v.parquet", NAMES, vectors(4), metadata=TAGS)
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["path", "embedding", "metadata"]
    found = [text and json.loads(text) for text in table["metadata"].to_pylist()]
    assert found == [TAGS[i] or None for i in by_bytes(NAMES)]


@pytest.mark.extra
@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_parquet_with_a_name_that_is_no_utf8(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet`")
    export.write(tmp_path / "v.parquet", [ODD, "a"], vectors(2))
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table["path_bytes"].to_pylist() == [b"a", os.fsencode(ODD)]
    assert table["path"].to_pylist() == ["a", "not-utf8-�.jpg"]
