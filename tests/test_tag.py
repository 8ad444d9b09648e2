"""Metadata from tables: what is read of them, and what becomes of the index."""

import base64
import json
import os
import re

import numpy as np
import pytest
from cli_checks import posix, run, run_ok
from hypothesis import given
from hypothesis import strategies as st
from index_fake import FakeEmbedder, write_image

from rvcnn.errors import IndexDamagedError, IndexLockedError, UsageError
from rvcnn.folder import update
from rvcnn.index import Index, Item, Status
from rvcnn.tables import BadLine, read_table, typed
from rvcnn.tag import tag


@pytest.fixture
def folder(tmp_path):
    """A folder of four images with an index of a fake embedder's."""
    for name in ("a.ppm", "b.ppm", "sub/c.ppm", "sub/ü d.ppm"):
        write_image(tmp_path / "photos" / name, name)
    update(tmp_path / "photos", FakeEmbedder())
    return tmp_path / "photos"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def metadata(folder):
    with Index.open(folder) as index:
        assert index.verify() == []
        return {item.id: item.metadata for item in index.items() if item.metadata is not None}


# --- reading tables -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cell, value",
    [
        ("1", 1),
        ("-3", -3),
        ("0", 0),
        ("2.50", 2.5),
        ("1e3", 1000.0),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
    ],
)
def test_cells_that_are_no_text(cell, value):
    assert typed(cell) == value and type(typed(cell)) is type(value)


@pytest.mark.parametrize(
    "cell",
    ["007", "+1", "1_000", ".5", "5.", "0x10", "nan", "inf", "-inf", "1e999", "NULL", "Null", "NA"]
    + ["yes", "1,5", " 1", "٣", "9" * 5000, "fox", "'; DROP TABLE items; --"],
)
def test_cells_that_are_text(cell):
    assert typed(cell) == cell and isinstance(typed(cell), str)


