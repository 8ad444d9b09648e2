import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from index_fake import CLOSE, all_names, random_vectors, row_bytes, vectors_files

from rvcnn.errors import IndexLockedError, RvcnnError, UsageError
from rvcnn.index import (
    Index,
    Item,
    Status,
    connections,
    database,
    manifest,
    seal,
    store,
    vectors,
    verify,
)
from rvcnn.index import writer as writing
from rvcnn.index.formats import FORMATS
from rvcnn.index.vectors import VectorsFile

DIM = 8


@pytest.fixture(params=FORMATS)
def index(tmp_path, request):
    index = Index.create(tmp_path / "photos", DIM, dtype=request.param)
    index.add(random_vectors(10), [f"old{i}" for i in range(10)])
    return index


def size_of_vectors(location):
    return sum((location / name).stat().st_size for name in vectors_files(location))


def state_of(index):
    """Return all that an index holds, as values to compare."""
    with index.snapshot() as now:
        return list(now.items()), now.vectors().tobytes()


def test_a_reset_index_is_of_the_new_kind_in_its_manifest_too(index):
    new = manifest.make(DIM + 1, "dot", {"model": "other"}, dtype=index.dtype)
    with index.writer() as writer:
        writer.reset(new)
    assert len(index) == 0 and index.dim == DIM + 1
    assert manifest.parse(manifest.read_text(index.location), None) == new
    assert verify(index.path) == []


