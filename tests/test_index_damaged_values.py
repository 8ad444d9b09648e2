"""An index whose database opens and holds what was never written: one error says so, always."""

import sqlite3
from contextlib import closing

import pytest
from index_fake import random_vectors

from rvcnn.dedup.folders import duplicates_below
from rvcnn.errors import IndexDamagedError, UsageError
from rvcnn.index import Index, Item, Status, lookups, repair, verify
from rvcnn.place import Place, open_place

DIM = 8
ONE = "WHERE id = CAST('image3.jpg' AS BLOB)"
STATEMENTS = [
    "UPDATE state SET rows = -1",
    "UPDATE state SET rows = 3",
    "UPDATE state SET rows = 'many'",
    "UPDATE state SET version = 1.5",
    "UPDATE state SET generation = '../../other'",
    "UPDATE state SET manifest = CAST(manifest AS BLOB)",
    f"UPDATE items SET row = 99999 {ONE}",
    f"UPDATE items SET row = -1 {ONE}",
    f"UPDATE items SET row = 1.5 {ONE}",
    f"UPDATE items SET row = 'first' {ONE}",
    f"UPDATE items SET row = NULL {ONE}",
    f"UPDATE items SET metadata = '{{' {ONE}",
    f"UPDATE items SET metadata = '[1]' {ONE}",
    f"UPDATE items SET metadata = x'ff' {ONE}",
    f"UPDATE items SET metadata = '{'[' * 100_000}' {ONE}",
    f"UPDATE items SET width = 'wide' {ONE}",
    f"UPDATE items SET size = x'00' {ONE}",
    f"UPDATE items SET added_at = 'now' {ONE}",
    f"UPDATE items SET error = x'ff00' {ONE}",
    f"UPDATE items SET id = 'image3.jpg' {ONE}",
    f"UPDATE items SET id = 7 {ONE}",
]


@pytest.fixture
def folder(tmp_path):
    folder, vectors = tmp_path / "photos", random_vectors(6)
    index = Index.create(folder, DIM, description={"model": "x"})
    with index.writer() as writer:
        for i, vector in enumerate(vectors):
            (folder / f"image{i}.jpg").write_bytes(b"")
            writer.put(Item(f"image{i}.jpg", sha256=b"s" * 32, metadata={"n": i}), vector)
        writer.put(Item("bad.jpg", Status.FAILED, error="broken"), None)
    index.close()
    return folder


READS = [
    lambda folder: list(Index.open(folder).items()),
    lambda folder: Index.open(folder).item("image3.jpg"),
    lambda folder: Index.open(folder).search(random_vectors(1), k=6),
    lambda folder: Index.open(folder).search(random_vectors(1), k=6, where="n >= 0"),
    lambda folder: Index.open(folder).search_with_threshold(random_vectors(1), -1),
    lambda folder: Index.open(folder).vectors(),
    lambda folder: Index.open(folder).vectors(["image3.jpg"]),
    lambda folder: open_place(folder).rows(),
    lambda folder: Place(Index.open(folder), folder).facts(),
    lambda folder: duplicates_below([open_place(folder)], threshold=0.9),
    lambda folder: with_content(folder),
    lambda folder: write(folder),
]


def with_content(folder):
    with Index.open(folder).snapshot() as now:
        return lookups.with_content(now, b"s" * 32)


def write(folder):
    with Index.open(folder).writer(wait=0) as writer:
        writer.find_content(b"s" * 32)
        writer.tag("image3.jpg", {"n": 9})
        writer.known()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda text: text[:45])
def test_values_that_were_never_written(folder, statement):
    for read in READS:
        read(folder)
    with closing(sqlite3.connect(folder / ".rvcnn" / "items.sqlite")) as connection, connection:
        assert connection.execute(statement).rowcount == 1
    said = 0
    for read in READS:
        try:
            read(folder)
        except IndexDamagedError as error:
            assert "verify --repair" in str(error)
            said += 1
        except UsageError as error:
            assert "has no vector of 'image3.jpg'" in str(error)
    assert said
    assert verify(folder)
    repair(folder)
    assert verify(folder) == []
    assert 5 <= len(list(Index.open(folder).items())) <= 7