@given(st.one_of(st.integers(-(10**40), 10**40), st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_come_back(number):
    assert typed(json.dumps(number)) == number


def test_a_csv_table(tmp_path):
    file = write(
        tmp_path / "t.csv",
        '\ufeffspecies,path,"a, b",empty\r\nfox,a.jpg,1, \r\n\r\n'
        '"two\nlines",b.jpg,"say ""x""",true\n',
    )
    first, second = read_table(file)
    assert first == (2, "a.jpg", {"species": "fox", "a, b": 1}, ("species", "a, b", "empty"))
    assert second[:3] == (4, "b.jpg", {"species": "two\nlines", "a, b": 'say "x"', "empty": True})


def test_a_tsv_table(tmp_path):
    file = write(tmp_path / "t.tsv", "file_name\tnote\na.jpg\t 1, 2\n")
    assert [row[:3] for row in read_table(file)] == [(2, "a.jpg", {"note": " 1, 2"})]


def test_json_lines(tmp_path):
    lines = ['{"path": "a", "x": {"y": [1, null]}, "z": "7"}', "", '{"filename": "b", "q": 1.5}']
    file = write(tmp_path / "t.jsonl", "\n".join(lines))
    assert [row[:3] for row in read_table(file)] == [
        (1, "a", {"x": {"y": [1, None]}, "z": "7"}),
        (3, "b", {"q": 1.5}),
    ]


def test_a_column_of_paths_by_name(tmp_path):
    file = write(tmp_path / "t.csv", "id,path\nx.jpg,7\n")
    assert [row[:3] for row in read_table(file, "id")] == [(2, "x.jpg", {"path": 7})]


@pytest.mark.parametrize(
    "name, line, reason",
    [
        ("t.csv", "a.jpg,1,2", "3 values, where the first line has 2"),
        ("t.csv", "a.jpg", "1 values, where the first line has 2"),
        ("t.csv", ",7", "no path"),
        ("t.csv", 'a.jpg,"x"y', "expected after"),
        ("t.csv", b"a.jpg,\xff", "a value that is no UTF-8"),
        ("t.csv", "a.jpg," + "x" * 200_000, "field limit"),
        ("t.jsonl", "{", "no JSON: "),
        ("t.jsonl", "[1]", "no JSON object"),
        ("t.jsonl", '{"n": 1}', "no key path"),
        ("t.jsonl", '{"path": 7}', "path is no text"),
        ("t.jsonl", '{"path": ""}', "no path"),
        pytest.param("t.jsonl", '{"path": "\\ud800"}', "that no file can have", marks=posix),
        ("t.jsonl", '{"path": "a", "n": NaN}', "NaN is no number that JSON has"),
        ("t.jsonl", '{"path": "a", "n": 1e999}', "1e999 is no number"),
        ("t.jsonl", '{"path": "a", "n": "\\ud800"}', "a value that is no UTF-8"),
        ("t.jsonl", '{"path": "a", "n": ' + "[" * 100_000 + "}", "nested too deep"),
        ("t.jsonl", '{"path": "a", "path_bytes": "?"}', "path_bytes is no base64"),
        ("t.jsonl", b'{"path": "a", "n": "\xff"}', "a value that is no UTF-8"),
    ],
)
def test_bad_lines_are_named_and_the_others_read(name, line, reason, tmp_path):
    good = b'{"path": "g", "n": 1}' if name.endswith("jsonl") else b"g,1"
    head = [] if name.endswith("jsonl") else [b"path,n"]
    line = line if isinstance(line, bytes) else line.encode()
    rows = list(read_table(write(tmp_path / name, b"\n".join([*head, good, line, good]))))
    assert [row.line for row in rows] == [len(head) + n for n in (1, 2, 3)]
    assert rows[0].values == rows[2].values == {"n": 1}
    assert isinstance(rows[1], BadLine) and reason in rows[1].reason


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("t.txt", "", "ends in none of .csv .tsv .jsonl .ndjson"),
        ("missing.csv", None, "no such file"),
        ("t.csv", "", "is empty"),
        ("t.csv", "name,n\n", "has no column path (its columns: name, n): --path-column"),
        ("t.csv", "path,n,n\n", "has several columns n"),
        ("t.csv", "\ufeffpath\n".encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("t.jsonl", b" " * (1 << 24) + b" \n", "line 1: longer than 16 MiB"),
    ],
)
def test_what_is_no_table(name, content, message, tmp_path):
    file = tmp_path / name
    if content is not None:
        write(file, content)
    with pytest.raises(UsageError) as caught:
        list(read_table(file))
    assert message in str(caught.value)


# --- the index ------------------------------------------------------------------------------------


def test_tags_are_merged_replaced_and_removed(folder, tmp_path):
    file = write(tmp_path / "t.csv", "path,species,n\na.ppm,fox,1\nsub/c.ppm,cat,2\nx.ppm,owl,3\n")
    skipped = []
    report = tag(folder, file, skipped=lambda *line: skipped.append(line))
    assert (report.ids, report.unknown, report.bad) == ({"a.ppm", "sub/c.ppm"}, 1, 0)
    assert skipped == [(f"x.ppm ({file}, line 4)", "not in the index")]
    assert metadata(folder) == {
        "a.ppm": {"species": "fox", "n": 1},
        "sub/c.ppm": {"species": "cat", "n": 2},
    }
    tag(folder, write(file, "path,n,m\na.ppm,,null\nsub/c.ppm,5,true\n"))
    assert metadata(folder) == {
        "a.ppm": {"species": "fox", "n": 1, "m": None},
        "sub/c.ppm": {"species": "cat", "n": 5, "m": True},
    }
    tag(folder, write(file, "path,n\na.ppm,\n"), "remove")
    assert metadata(folder)["a.ppm"] == {"species": "fox", "m": None}
    tag(folder, write(file, "path,m,q\na.ppm,1,\nsub/c.ppm,,\n"), "replace")
    assert metadata(folder) == {"a.ppm": {"m": 1}}
    tag(folder, write(file.with_suffix(".jsonl"), '{"path": "a.ppm"}'), "remove")
    assert metadata(folder) == {}


def test_removing_nothing_removes_nothing(folder, tmp_path):
    tag(folder, write(tmp_path / "t.csv", "path,n\na.ppm,1\n"))
    for line in ('{"path": "a.ppm", "metadata": {}}', '{"path": "a.ppm", "metadata": null}'):
        tag(folder, write(tmp_path / "t.jsonl", line), "remove")
        assert metadata(folder) == {"a.ppm": {"n": 1}}


@pytest.mark.parametrize(
    "written", ["sub/c.ppm", "./sub/c.ppm", "sub//c.ppm", "sub/../sub/c.ppm", "{}/sub/c.ppm"]
)
def test_paths_as_people_write_them(folder, tmp_path, written):
    path = written.format(folder)
    report = tag(folder, write(tmp_path / "t.jsonl", json.dumps({"path": path, "n": 1})))
    assert report.ids == {"sub/c.ppm"}


def test_paths_are_relative_to_the_folder_that_was_named(folder, tmp_path):
    file = write(tmp_path / "t.csv", f"path,n\nc.ppm,1\n{folder}/a.ppm,2\n../b.ppm,3\n")
    assert tag(folder / "sub", file).ids == {"sub/c.ppm", "a.ppm", "b.ppm"}


@posix
def test_absolute_paths_through_links(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    lines = f"path,n\n{tmp_path}/link/a.ppm,1\n{folder}/b.ppm,2\n/elsewhere/a.ppm,3\n"
    report = tag(tmp_path / "link", write(tmp_path / "t.csv", lines))
    assert (report.ids, report.unknown) == ({"a.ppm", "b.ppm"}, 1)
    assert tag(folder, write(tmp_path / "t.csv", lines)).ids == {"a.ppm", "b.ppm"}


@posix
def test_names_that_are_no_utf8(tmp_path):
    name = os.fsdecode(b"odd\xff.ppm")
    try:
        write_image(tmp_path / "photos" / name, 1)
    except OSError:
        pytest.skip("the file system refuses this name")
    update(tmp_path / "photos", FakeEmbedder())
    tag(tmp_path / "photos", write(tmp_path / "t.csv", b"path,n\nodd\xff.ppm,1\n"))
    assert metadata(tmp_path / "photos") == {name: {"n": 1}}
    raw = base64.b64encode(os.fsencode(name)).decode()
    line = json.dumps({"path": "odd?.ppm", "path_bytes": raw, "n": 2})
    tag(tmp_path / "photos", write(tmp_path / "t.jsonl", line))
    assert metadata(tmp_path / "photos") == {name: {"n": 2}}


def test_ids_that_are_no_paths(tmp_path):
    index = Index.create(tmp_path / "ids", 2)
    index.add(np.eye(2), ["cat:1", "/abs//odd"])
    file = write(tmp_path / "t.csv", "path,n\ncat:1,1\n/abs//odd,2\n")
    assert tag(tmp_path / "ids", file).ids == {"cat:1", "/abs//odd"}


HOSTILE = ["'; DROP TABLE items; --", '"', "a\x00b", "\u202e\U0001f98a", "%_\\", "1 OR 1=1", ""]


def test_hostile_texts_stay_texts(folder, tmp_path):
    values = {f"k{i}{text}": text for i, text in enumerate(HOSTILE)}
    tag(folder, write(tmp_path / "t.jsonl", json.dumps({"path": "a.ppm", **values})))
    assert metadata(folder) == {"a.ppm": values}
    with Index.open(folder) as index:
        for key, value in values.items():
            text = value.replace("'", "''")
            found = index.search(np.ones(8), where=f"[{key}] = '{text}'")
            assert found.ids == [["a.ppm"]]
            assert index.search(np.ones(8), where=f"[{key}] != '{text}'").ids == [[]]
        assert len(index) == 4


def test_strict_changes_nothing(folder, tmp_path):
    file = write(tmp_path / "t.csv", "path,n\na.ppm,1\nmissing.ppm,2\n")
    report = tag(folder, file, strict=True)
    assert (report.unknown, metadata(folder)) == (1, {})


def test_an_error_on_the_way_changes_nothing(folder, tmp_path):
    lines = b'{"path": "a.ppm", "n": 1}\n' + b" " * (1 << 24) + b" \n"
    with pytest.raises(UsageError, match="line 2: longer"):
        tag(folder, write(tmp_path / "t.jsonl", lines))
    assert metadata(folder) == {}


def test_another_writer_is_waited_for(folder, tmp_path):
    file = write(tmp_path / "t.csv", "path,n\na.ppm,1\n")
    with Index.open(folder).writer(), pytest.raises(IndexLockedError):
        tag(folder, file, wait=0)


def test_tags_stay_with_images_that_change_move_or_fail(folder, tmp_path):
    lines = "path,n\na.ppm,1\nb.ppm,2\nsub/c.ppm,3\nsub/ü d.ppm,4\n"
    tag(folder, write(tmp_path / "t.csv", lines))
    write_image(folder / "a.ppm", "other content", mtime=10**18)
    (folder / "b.ppm").rename(folder / "sub" / "moved.ppm")
    (folder / "sub" / "c.ppm").write_bytes(b"no image any more")
    update(folder, FakeEmbedder())
    kept = {"a.ppm": {"n": 1}, "sub/moved.ppm": {"n": 2}, "sub/c.ppm": {"n": 3}}
    kept["sub/ü d.ppm"] = {"n": 4}
    assert metadata(folder) == kept
    update(folder, FakeEmbedder("another model"), rebuild=True)
    assert metadata(folder) == kept


def test_items_without_a_vector_are_tagged(tmp_path):
    index = Index.create(tmp_path, 2)
    with index.writer() as writer:
        writer.put(Item("bad.jpg", Status.FAILED, error="truncated"), None)
        assert writer.tag("bad.jpg", {"n": 1}) and not writer.tag("nothing", {"n": 1})
    assert index.item("bad.jpg").metadata == {"n": 1} and index.verify() == []


def test_what_json_cannot_hold_is_refused(tmp_path):
    index = Index.create(tmp_path, 2)
    index.add([[1, 0]], ["a"])
    with index.writer() as writer:
        with pytest.raises(UsageError, match="plain JSON"):
            writer.tag("a", {"n": float("nan")})
        with pytest.raises(UsageError, match="one of merge, replace, remove"):
            writer.tag("a", {}, "append")
    assert index.item("a").metadata is None


def test_damage_is_not_signed_anew(folder, tmp_path):
    import sqlite3

    with sqlite3.connect(folder / ".rvcnn" / "items.sqlite") as connection:
        connection.execute("UPDATE items SET width = 99 WHERE id = ?", (b"a.ppm",))
    with pytest.raises(IndexDamagedError, match="'a.ppm' has changed.*verify --repair"):
        tag(folder, write(tmp_path / "t.csv", "path,n\na.ppm,1\n"))


# --- the command ----------------------------------------------------------------------------------


def test_tag_and_search(photos):
    write(photos.parent / "t.csv", "path,species,year\na.png,fox,2021\nother2.png,cat,2019\n")
    result = run("tag", "photos", "t.csv")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "photos: 2 images tagged\n"
    found = run_ok("search", "photos/a.png", "--in", "photos", "--json", "-k", "1")
    assert json.loads(found)["metadata"] == {"species": "fox", "year": 2021}
    assert Index.open("photos").item("other2.png").metadata == {"species": "cat", "year": 2019}


def test_info_counts_keys(photos):
    write(photos.parent / "t.csv", "path,species,year\na.png,fox,2021\nother2.png,,2019\n")
    run_ok("tag", "photos", "t.csv")
    facts = json.loads(run_ok("info", "photos", "--json"))
    assert facts["metadata"] == {"year": 2, "species": 1}
    assert re.search("^metadata +year 2, species 1$", run_ok("info", "photos"), re.M)


def test_tag_names_what_it_leaves_out(photos):
    lines = "".join(f"missing{n}.png,1\n" for n in range(30))
    write(photos.parent / "t.csv", f"path,n\na.png,1\na.png,1,2\n{lines}")
    result = run("tag", "photos", "t.csv")
    first, second, *_, more, last = result.stderr.splitlines()
    assert first == "skipping t.csv, line 3: 3 values, where the first line has 2"
    assert second == "skipping missing0.png (t.csv, line 4): not in the index"
    assert more == "... and 11 more"
    assert last == "photos: 1 image tagged, 30 not in the index, 1 bad line"
    assert (result.exit_code, len(result.stderr.splitlines())) == (0, 22)


def test_tag_strict(photos):
    write(photos.parent / "t.csv", "path,n\na.png,1\nmissing.png,1\n")
    result = run("tag", "photos", "t.csv", "--strict", "--quiet")
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        "photos: 1 not in the index; nothing was changed, as --strict asks"
    )
    assert Index.open("photos").item("a.png").metadata is None


@pytest.mark.parametrize(
    "args, code, message",
    [
        (["photos", "t.csv", "--replace", "--remove"], 2, "--replace does not go with --remove"),
        (["photos", "missing.csv"], 2, "rvcnn: no such file: missing.csv"),
        (["empty", "t.csv"], 4, "rvcnn: no index in empty or above it"),
        (["photos", "t.csv", "--path-column", "id"], 2, "t.csv has no column id"),
    ],
)
def test_tag_errors(photos, args, code, message):
    os.mkdir("empty")
    write(photos.parent / "t.csv", "path,n\na.png,1\n")
    result = run("tag", *args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
