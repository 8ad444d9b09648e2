import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from index_fake import random_vectors, vectors_files

from rvcnn.errors import IndexDamagedError, IndexLockedError, IndexMissingError
from rvcnn.index import Index, Item, Status, manifest, repair, verify
from rvcnn.index.formats import FORMATS
from rvcnn.index.items import COLUMNS
from rvcnn.index.locate import existing_home

DIM = 8
COUNT = 60


@pytest.fixture(scope="module", params=FORMATS)
def sound(tmp_path_factory, request):
    """An index with live and dead rows, failed items and metadata, closed in good order."""
    folder = tmp_path_factory.mktemp("sound") / "photos"
    index = Index.create(folder, DIM, description={"m": "x"}, dtype=request.param)
    index.add(
        random_vectors(COUNT), [f"folder/image{i}.jpg" for i in range(COUNT)],
        [{"n": i} if i % 2 else None for i in range(COUNT)],
    )  # fmt: skip
    with index.writer() as writer:
        writer.put(Item("bad.jpg", Status.FAILED, size=9, error="broken", tried="x"), None)
    index.remove([f"folder/image{i}.jpg" for i in range(0, 16, 2)])
    index.close()
    assert index.stats()[:4] == (COUNT - 8, 1, 0, 8)
    index.close()
    assert verify(index.path) == []
    return index.path


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "photos")


def planes(folder):
    """Return the names of the vectors' files, in the order of the format's planes."""
    dtype = Index.open(folder).dtype
    names = [f"vectors.{plane.suffix}" for plane in FORMATS[dtype].planes(DIM)]
    assert set(names) == vectors_files(folder / ".rvcnn")
    return names


def real_name(folder, name):
    """Return the name of a file; skip the test where the format has no such plane."""
    if not name.startswith("vectors "):
        return name
    names, number = planes(folder), int(name.split()[1])
    if number >= len(names):
        pytest.skip("the format has fewer planes")
    return names[number]


PLANES = [f"vectors {i}" for i in range(3)]


def change_byte(path, offset, mask=0xFF):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ mask]))


def first_byte(folder, row):
    """Return the file of the last plane and where a row begins in it."""
    *_, plane = FORMATS[Index.open(folder).dtype].planes(DIM)
    return folder / ".rvcnn" / f"vectors.{plane.suffix}", row * plane.row_bytes


def query(folder, statement, *values):
    connection = sqlite3.connect(folder / ".rvcnn" / "items.sqlite")
    with connection:
        found = connection.execute(statement, values).fetchall()
    connection.close()
    # A change through SQLite is to be found by the checksums of the rows.
    (folder / ".rvcnn" / "items.sha256").unlink(missing_ok=True)
    return found


def check_mended(folder, sound):
    """Repair; then nothing is wrong, and whatever is found is as it was."""
    repaired = repair(folder)
    assert verify(folder) == []
    index, original = Index.open(folder), Index.open(sound)
    assert set(index.ids) <= set(original.ids)
    assert index.vectors().tobytes() == original.vectors(index.ids).tobytes()
    assert repaired.kept == len(index)
    for item in index.items():
        was = original.item(item.id)
        assert (item.metadata, item.added_at) == (was.metadata, was.added_at)
    index.close()
    return repaired


def test_the_files_of_a_closed_index(sound):
    assert set(os.listdir(sound / ".rvcnn")) == {
        "items.sha256", "items.sqlite", "manifest.json", "writer.lock", *planes(sound),
    }  # fmt: skip
    assert (sound / ".rvcnn" / "writer.lock").stat().st_size == 0


@pytest.mark.parametrize("name", ["items.sqlite", *PLANES, "manifest.json", "items.sha256"])
def test_a_byte_changed_anywhere_is_found_and_mended(sound, folder, name):
    name = real_name(sound, name)
    path = folder / ".rvcnn" / name
    whole = (sound / ".rvcnn" / name).read_bytes()
    rng = np.random.default_rng(0)
    for offset in rng.choice(len(whole), 25, replace=False).tolist():
        shutil.rmtree(folder)
        shutil.copytree(sound, folder)
        change_byte(path, offset, int(rng.integers(1, 256)))
        problems = verify(folder)
        assert problems, f"byte {offset} of {name}"
        assert all("\n" not in problem for problem in problems)
        check_mended(folder, sound)


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["items.sqlite", *PLANES, "manifest.json", "items.sha256"])
def test_a_file_cut_short_is_found_and_mended(sound, folder, name, share):
    path = folder / ".rvcnn" / real_name(sound, name)
    os.truncate(path, int(path.stat().st_size * share))
    assert verify(folder)
    check_mended(folder, sound)


