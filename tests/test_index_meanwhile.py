"""What others do to an index while it is open: write, mend, delete it and make it anew."""

import os
import shutil
import sqlite3

import numpy as np
import pytest
from index_fake import DIM, all_names, random_vectors, row_bytes, vectors_files

from rvcnn.errors import IndexDamagedError, IndexMissingError, RvcnnError, UsageError
from rvcnn.index import Index, ann, database, manifest, repair, verify
from rvcnn.index.formats import FORMATS

COUNT = 40


@pytest.fixture(params=FORMATS)
def folder(tmp_path, request):
    with Index.create(tmp_path / "photos", DIM, dtype=request.param) as index:
        index.add(random_vectors(COUNT), [f"{i}" for i in range(COUNT)])
    return tmp_path / "photos"


def before_the_first(monkeypatch, owner, name, do):
    """Let `do` happen before a function is called for the first time."""
    real, done = getattr(owner, name), []

    def function(*args, **options):
        if not done:
            done.append(True)
            do()
        return real(*args, **options)

    monkeypatch.setattr(owner, name, function)
    return done


def add_and_build(folder):
    index = Index.open(folder)
    index.add(random_vectors(5, seed=1), [f"new{i}" for i in range(5)])
    index.build_ann(workers=1)


def compact(folder):
    Index.open(folder).remove([str(i) for i in range(COUNT // 2)])


def test_verify_does_not_take_a_newer_graph_for_a_wrong_one(folder, monkeypatch):
    done = before_the_first(monkeypatch, ann, "graph_files", lambda: add_and_build(folder))
    assert verify(folder) == [] and done


def test_verify_does_not_miss_a_graph_that_a_compaction_ends(folder, monkeypatch):
    add_and_build(folder)
    done = before_the_first(monkeypatch, ann, "read_header", lambda: compact(folder))
    assert verify(folder) == [] and done


def test_verify_does_not_take_a_manifest_that_is_on_its_way_for_a_changed_one(folder, monkeypatch):
    real, texts = manifest.read_text, ["{}"]
    monkeypatch.setattr(manifest, "read_text", lambda place: texts.pop() if texts else real(place))
    assert verify(folder) == [] and not texts


@pytest.mark.parametrize("first", ["gone", "asked"])
def test_stats_while_a_graph_goes(folder, monkeypatch, first):
    add_and_build(folder)
    real = os.stat

    def stat(path, *args, **options):
        goes = os.fspath(path).endswith(".graph") if not isinstance(path, int) else False
        if goes and first == "gone":
            os.unlink(path)
        found = real(path, *args, **options)
        if goes and first == "asked":
            os.unlink(path)
        return found

    index = Index.open(folder)
    monkeypatch.setattr(os, "stat", stat)
    assert index.stats().vectors == COUNT + 5


def test_what_a_reader_has_mapped_stays_through_a_repair(folder):
    index = Index.open(folder)
    dtype = index.dtype
    path = folder / ".rvcnn" / sorted(all_names(dtype))[0]
    sizes = {name: (folder / ".rvcnn" / name).stat().st_size for name in all_names(dtype)}
    assert sum(sizes.values()) == COUNT * row_bytes(dtype)
    with index.snapshot() as before:
        kept = np.array(before.vectors(["0"]))
        data = bytearray(path.read_bytes())
        data[-1] ^= 255
        path.write_bytes(data)
        assert repair(folder).stale == 1
        Index.open(folder).writer().close()
        # A map beyond the end of its file ends the process that reads it.
        for name, size in sizes.items():
            assert (folder / ".rvcnn" / name).stat().st_size >= size
        np.testing.assert_array_equal(before.vectors(["0"]), kept)
    index.add(random_vectors(1, seed=9), ["later"])
    assert verify(folder) == [] and "later" in index


@pytest.mark.skipif(os.name == "nt", reason="an open file is not deleted there")
@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize("when", ["add", "commit"])
def test_a_writer_whose_index_was_deleted_says_so(folder, anew, when):
    writer = Index.open(folder).writer()
    # Enough to be compacted, by names that the other index has.
    writer.remove([str(i) for i in range(COUNT // 2)])
    writer.commit()
    if when == "commit":
        writer.add(random_vectors(1, seed=3), ["lost"])
    shutil.rmtree(folder / ".rvcnn")
    if anew:
        other = Index.create(folder, DIM)
        other.add(random_vectors(COUNT, seed=7), [f"{i}" for i in range(COUNT)])
    with pytest.raises(RvcnnError, match="moved, deleted or replaced .* run the command again"):
        if when == "add":
            writer.add(random_vectors(1, seed=3), ["lost"])
        else:
            writer.commit()
    writer.close()
    if anew:
        assert vectors_files(folder / ".rvcnn") == all_names("float32")
        assert verify(folder) == [] and len(other) == COUNT
    else:
        assert not (folder / ".rvcnn").exists()


@pytest.mark.skipif(os.name == "nt", reason="an open file is not deleted there")
def test_an_open_index_that_is_deleted_is_gone_and_not_damaged(folder):
    index = Index.open(folder)
    shutil.rmtree(folder / ".rvcnn")
    for ask in (lambda: len(index), lambda: index.search(random_vectors(1))):
        with pytest.raises(IndexMissingError, match="is gone: `rvcnn embed .*` makes one"):
            ask()
    other = Index.create(folder, DIM)
    other.add(random_vectors(2, seed=1), ["a", "b"])
    assert index.ids == ["a", "b"]


@pytest.mark.skipif(os.name == "nt", reason="an open file is not deleted there")
def test_two_writers_do_not_write_where_the_lock_was_deleted(folder):
    first = Index.open(folder).writer()
    first.add(random_vectors(3, seed=3), ["a", "b", "c"])
    (folder / ".rvcnn" / "writer.lock").unlink()
    with pytest.raises(RvcnnError, match="moved, deleted or replaced"):
        first.commit()
    first.close()
    Index.open(folder).add(random_vectors(3, seed=4), ["d", "e", "f"])
    assert verify(folder) == []


def test_a_missing_file_of_vectors_is_not_made_by_a_writer(folder):
    dtype = Index.open(folder).dtype
    gone = folder / ".rvcnn" / sorted(all_names(dtype))[-1]
    index = Index.open(folder)
    gone.unlink()
    with pytest.raises(IndexDamagedError, match=f"{gone.name} is missing"):
        index.writer()
    assert not gone.exists()


def test_a_connection_given_back_while_others_are_let_go_is_not_kept(folder, monkeypatch):
    index = Index.open(folder)
    reading = index.snapshot()
    reading.__enter__()
    repair(folder)
    close, given_back = index._source.close, []

    def close_and_give_back():
        close()
        if not given_back:
            given_back.append(True)
            reading.__exit__(None, None, None)

    monkeypatch.setattr(index._source, "close", close_and_give_back)
    assert len(index) == COUNT and given_back
    monkeypatch.undo()
    Index.open(folder).add(random_vectors(1, seed=5), ["added later"])
    assert len(index) == COUNT + 1


class Child:
    """A forked process that does one thing and then another, when it is told."""

    def __init__(self, *steps):
        self.told, tell = os.pipe()
        self.heard, self.say = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                for step in steps:
                    step()
                    os.write(tell, b"1")
                    os.read(self.heard, 1)
                code = 0
            finally:
                os._exit(code)
        os.close(tell)
        assert os.read(self.told, 1) == b"1"

    def go_on(self):
        os.write(self.say, b"1")

    def end(self):
        self.go_on()
        assert os.waitpid(self.pid, 0)[1] == 0
        for descriptor in (self.told, self.heard, self.say):
            os.close(descriptor)


forks = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]


def forked(test):
    for mark in forks:
        test = mark(test)
    return test


@forked
def test_what_a_forked_process_commits_is_not_lost_when_its_parent_closes(folder):
    index = Index.open(folder)
    assert len(index) == COUNT
    open_there = []

    def write():
        open_there.append(index.writer())
        open_there[0].add(random_vectors(1, seed=1), ["first"])
        open_there[0].commit()

    def write_again():
        open_there[0].add(random_vectors(1, seed=2), ["second"])
        open_there[0].commit()

    child = Child(write, write_again)
    assert "first" in index
    index.close()
    child.go_on()
    assert os.read(child.told, 1) == b"1"
    child.end()
    assert "first" in index and "second" in index
    assert verify(folder) == []


@forked
@pytest.mark.parametrize("use", ["snapshot", "writer"])
def test_an_index_that_is_in_use_is_refused_after_a_fork(folder, use):
    def refused():
        for ask in (lambda: len(Index.open(folder)), lambda: Index.open(folder).writer(wait=0)):
            with pytest.raises(UsageError, match="in use when this process was forked"):
                ask()

    index = Index.open(folder)
    with getattr(index, use)():
        Child(refused).end()
    Child(lambda: Index.open(folder).add(random_vectors(1), ["there"])).end()
    assert "there" in index


@forked
def test_a_writer_is_left_to_the_process_that_opened_it(folder):
    with Index.open(folder).writer() as writer:
        writer.add(random_vectors(3, seed=3), ["a", "b", "c"])

        def use():
            for ask in (writer.commit, lambda: writer.add(random_vectors(1), ["x"])):
                with pytest.raises(UsageError, match="another process's"):
                    ask()
            writer.close()

        Child(use).end()
    assert len(Index.open(folder)) == COUNT + 3
    assert verify(folder) == []


def test_a_reader_that_a_repair_overtakes_starts_again(folder, monkeypatch):
    real, done = database.read_state, []

    def read_state(connection, home):
        if not done:
            done.append(True)
            repair(folder)
            raise sqlite3.OperationalError("disk I/O error")
        return real(connection, home)

    monkeypatch.setattr(database, "read_state", read_state)
    assert len(Index.open(folder)) == COUNT and done


def test_a_disk_that_fails_under_a_reader_is_told(folder, monkeypatch):
    def read_state(connection, home):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(database, "read_state", read_state)
    with pytest.raises(RvcnnError, match="disk I/O error"):
        Index.open(folder)
