"""Readers beside a writer that adds, changes, removes and compacts: nothing is torn."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from index_fake import CLOSE, DIM, all_names, random_vectors, vectors_files

from rvcnn.index import Index, snapshot
from rvcnn.index.formats import FORMATS

# Every id says which vector it must have, so that a reader can tell a torn state by itself. All
# ids of one commit carry its number, and a commit replaces them all.
CODE = """
import sys, time
import numpy as np
sys.path.insert(0, sys.argv[2])
from test_index_readers import look
end = time.monotonic() + float(sys.argv[3])
from rvcnn.index import Index
index, looks = Index.open(sys.argv[1]), 0
print("ready", flush=True)
while time.monotonic() < end:
    look(index); looks += 1
print(looks)
"""
PER_COMMIT = 20


def vector_for(commit, n):
    return np.random.default_rng([commit, n]).standard_normal(DIM).astype(np.float32)


def write_commits(index, first, last):
    for commit in range(first, last):
        with index.writer(wait=30) as writer:
            writer.remove(index.ids[: PER_COMMIT // 2])
            writer.remove(index.ids[PER_COMMIT // 2 :])
            ids = [f"{commit}/{n}" for n in range(PER_COMMIT)]
            writer.add([vector_for(commit, n) for n in range(PER_COMMIT)], ids)


def look(index):
    """Read in several ways; whatever is seen must be one commit as a whole."""
    with index.snapshot() as now:
        ids, vectors = now.ids(), now.vectors()
        assert now.count() == len(ids)
    assert len(ids) == PER_COMMIT and len({i.split("/")[0] for i in ids}) == 1, ids
    for identity, vector in zip(ids, vectors, strict=True):
        expected = vector_for(*map(int, identity.split("/")))
        unit = expected / np.linalg.norm(expected)
        np.testing.assert_allclose(vector, unit, atol=CLOSE[index.dtype])
    found = index.search(vectors[:2], k=PER_COMMIT)
    for row in found.ids:
        assert len(set(row)) == PER_COMMIT and len({i.split("/")[0] for i in row}) == 1
    if found.ids[0][0].split("/")[0] == ids[0].split("/")[0]:
        assert [row[0] for row in found.ids] == ids[:2]
        assert (np.abs(found.scores[:, 0] - 1) < 1e-5).all()


@pytest.fixture(params=FORMATS)
def index(tmp_path, request):
    index = Index.create(tmp_path / "photos", DIM, dtype=request.param)
    write_commits(index, 0, 1)
    look(index)  # compiles what is to be compiled
    return index


def test_threads_read_while_a_writer_commits_and_compacts(index):
    stop, errors, looks = threading.Event(), [], [0] * 4

    def read(n, shared):
        try:
            mine = shared or Index.open(index.path)
            while not stop.is_set():
                look(mine)
                looks[n] += 1
        except BaseException as error:
            errors.append(error)

    shared = Index.open(index.path)
    threads = [threading.Thread(target=read, args=(n, shared if n % 2 else None)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        write_commits(index, 1, 40)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors, errors[0]
    assert min(looks) > 0
    assert index.stats().dead_rows == 0
    assert vectors_files(index.location) == all_names(index.dtype, 39)
    assert index.verify() == []


def test_processes_read_while_a_writer_commits_and_compacts(index, tmp_path):
    seconds, here = 4, Path(__file__).parent
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, index.path, here, str(seconds)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    for reader in readers:
        assert reader.stdout.readline() == "ready\n", reader.communicate()[1]
    commit = 1
    while any(reader.poll() is None for reader in readers):
        write_commits(index, commit, commit + 1)
        commit += 1
    for reader in readers:
        out, errors = reader.communicate()
        assert reader.returncode == 0, errors
        assert int(out) > 0
    assert commit > 5
    assert index.verify() == []


def test_a_process_that_closes_its_connections_leaves_the_log_of_another(index):
    # Which happens where writing, or verifying, has cost this process SQLite's locks.
    code = (
        "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1]);"
        "print(connection.execute('SELECT version FROM state').fetchone()[0]); connection.close()"
    )
    log = index.location / "items.sqlite-wal"
    for change in (lambda: write_commits(index, 1, 2), index.verify):
        change()
        other = [sys.executable, "-c", code, index.location / "items.sqlite"]
        subprocess.run(other, check=True, stdout=subprocess.PIPE)
        assert log.exists()
    look(index)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="no list of open files here")
def test_what_a_database_was_read_by_is_closed_with_the_last_connection(index):
    def open_files():
        links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        return [file for file in map(os.readlink, links) if file.startswith(str(index.location))]

    write_commits(index, 1, 2)
    before = len(open_files())
    write_commits(index, 2, 9)
    assert index.verify() == []
    assert before > 0 and len(open_files()) == before
    index.close()
    assert open_files() == []


def test_a_reader_never_waits_for_a_writer(index):
    with index.writer() as writer:
        writer.add(random_vectors(500), [f"new{i}" for i in range(500)])
        started = time.monotonic()
        assert len(Index.open(index.path)) == PER_COMMIT
        look(index)
        assert time.monotonic() - started < 2
        writer.remove([f"new{i}" for i in range(500)])


def test_a_snapshot_outlives_a_compaction_and_holds_no_writer_up(index):
    with index.snapshot() as before:
        ids, vectors = before.ids(), before.vectors()
        started = time.monotonic()
        write_commits(index, 1, 4)
        assert time.monotonic() - started < 5
        assert before.ids() == ids
        np.testing.assert_array_equal(before.vectors(), vectors)
        rows, _ = before.top_k(vectors[:1], 3)
        assert before.ids_of(rows[0])[0] == ids[0]
    look(index)
    assert index.ids != ids


def test_a_reader_that_a_compaction_overtakes_starts_again(index, monkeypatch):
    real, overtaken = snapshot.map_rows, []

    def map_rows(home, generation, *sizes):
        if len(overtaken) < 3:
            overtaken.append(generation)
            monkeypatch.undo()
            write_commits(index, len(overtaken), len(overtaken) + 1)
            monkeypatch.setattr(snapshot, "map_rows", map_rows)
        return real(home, generation, *sizes)

    monkeypatch.setattr(snapshot, "map_rows", map_rows)
    look(Index.open(index.path))
    assert overtaken == [0, 1, 2]


def test_items_can_be_iterated_while_the_index_is_used(index):
    items = index.items()
    first = next(items)
    write_commits(index, 1, 2)
    look(index)
    assert [first.id, *(item.id for item in items)] == sorted(f"0/{n}" for n in range(PER_COMMIT))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_an_index_can_be_used_after_a_fork(index):
    look(index)
    child = os.fork()
    if not child:
        try:
            look(index)
            os._exit(0)
        except BaseException:
            os._exit(1)
    write_commits(index, 1, 3)
    look(index)
    assert os.waitpid(child, 0)[1] == 0