@pytest.mark.parametrize("name", ["items.sqlite", *PLANES, "manifest.json"])
def test_a_missing_file_is_found_and_mended(sound, folder, name):
    (folder / ".rvcnn" / real_name(sound, name)).unlink()
    assert verify(folder)
    repaired = check_mended(folder, sound)
    assert repaired.kept == (COUNT - 8 if name == "manifest.json" else 0)
    assert repaired.stale == (COUNT - 8 if name in PLANES else 0)


def test_a_damaged_vector_makes_its_item_stale_and_keeps_what_is_known_of_it(sound, folder):
    item = Index.open(folder).item("folder/image21.jpg")
    change_byte(*first_byte(folder, item.row))
    assert verify(folder) == [
        "folder/image21.jpg: its vector has changed: its checksum is another one"
    ]
    assert check_mended(folder, sound) == (COUNT - 9, 1)
    after = Index.open(folder).item("folder/image21.jpg")
    assert (after.status, after.row, after.metadata) == ("stale", None, {"n": 21})


def test_a_damaged_dead_row_is_found(sound, folder):
    dead = query(folder, "SELECT row FROM dead")[3][0]
    change_byte(*first_byte(folder, dead))
    assert verify(folder) == [f"the dead row {dead} has changed: its checksum is another one"]
    assert check_mended(folder, sound) == (COUNT - 8, 0)


VALUES = {
    "id": b"folder/image99.jpg",
    "status": "failed",
    "sha256": b"x" * 32,
    "format": "PNG",
    "error": "none",
    "tried": "never",
    "metadata": '{"n": 7}',
    "vector_sum": b"12345678",
    "checksum": b"12345678",
    "row": 3,
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_is_found(sound, folder, column):
    query(
        folder,
        f"UPDATE items SET {column} = ? WHERE id = ?",
        VALUES.get(column, 123),
        b"folder/image21.jpg",
    )
    problems = verify(folder)
    name = "folder/image99.jpg" if column == "id" else "folder/image21.jpg"
    assert any(problem.startswith(name) for problem in problems)
    assert all("\n" not in problem for problem in problems)
    check_mended(folder, sound)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("DELETE FROM items WHERE id = 'folder/image21.jpg'", None),
        ("DELETE FROM items WHERE id = CAST('folder/image21.jpg' AS BLOB)", "belongs to nothing"),
        ("DELETE FROM dead WHERE row = (SELECT min(row) FROM dead)", "belongs to nothing"),
        ("UPDATE dead SET row = 9999 WHERE row = 0", "the dead row 9999 is not there"),
        ("UPDATE items SET row = 9999 WHERE id = CAST('folder/image21.jpg' AS BLOB)", "not there"),
        ("UPDATE items SET row = NULL WHERE id = CAST('folder/image21.jpg' AS BLOB)", "agree"),
        ("UPDATE state SET rows = rows + 1", "vectors."),
        ("UPDATE state SET rows = rows - 1", "not there"),
        ("UPDATE state SET generation = 5", "vectors file is missing"),
        ("UPDATE state SET manifest = replace(manifest, ': \"x', ': \"y')", "manifest.json"),
        ("UPDATE state SET manifest = 'x'", "manifest"),
        ("DELETE FROM state", "empty"),
        ("DROP TABLE dead", "no such table"),
        ("DROP TABLE items", "no such table"),
        ("DROP TABLE state", "no such table"),
    ],
)
def test_rows_that_do_not_agree_are_found(sound, folder, statement, says):
    query(folder, statement)
    problems = verify(folder)
    if says is None:
        assert problems == []
        return
    assert any(says in problem for problem in problems), problems
    if "manifest" in statement and "replace" in statement:
        repair(folder)
        assert verify(folder) == []
    else:
        check_mended(folder, sound)