def test_an_interrupted_reset_is_an_interrupt_and_forgotten(index, monkeypatch):
    from rvcnn.index import items

    before, sums = state_of(index), []

    def interrupted(*args, **options):
        sums.append(1)
        if len(sums) == 5:
            raise KeyboardInterrupt
        return blake2b(*args, **options)

    blake2b = items.blake2b
    with index.writer() as writer:
        monkeypatch.setattr(items, "blake2b", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writer.reset(manifest.make(DIM, "dot", {"model": "other"}, dtype=index.dtype))
        monkeypatch.undo()
    assert state_of(index) == before and verify(index.path) == []


def test_a_reset_of_more_items_than_are_summed_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_NEXT_FACTS", store._NEXT_FACTS.replace("4096", "3"))
    index = Index.create(tmp_path, DIM)
    index.add(random_vectors(10), [f"old{i}" for i in range(10)])
    with index.writer() as writer:
        writer.reset(manifest.make(DIM, "dot", {"model": "other"}))
    with index.snapshot() as now:
        assert [item.status for item in now.items()] == [Status.STALE] * 10
    assert verify(tmp_path) == []


def test_nothing_is_seen_before_the_commit(index):
    other = Index.open(index.path)
    with index.writer() as writer:
        writer.add(random_vectors(3, seed=1), ["x", "y", "z"])
        writer.remove(["old0"])
        assert len(other) == 10 and "x" not in other
        writer.commit()
        assert len(other) == 12 and "x" in other
        writer.remove(["x"])
        assert "x" in other
    assert "x" not in other
    assert other.verify() == []


def test_an_exception_forgets_what_was_not_committed(index):
    with pytest.raises(ZeroDivisionError):
        with index.writer() as writer:
            writer.add(random_vectors(2, seed=1), ["x", "y"])
            writer.commit()
            before = state_of(index)
            writer.remove(["x", "old1"])
            writer.add(random_vectors(2, seed=2), ["z", "y"])
            raise ZeroDivisionError
    assert state_of(index) == before
    assert index.verify() == []
    index.add(random_vectors(1, seed=3), ["later"])
    assert index.verify() == []


def test_a_call_that_fails_leaves_the_earlier_ones(index):
    with index.writer() as writer:
        writer.add(random_vectors(2, seed=1), ["x", "y"])
        with pytest.raises(UsageError):
            writer.add(random_vectors(2, seed=1), ["z", "z"])
        writer.add(random_vectors(1, seed=2), ["w"])
    assert len(index) == 13
    assert index.verify() == []


def test_a_call_that_fails_half_way_is_undone(index, monkeypatch):
    monkeypatch.setattr(writing, "_CHUNK", 2)
    with index.writer() as writer:
        writer.add(random_vectors(2, seed=1), ["x", "y"])
        with pytest.raises(UsageError, match="plain JSON"):
            writer.add(
                random_vectors(5, seed=2), ["y", "z", "old1", "v", "w"], [{}] * 4 + [{1: {2}}]
            )
        writer.add(random_vectors(1, seed=3), ["u"])
    assert sorted(index.ids) == sorted(["x", "y", "u", *(f"old{i}" for i in range(10))])
    assert index.stats().dead_rows == 0
    unit = random_vectors(2, seed=1)[1]
    close = CLOSE[index.dtype]
    np.testing.assert_allclose(index.vectors(["y"])[0], unit / np.linalg.norm(unit), atol=close)
    assert index.verify() == []


def test_a_change_that_a_second_interrupt_left_open_ends_after_the_writer(index):
    before = state_of(index)
    changed = store.Store(index._home, 1.0)
    change = changed.changing()
    change.__enter__()
    changed.connection.execute("DELETE FROM items")
    changed.close()
    change.gen.close()  # as when the interpreter lets go of it
    assert state_of(index) == before and verify(index.path) == []


def test_a_closed_writer_says_so(index):
    with index.writer() as writer:
        pass
    with pytest.raises(UsageError, match="closed"):
        writer.add(random_vectors(1), ["x"])
    writer.close()


def test_items_without_a_vector(index):
    failed = Item("bad.jpg", Status.FAILED, size=3, mtime_ns=4, error="broken\udcff", tried="v1")
    with index.writer() as writer:
        writer.put(failed, None)
        writer.put(Item("old3", Status.FAILED, error="now too"), None)
        with pytest.raises(UsageError, match="exactly if"):
            writer.put(Item("x", Status.FAILED), np.ones(DIM))
        with pytest.raises(UsageError, match="exactly if"):
            writer.put(Item("x"), None)
    assert len(index) == 9 and "bad.jpg" not in index.ids
    assert index.item("bad.jpg").error == "broken?"
    assert index.stats()[:4] == (9, 2, 0, 1)
    assert index.verify() == []


def test_rename_keeps_vector_metadata_and_date(index):
    index.add(np.ones((1, DIM)), ["from"], [{"tag": 1}])
    before = index.item("from")
    with index.writer() as writer:
        writer.rename("from", Item("to", size=5, added_at=1))
        writer.rename("old1", Item("old2", size=6))
    after = index.item("to")
    assert (after.metadata, after.added_at, after.row) == ({"tag": 1}, before.added_at, before.row)
    assert after.size == 5
    assert "from" not in index and "old1" not in index
    assert len(index) == 10
    assert index.verify() == []


def test_rows_are_compacted_when_more_than_three_tenths_are_dead(index):
    assert vectors_files(index.location) == all_names(index.dtype)
    held = index.vectors(["old7"])
    index.remove(["old0", "old1", "old2"])
    assert index.stats().dead_rows == 3
    index.remove(["old4"])
    assert index.stats().dead_rows == 0
    assert vectors_files(index.location) == all_names(index.dtype, 1)
    assert size_of_vectors(index.location) == 6 * row_bytes(index.dtype)
    np.testing.assert_array_equal(index.vectors(["old7"]), held)
    assert index.verify() == []
    index.add(random_vectors(1, seed=1), ["x"])
    index.remove([f"old{i}" for i in range(10)])
    assert vectors_files(index.location) == all_names(index.dtype, 2)
    assert index.ids == ["x"]
    assert index.verify() == []


def test_what_a_dead_writer_left_is_cleared_away(index):
    before = state_of(index)
    index.close()
    for name in all_names(index.dtype):
        with open(index.location / name, "ab") as file:
            file.write(b"never committed")
    left = {"vectors.7.f32", "vectors.7.low", "items.sqlite.new", "manifest.json.new"}
    for name in left:
        (index.location / name).write_bytes(b"half")
    assert index.verify() == []
    with index.writer() as writer:
        assert {p.name for p in index.location.iterdir()}.isdisjoint(left)
        assert size_of_vectors(index.location) == 10 * row_bytes(index.dtype)
        del writer
    assert state_of(index) == before


# --- a full disk -----------------------------------------------------------------------------


class FullDisk:
    """Calls fail from the `after`-th on, as on a disk without room."""

    def __init__(self, after):
        self.left = after

    def __call__(self, real):
        def call(*args, **options):
            if self.left <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= 1
            return real(*args, **options)

        return call


class FullDatabase:
    """A connection whose statements that begin so fail, as SQLite's do on a full disk."""

    def __init__(self, connection, begins):
        self._connection = connection
        self._begins = begins
        self.failures = 0

    def execute(self, statement, *values):
        self._check(statement)
        return self._connection.execute(statement, *values)

    def executemany(self, statement, values):
        self._check(statement)
        return self._connection.executemany(statement, values)

    def _check(self, statement):
        if statement.lstrip().startswith(self._begins):
            self.failures += 1
            raise sqlite3.OperationalError("database or disk is full")

    def __getattr__(self, name):
        return getattr(self._connection, name)


@contextmanager
def one_clear_error():
    with pytest.raises(RvcnnError) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message
    assert "No space left" in message or "disk is full" in message
    assert "safe" in message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_full_disk_while_vectors_are_written(index, monkeypatch, after):
    before = state_of(index)
    with monkeypatch.context() as patch, one_clear_error():
        patch.setattr(store.VectorsFile, "append", FullDisk(after)(VectorsFile.append))
        with index.writer() as writer:
            for i in range(5):
                writer.add(random_vectors(1, seed=i), [f"x{i}"])
    assert state_of(index) == before
    assert index.verify() == []
    index.add(random_vectors(1, seed=1), ["x0"])
    assert index.verify() == []


def test_a_disk_that_takes_half_a_row(index, monkeypatch):
    before = state_of(index)

    def half(file, data):
        file.write(memoryview(data).cast("B")[:13])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, one_clear_error():
        patch.setattr(vectors, "write_all", half)
        index.add(random_vectors(3, seed=1), ["x", "y", "z"])
    assert state_of(index) == before
    assert index.verify() == []


@pytest.mark.parametrize("call", ["append", "sync"])
def test_a_full_disk_at_the_commit(index, monkeypatch, call):
    with index.writer() as writer:
        writer.add(random_vectors(2, seed=5), ["kept", "too"])
        writer.commit()
        before = state_of(index)
        with monkeypatch.context() as patch:
            patch.setattr(VectorsFile, call, FullDisk(0)(getattr(VectorsFile, call)))
            with one_clear_error():
                writer.add(random_vectors(1, seed=6), ["lost"])
                writer.commit()
        assert state_of(index) == before
        writer.add(random_vectors(1, seed=7), ["after"])
    assert len(index) == 13 and "lost" not in index
    assert index.verify() == []


@pytest.mark.parametrize("begins", ["INSERT INTO items", "INSERT INTO dead", "UPDATE", "COMMIT"])
def test_a_full_disk_in_the_database(index, monkeypatch, begins):
    before = state_of(index)
    opened = []

    def open_to_write(home, real=database.open_to_write):
        opened.append(FullDatabase(real(home), begins))
        return opened[-1]

    with monkeypatch.context() as patch, one_clear_error():
        patch.setattr(database, "open_to_write", open_to_write)
        index.add(random_vectors(3, seed=1), ["x", "old1", "z"])
    assert opened[0].failures
    assert state_of(index) == before
    assert index.verify() == []


def test_a_disk_that_fails_when_the_file_is_closed_lets_the_next_writer_in(index, monkeypatch):
    def close(file, real=VectorsFile.close):
        real(file)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch, pytest.raises(RvcnnError, match="Input/output"):
        patch.setattr(VectorsFile, "close", close)
        index.add(random_vectors(1, seed=1), ["x"])
    with index.writer(wait=0) as writer:
        writer.add(random_vectors(1, seed=2), ["y"])
    assert {"x", "y"} <= {*index.ids} and index.verify() == []


def test_a_power_cut_does_not_bring_a_broken_seal_back(index, monkeypatch):
    sealed, synced = index.location / seal.NAME, []
    assert sealed.exists()
    monkeypatch.setattr(seal, "sync_folder", lambda folder: synced.append(not sealed.exists()))
    with index.writer() as writer:
        writer.add(random_vectors(1, seed=1), ["x"])
        assert synced == [True]
        writer.add(random_vectors(1, seed=2), ["y"])
    assert synced == [True]


def test_a_connection_may_be_closed_by_the_garbage_collector_at_any_moment(index):
    def close():
        with connections._GUARD:
            connections.connect(index.location / "items.sqlite", "rw").close()

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()


def test_a_full_disk_during_a_compaction_costs_nothing(index, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(VectorsFile, "sync", FullDisk(1)(VectorsFile.sync))
        assert index.remove([f"old{i}" for i in range(5)]) == 5
    assert index.stats().dead_rows == 5
    assert vectors_files(index.location) == all_names(index.dtype)
    assert index.verify() == []
    with index.writer():
        pass
    assert index.stats().dead_rows == 0
    assert index.verify() == []


@pytest.mark.parametrize("name", ["manifest.json", "items.sqlite"])
def test_a_full_disk_while_an_index_is_made(tmp_path, monkeypatch, name):
    from rvcnn.index import manifest

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, one_clear_error():
        if name == "manifest.json":
            patch.setattr(manifest, "write_whole", full)
        else:
            patch.setattr(database, "put_in_place", full)
        Index.create(tmp_path, DIM)
    if name == "items.sqlite":
        Index.create(tmp_path, DIM)
    index = Index.open(tmp_path)
    index.add(random_vectors(1), ["x"])
    assert index.verify() == []


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system with half a megabyte."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small file system")
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_disk_that_really_is_full(tiny_disk):
    index = Index.create(tiny_disk / "photos", 256)
    added = 0
    with one_clear_error():
        for step in range(1000):
            index.add(random_vectors(4, 256, seed=step), [f"{step}-{i}" for i in range(4)])
            added += 4
    assert 50 < added < 1000
    assert index.verify() == []
    assert len(index) == added
    last = f"{added // 4 - 1}-0"
    assert index.nearest(random_vectors(4, 256, seed=added // 4 - 1)[0]).id == last
    with pytest.raises(RvcnnError):
        index.add(random_vectors(400, 256), [f"many{i}" for i in range(400)])
    assert len(index) == added and index.verify() == []
    filler = tiny_disk / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(512))
    assert Index.open(index.path).nearest(random_vectors(1, 256)[0]) is not None
    filler.unlink()
    index.close()


# --- one writer at a time --------------------------------------------------------------------


def test_a_second_writer_waits_and_then_says_what_to_do(index):
    with index.writer():
        started = time.monotonic()
        with pytest.raises(IndexLockedError, match="--wait") as caught:
            Index.open(index.path).writer(wait=0.3)
        assert 0.3 <= time.monotonic() - started < 5
        assert caught.value.exit_code == 1
    with index.writer(wait=0):
        pass


def test_a_second_writer_gets_its_turn(index):
    first = index.writer()
    done = []

    def second():
        with Index.open(index.path).writer(wait=20) as writer:
            writer.add(random_vectors(1, seed=2), ["second"])
            done.append(True)

    thread = threading.Thread(target=second)
    thread.start()
    first.add(random_vectors(1, seed=1), ["first"])
    time.sleep(0.2)
    assert not done
    first.commit()
    first.close()
    thread.join(20)
    assert done and {"first", "second"} <= set(index.ids)
    assert index.verify() == []


def test_a_dead_process_keeps_no_lock(index, tmp_path):
    code = (
        "import os, sys; from rvcnn.index import Index; import numpy as np\n"
        "w = Index.open(sys.argv[1]).writer(); w.add(np.ones((1, 8)), ['lost'])\n"
        "print('locked', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, index.path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path,
    )  # fmt: skip
    assert child.stdout.readline().strip() == b"locked"
    with pytest.raises(IndexLockedError):
        index.writer(wait=0)
    child.kill()
    child.wait()
    child.stdin.close()
    child.stdout.close()
    with index.writer(wait=5):
        pass
    assert len(index) == 10 and index.verify() == []


# --- file systems that lack something --------------------------------------------------------


def test_without_shared_memory_a_rollback_journal_does(index, monkeypatch):
    real = database.connect

    class NoWal:
        def __init__(self, connection):
            self.connection = connection

        def execute(self, statement, *values):
            if statement == "PRAGMA journal_mode = WAL":
                raise sqlite3.OperationalError("disk I/O error")
            return self.connection.execute(statement, *values)

        def __getattr__(self, name):
            return getattr(self.connection, name)

    monkeypatch.setattr(database, "connect", lambda *a, **o: NoWal(real(*a, **o)))
    reader = Index.open(index.path)
    index.close()
    reader.close()
    index.add(random_vectors(5, seed=1), [f"new{i}" for i in range(5)])
    assert not (index.location / "items.sqlite-wal").exists()
    with real(index.location / "items.sqlite", "rw") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert len(reader) == 15
    index.remove([f"old{i}" for i in range(10)])
    assert reader.ids == [f"new{i}" for i in range(5)]
    assert reader.verify() == []
    monkeypatch.undo()
    index.add(random_vectors(1, seed=2), ["local again"])
    assert reader.verify() == [] and len(reader) == 6


def test_without_mapped_files_they_are_read(index, monkeypatch):
    def no_map(*args, **options):
        raise OSError(errno.ENODEV, "No such device")

    expected = index.search(random_vectors(2, seed=3), 5)
    monkeypatch.setattr(np, "memmap", no_map)
    found = Index.open(index.path).search(random_vectors(2, seed=3), 5)
    assert found.ids == expected.ids
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert Index.open(index.path).verify() == []


def test_changing_an_array_of_vectors_does_not_change_the_index(index):
    before = index.vectors()
    with index.snapshot() as now:
        for plane in now.all_vectors.planes:
            plane[:] = 0
    index.vectors()[:] = 0
    index.close()
    np.testing.assert_array_equal(Index.open(index.path).vectors(), before)
    assert index.verify() == []