def test_two_items_with_one_row(folder):
    Index.open(folder).add(np.ones((2, DIM)), ["twin1", "twin2"])
    query(folder, "UPDATE items SET row = (SELECT max(row) FROM items) WHERE id >= ?", b"twin")
    problems = verify(folder)
    assert len(problems) == 2
    assert "belongs to nothing" in problems[0] and "belongs to several" in problems[1]
    assert repair(folder).stale == 1
    assert verify(folder) == []


def test_a_vector_that_was_written_wrong_is_found(folder):
    # Its checksum holds: only its values are not as they must be.
    from rvcnn.index.items import FACTS, fact_sum

    index = Index.open(folder)
    item = index.item("folder/image21.jpg")
    index.close()
    for value, says in [(np.nan, "not finite"), (3, "unit length")]:
        path, place = first_byte(folder, item.row)
        with open(path, "r+b") as file:
            file.seek(place)
            file.write(np.float32(value).tobytes())
        with Index.open(folder) as changed, changed.snapshot() as now:
            digest = now.all_vectors.sum_of(item.row)
        (record,) = query(
            folder, f"SELECT {', '.join(FACTS)} FROM items WHERE id = ?", os.fsencode(item.id)
        )
        record = (*record[:-1], digest)
        query(
            folder, "UPDATE items SET vector_sum = ?, checksum = ? WHERE id = ?",
            record[-1], fact_sum(*record), record[0],
        )  # fmt: skip
        (problem,) = verify(folder)
        assert says in problem


def test_many_problems_are_summed_up(folder):
    Index.open(folder).add(random_vectors(100, seed=1), [f"new{i}" for i in range(100)])
    query(folder, "UPDATE items SET size = 6")
    problems = verify(folder)
    assert len(problems) == 101
    assert problems[-1] == f"... and {COUNT - 7} more of this kind"


def test_beyond_repair(folder):
    (folder / ".rvcnn" / "manifest.json").write_bytes(b"")
    (folder / ".rvcnn" / "items.sqlite").write_bytes(b"")
    assert verify(folder)
    with pytest.raises(IndexDamagedError, match="beyond repair.*--rebuild"):
        repair(folder)


def test_an_open_index_goes_on_after_a_repair(folder):
    index = Index.open(folder)
    kept = index.ids
    repair(folder)
    index.add(random_vectors(1, seed=5), ["added later"])
    assert index.ids == sorted([*kept, "added later"])
    assert index.verify() == []


def test_what_was_open_during_a_repair_is_not_used_again(folder):
    index = Index.open(folder)
    with index.snapshot():
        repair(folder)
        before = len(index)
    Index.open(folder).add(random_vectors(1, seed=5), ["added later"])
    assert "added later" in index
    assert len(index) == before + 1
    index.close()


def test_repair_takes_the_writers_lock(folder):
    with Index.open(folder).writer():
        with pytest.raises(IndexLockedError):
            repair(folder, wait=0)


def test_verify_beside_a_writer_finds_nothing(folder):
    index = Index.open(folder)
    with index.writer() as writer:
        for i in range(5):
            writer.add(random_vectors(3, seed=i), [f"{i}a", f"{i}b", f"{i}c"])
            assert verify(folder) == []
            writer.commit()
            assert verify(folder) == []
    assert verify(folder) == []


def test_verify_needs_an_index(tmp_path):
    with pytest.raises(IndexMissingError):
        verify(tmp_path)
    with pytest.raises(IndexMissingError):
        repair(tmp_path)


@pytest.mark.parametrize("change", [{"format": "other"}, {"format_version": 0}])
def test_the_manifest_of_something_else_is_damaged(folder, change):
    home = existing_home(folder)
    text = (home.location / "manifest.json").read_text()
    manifest.parse(text, home)
    with pytest.raises(IndexDamagedError, match="not the manifest of an index"):
        manifest.parse(json.dumps({**json.loads(text), **change}), home)
