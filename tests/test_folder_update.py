import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from index_fake import (
    DIM,
    FakeEmbedder,
    as_held,
    contents,
    image_bytes,
    vector_of_file,
    write_image,
)

from rvcnn.errors import IndexLockedError, IndexMismatchError, RvcnnError, UsageError
from rvcnn.folder import Done, Removed, Scanned, Skipped, update
from rvcnn.folder import embed as embedding
from rvcnn.folder import read as reading
from rvcnn.index import Index


class Folder:
    """A folder of images with helpers; `update` returns the counts and checks the index."""

    def __init__(self, path):
        self.path = path
        self.embedder = FakeEmbedder()
        self.events = []

    def write(self, *names, seed=None):
        for name in names:
            write_image(self.path / name, name if seed is None else seed)

    def update(self, path=None, **options):
        self.events = []
        calls = self.embedder.calls
        report = update(path or self.path, self.embedder, progress=self.events.append, **options)
        self.check()
        self.embedded = self.embedder.calls - calls
        assert self.embedded == report.indexed
        self.report = report
        return {
            name: getattr(report, name)
            for name in ("indexed", "reused", "unchanged", "skipped", "removed")
            if getattr(report, name)
        }

    def check(self):
        """Every vector must be that of the file of its path."""
        index = Index.open(self.path)
        assert index.verify() == []
        for identity, vector in contents(self.path).items():
            file = self.path / identity
            if file.exists():
                expected = as_held(vector_of_file(file), index.dtype)
                assert vector == expected.tobytes(), identity
        index.close()

    @property
    def ids(self):
        return sorted(contents(self.path))

    def skipped(self):
        return {
            os.path.relpath(event.path, self.path): event.reason
            for event in self.events
            if isinstance(event, Skipped)
        }


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return Folder(tmp_path / "photos")


def test_a_first_run_embeds_everything(folder):
    folder.write("b.jpg", "a/x.png", "a/y.webp")
    assert folder.update() == {"indexed": 3}
    assert folder.ids == ["a/x.png", "a/y.webp", "b.jpg"]
    assert folder.events[0] == Scanned(3, 0)
    assert folder.events[1:] == [
        Done(str(folder.path / name), reused=False) for name in ("a/x.png", "a/y.webp", "b.jpg")
    ]
    item = Index.open(folder.path).item("a/x.png")
    status = (folder.path / "a/x.png").stat()
    assert (item.size, item.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (item.width, item.height, item.format) == (2, 2, "PPM")
    assert abs(item.added_at - time.time()) < 60
    assert folder.report.root == folder.path
    assert set(folder.report.seconds) == {
        "scan", "read", "decode", "resize", "network", "index", "total",
    }  # fmt: skip


def test_an_empty_folder_gets_an_empty_index(folder):
    assert folder.update() == {}
    assert folder.ids == []


def test_a_second_run_opens_no_file(folder, monkeypatch):
    folder.write(*[f"{i}.jpg" for i in range(20)])
    (folder.path / "broken.jpg").write_bytes(b"no image")
    assert folder.update() == {"indexed": 20, "skipped": 1}

    def refuse(*args, **options):
        raise AssertionError("opened")

    monkeypatch.setattr(embedding, "content_of", refuse)
    monkeypatch.setattr(embedding, "decode", refuse)
    sealed = (folder.path / ".rvcnn" / "items.sha256").read_bytes()
    assert folder.update() == {"unchanged": 20, "skipped": 1}
    assert folder.events[0] == Scanned(0, 20)
    assert folder.events[1].known and not folder.events[1].counted
    assert (folder.path / ".rvcnn" / "items.sha256").read_bytes() == sealed


def test_only_what_is_new_or_changed_is_embedded(folder):
    folder.write("a.jpg", "b.jpg", "c.jpg")
    folder.update()
    write_image(folder.path / "b.jpg", "other", mtime=1)
    folder.write("d.jpg")
    assert folder.update() == {"indexed": 2, "unchanged": 2}


def test_a_touched_file_is_hashed_but_not_decoded(folder):
    folder.write("a.jpg", "b.jpg")
    folder.update()
    before = Index.open(folder.path).item("a.jpg")
    os.utime(folder.path / "a.jpg", ns=(5, 5))
    assert folder.update() == {"reused": 1, "unchanged": 1}
    assert Index.open(folder.path).item("a.jpg") == replace(before, mtime_ns=5)
    assert Index.open(folder.path).stats().dead_rows == 0
    assert folder.update() == {"unchanged": 2}


@pytest.mark.parametrize("new", ["z.jpg", "0.jpg", "deep/er/a.jpg"])
def test_a_renamed_file_keeps_its_vector_and_what_belongs_to_it(folder, new):
    folder.write("a.jpg", "b.jpg", "c.jpg")
    folder.update()
    with Index.open(folder.path).writer() as writer:
        tagged = replace(
            Index.open(folder.path).item("a.jpg"), metadata={"species": "fox"}, added_at=77
        )
        writer.put(tagged, vector_of_file(folder.path / "a.jpg"))
    (folder.path / new).parent.mkdir(parents=True, exist_ok=True)
    os.rename(folder.path / "a.jpg", folder.path / new)
    assert folder.update() == {"reused": 1, "unchanged": 2}
    after = Index.open(folder.path).item(new)
    assert (after.metadata, after.added_at) == ({"species": "fox"}, 77)
    assert folder.ids == sorted(["b.jpg", "c.jpg", new])


def test_a_renamed_folder_needs_no_prune(folder):
    folder.write(*[f"old/{i}.jpg" for i in range(10)])
    folder.update()
    os.rename(folder.path / "old", folder.path / "new")
    assert folder.update() == {"reused": 10}
    assert folder.ids == [f"new/{i}.jpg" for i in range(10)]


def test_a_copy_gets_a_vector_of_its_own(folder):
    folder.write("a.jpg")
    folder.update()
    for name in ("b.jpg", "c.jpg"):
        shutil.copy(folder.path / "a.jpg", folder.path / name)
    assert folder.update() == {"reused": 2, "unchanged": 1}
    assert len(set(contents(folder.path).values())) == 1
    (folder.path / "a.jpg").unlink()
    assert folder.update() == {"removed": 1, "unchanged": 2}


def test_one_of_two_equal_files_is_renamed(folder):
    folder.write("a.jpg", "b.jpg", seed="same")
    folder.write("c.jpg")
    folder.update()
    os.rename(folder.path / "a.jpg", folder.path / "new1.jpg")
    os.rename(folder.path / "b.jpg", folder.path / "new2.jpg")
    shutil.copy(folder.path / "new2.jpg", folder.path / "new3.jpg")
    assert folder.update() == {"reused": 3, "unchanged": 1}
    assert folder.ids == ["c.jpg", "new1.jpg", "new2.jpg", "new3.jpg"]


def test_files_that_swap_names(folder):
    write_image(folder.path / "a.jpg", 1, mtime=1000)
    write_image(folder.path / "b.jpg", 2, mtime=2000)
    folder.update()
    os.rename(folder.path / "a.jpg", folder.path / "t")
    os.rename(folder.path / "b.jpg", folder.path / "a.jpg")
    os.rename(folder.path / "t", folder.path / "b.jpg")
    counts = folder.update()
    assert counts.get("indexed", 0) + counts["reused"] == 2


def test_a_file_moved_over_another(folder):
    folder.write("a.jpg", "b.jpg", "c.jpg")
    folder.update()
    os.utime(folder.path / "a.jpg", ns=(5, 5))
    os.replace(folder.path / "a.jpg", folder.path / "b.jpg")
    assert folder.update() == {"reused": 1, "unchanged": 1}
    assert folder.ids == ["b.jpg", "c.jpg"]


def test_a_deleted_file_leaves(folder):
    folder.write("a.jpg", "b.jpg", "c.jpg")
    folder.update()
    (folder.path / "b.jpg").unlink()
    assert folder.update() == {"removed": 1, "unchanged": 2}
    assert folder.events[-1] == Removed(1)
    assert folder.ids == ["a.jpg", "c.jpg"]


def test_an_unmounted_disk_empties_nothing(folder):
    folder.write(*[f"disk/{i}.jpg" for i in range(6)], *[f"{i}.jpg" for i in range(4)])
    folder.update()
    os.rename(folder.path / "disk", folder.path.parent / "elsewhere")
    folder.write("new.jpg")
    with pytest.raises(RvcnnError, match="6 of 10 indexed images.*--prune") as caught:
        folder.update()
    assert caught.value.exit_code == 1
    assert len(folder.ids) == 11 and "new.jpg" in folder.ids
    (folder.path / "disk").mkdir()
    with pytest.raises(RvcnnError, match="6 of 11"):
        folder.update()
    os.rmdir(folder.path / "disk")
    os.rename(folder.path.parent / "elsewhere", folder.path / "disk")
    assert folder.update() == {"unchanged": 11}


def test_prune_drops_even_all(folder):
    folder.write("a.jpg", "b.jpg")
    folder.update()
    for name in ("a.jpg", "b.jpg"):
        (folder.path / name).unlink()
    assert folder.update(prune=True) == {"removed": 2}
    assert folder.ids == []


def test_exactly_half_may_go(folder):
    folder.write("a.jpg", "b.jpg", "c.jpg", "d.jpg")
    folder.update()
    for name in ("a.jpg", "b.jpg"):
        (folder.path / name).unlink()
    assert folder.update() == {"removed": 2, "unchanged": 2}


def test_what_is_excluded_later_leaves(folder):
    folder.write("a.jpg", "b.jpg", "x/c.jpg", "d.png")
    folder.update()
    assert folder.update(exclude=["x", "*.png"]) == {"removed": 2, "unchanged": 2}
    assert folder.ids == ["a.jpg", "b.jpg"]


def test_without_recursion_what_is_below_stays(folder):
    folder.write("a.jpg", "x/b.jpg", "x/y/c.jpg")
    folder.update()
    (folder.path / "x" / "b.jpg").unlink()
    folder.write("d.jpg")
    assert folder.update(recursive=False) == {"indexed": 1, "unchanged": 1}
    assert "x/b.jpg" in folder.ids
    assert folder.update() == {"removed": 1, "unchanged": 3}


def test_only_what_is_below_the_path_is_looked_at(folder):
    folder.write("a.jpg", "x/b.jpg", "x/y/c.jpg", "x-other/d.jpg", "x0/e.jpg")
    folder.update()
    for name in ("a.jpg", "x/y/c.jpg", "x-other/d.jpg", "x0/e.jpg"):
        (folder.path / name).unlink()
    folder.write("new.jpg", "x/new.jpg")
    assert folder.update(folder.path / "x") == {"indexed": 1, "removed": 1, "unchanged": 1}
    assert folder.ids == ["a.jpg", "x-other/d.jpg", "x/b.jpg", "x/new.jpg", "x0/e.jpg"]
    assert folder.report.root == folder.path
    assert not (folder.path / "x" / ".rvcnn").exists()
    assert folder.events[1] == Done(str(folder.path / "x" / "new.jpg"), reused=False)


def test_the_nearest_index_is_updated(folder):
    folder.write("a.jpg", "x/b.jpg")
    update(folder.path / "x", folder.embedder)
    assert folder.update() == {"indexed": 2}
    folder.write("x/c.jpg")
    assert update(folder.path / "x", folder.embedder).root == folder.path / "x"
    assert sorted(contents(folder.path / "x")) == ["b.jpg", "c.jpg"]
    assert folder.ids == ["a.jpg", "x/b.jpg"]


def test_paths_are_told_as_they_were_given(folder, monkeypatch):
    folder.write("a.jpg")
    monkeypatch.chdir(folder.path.parent)
    folder.update("photos")
    assert folder.events[1].path == os.path.join("photos", "a.jpg")


def test_no_folder(folder):
    folder.write("a.jpg")
    with pytest.raises(UsageError, match="there is none") as caught:
        update(folder.path / "nowhere", folder.embedder)
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match="it is a file"):
        update(folder.path / "a.jpg", folder.embedder)


# --- models ----------------------------------------------------------------------------------


def test_an_index_of_another_model_is_refused_and_both_are_named(folder):
    folder.embedder = FakeEmbedder("first", weights_sha256="a" * 64)
    folder.write("a.jpg")
    folder.update()
    folder.embedder = FakeEmbedder("second", weights_sha256="b" * 64)
    with pytest.raises(IndexMismatchError) as caught:
        folder.update()
    message = str(caught.value)
    for part in ("first", "second", "a" * 12, "b" * 12, f"rvcnn embed --rebuild {folder.path}"):
        assert part in message
    assert "precision" not in message and "\n" not in message
    assert caught.value.exit_code == 4
    assert folder.ids == ["a.jpg"]


def test_a_model_that_cannot_be_loaded_keeps_no_lock(folder, monkeypatch):
    folder.write("a.jpg")
    folder.update()
    with monkeypatch.context() as broken:
        broken.setattr(folder.embedder, "describe", lambda: {}["weights"])
        with pytest.raises(KeyError) as caught:
            folder.update()
    Index.open(folder.path).writer(wait=0).close()
    assert caught.value.args == ("weights",)  # which still holds on to all that it went through


def test_how_vectors_are_held_stays_unless_all_is_made_anew(folder):
    folder.write("a.jpg", "b.jpg")
    assert folder.update(vectors="int8") == {"indexed": 2}
    folder.write("c.jpg")
    shutil.copy(folder.path / "a.jpg", folder.path / "copy.jpg")
    assert folder.update() == {"indexed": 1, "reused": 1, "unchanged": 2}
    both = contents(folder.path)
    assert both["a.jpg"] == both["copy.jpg"]
    assert folder.update(vectors="int8") == {"unchanged": 4}
    says = "holds int8 vectors, not float32: .* --rebuild --vectors float32 "
    with pytest.raises(IndexMismatchError, match=says) as caught:
        folder.update(vectors="float32")
    assert caught.value.exit_code == 4
    assert Index.open(folder.path).dtype == "int8" and len(folder.ids) == 4
    # Two workers may read both of the equal files before either has its vector.
    assert folder.update(rebuild=True, workers=1) == {"indexed": 3, "reused": 1}
    assert Index.open(folder.path).dtype == "int8"
    folder.update(rebuild=True, vectors="float32")
    assert Index.open(folder.path).dtype == "float32"
    assert {p.name for p in (folder.path / ".rvcnn").glob("vectors*")} == {"vectors.2.f32"}
    with pytest.raises(IndexMismatchError, match="holds float32 vectors, not int8"):
        folder.update(vectors="int8")


class OtherEmbedder(FakeEmbedder):
    dim = DIM // 2

    def embed_pixels(self, pixels):
        half = super().embed_pixels(pixels)[: self.dim]
        return half / np.linalg.norm(half)


def test_rebuild_takes_the_new_model_and_keeps_metadata(folder):
    folder.write("a.jpg", "x/b.jpg")
    folder.update()
    with Index.open(folder.path).writer() as writer:
        writer.add(vector_of_file(folder.path / "a.jpg"), ["a.jpg"], [{"k": 1}])
    folder.update()
    open_before = Index.open(folder.path)
    assert open_before.dim == DIM
    report = update(folder.path / "x", OtherEmbedder("other"), rebuild=True)
    assert (report.indexed, report.root) == (2, folder.path)
    index = Index.open(folder.path)
    assert (index.dim, index.description["model"]) == (DIM // 2, "other")
    assert index.item("a.jpg").metadata == {"k": 1}
    assert index.verify() == []
    assert index.vectors().shape == (2, DIM // 2)
    assert open_before.dim == DIM // 2 and len(open_before) == 2
    assert '"other"' in (index.location / "manifest.json").read_text()


def test_a_rebuild_keeps_when_a_picture_came(folder):
    folder.write("a.jpg", "b.jpg")
    folder.update()
    with Index.open(folder.path).writer() as writer:
        for name in ("a.jpg", "b.jpg"):
            long_ago = replace(Index.open(folder.path).item(name), added_at=77)
            writer.put(long_ago, vector_of_file(folder.path / name))
    write_image(folder.path / "b.jpg", "another picture", mtime=9)
    assert folder.update(rebuild=True) == {"indexed": 2}
    index = Index.open(folder.path)
    assert index.item("a.jpg").added_at == 77
    assert abs(index.item("b.jpg").added_at - time.time()) < 60
    assert index.verify() == []


def test_rebuild_embeds_all_anew(folder):
    folder.write("a.jpg", "b.jpg")
    (folder.path / "broken.jpg").write_bytes(b"no image")
    folder.update()
    assert folder.update(rebuild=True) == {"indexed": 2, "skipped": 1}
    assert not folder.events[-1] == Removed(0)


def test_rebuild_empties_nothing_either(folder):
    folder.write("a.jpg", "disk/b.jpg", "disk/c.jpg")
    folder.update()
    os.rename(folder.path / "disk", folder.path.parent / "elsewhere")
    with pytest.raises(RvcnnError, match="2 of 3"):
        folder.update(rebuild=True)
    assert len(folder.ids) == 3
    assert folder.update(rebuild=True, prune=True) == {"indexed": 1, "removed": 2}


@pytest.mark.parametrize(
    "damage",
    [
        lambda location: (location / "items.sqlite").write_bytes(b"no database" * 999),
        lambda location: (location / "items.sqlite").unlink(),
        lambda location: (location / "vectors.f32").unlink(),
        lambda location: (location / "manifest.json").write_text(
            '{"format": "rvcnn index", "format_version": 99}'
        ),
    ],
)
def test_rebuild_replaces_what_cannot_be_read(folder, damage):
    folder.write("a.jpg", "b.jpg")
    folder.update()
    damage(folder.path / ".rvcnn")
    with pytest.raises(RvcnnError):
        folder.update()
    assert folder.update(rebuild=True) == {"indexed": 2}
    assert folder.update() == {"unchanged": 2}


def test_what_was_damaged_is_embedded_again(folder):
    from rvcnn.index import repair

    folder.write(*[f"{i}.jpg" for i in range(10)])
    folder.update()
    row = Index.open(folder.path).item("3.jpg").row
    with open(folder.path / ".rvcnn" / "vectors.f32", "r+b") as file:
        file.seek(row * DIM * 4)
        file.write(b"\xff")
    assert repair(folder.path).stale == 1
    assert folder.update() == {"indexed": 1, "unchanged": 9}
    (folder.path / ".rvcnn" / "items.sqlite").unlink()
    repair(folder.path)
    assert folder.update() == {"indexed": 10}


def test_a_damaged_vector_is_not_copied(folder):
    folder.write("a.jpg")
    folder.update()
    with open(folder.path / ".rvcnn" / "vectors.f32", "r+b") as file:
        file.write(b"\xff")
    shutil.copy(folder.path / "a.jpg", folder.path / "b.jpg")
    report = update(folder.path, folder.embedder)
    assert (report.indexed, report.reused) == (1, 0)
    assert contents(folder.path)["b.jpg"] == vector_of_file(folder.path / "b.jpg").tobytes()


# --- threads, locks, interrupts --------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_gives_the_same_index(folder, workers):
    folder.write(*[f"{i}.jpg" for i in range(60)])
    folder.write(*[f"copy{i}.jpg" for i in range(5)], seed="0.jpg")
    report = update(folder.path, folder.embedder, workers=workers)
    assert report.indexed + report.reused == 65
    folder.check()


def test_another_writer_is_waited_for(folder):
    folder.write("a.jpg")
    folder.update()
    folder.write("b.jpg")
    writer = Index.open(folder.path).writer()
    with pytest.raises(IndexLockedError):
        folder.update(wait=0.1)
    threading.Timer(0.3, writer.close).start()
    assert folder.update(wait=20) == {"indexed": 1, "unchanged": 1}


def test_two_first_runs_at_once(folder, tmp_path):
    folder.write(*[f"{i}.jpg" for i in range(30)])
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from index_fake import FakeEmbedder; from rvcnn.folder import update\n"
        "print(update(sys.argv[2], FakeEmbedder(seconds=0.01), wait=60).indexed)"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code, os.path.dirname(__file__), folder.path],
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]  # fmt: skip
    results = [run.communicate(timeout=100) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], results
    assert sorted(int(out) for out, _ in results) == [0, 30]
    folder.check()


def test_an_interrupt_keeps_what_is_finished(folder):
    folder.write(*[f"{i:02}.jpg" for i in range(40)])
    done = []

    def interrupt(event):
        if isinstance(event, Done):
            done.append(event.path)
            if len(done) == 17:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update(folder.path, folder.embedder, progress=interrupt, commit_seconds=1000)
    assert folder.ids == [f"{i:02}.jpg" for i in range(17)]
    assert folder.update() == {"indexed": 23, "unchanged": 17}


def test_it_commits_while_it_runs(folder):
    folder.write(*[f"{i:02}.jpg" for i in range(30)])
    seen = []

    def look(event):
        if isinstance(event, Done):
            seen.append(len(Index.open(folder.path)))

    update(folder.path, FakeEmbedder(seconds=0.01), progress=look, commit_seconds=0.05)
    assert seen == sorted(seen) and len(set(seen)) > 2
    seen.clear()
    folder.write(*[f"more{i:02}.jpg" for i in range(10)])
    update(folder.path, folder.embedder, progress=look, commit_seconds=1000)
    assert set(seen) == {30}


def test_an_error_in_the_embedder_stops_the_run_and_keeps_what_is_finished(folder):
    folder.write(*[f"{i:02}.jpg" for i in range(20)])
    wrong = FakeEmbedder()
    real = wrong.embed_pixels

    def fail(pixels):
        if wrong.calls == 12:
            raise ZeroDivisionError
        return real(pixels)

    wrong.embed_pixels = fail
    with pytest.raises(ZeroDivisionError):
        update(folder.path, wrong, workers=1)
    assert len(folder.ids) == 12
    assert folder.update() == {"indexed": 8, "unchanged": 12}


def test_the_data_in_memory_is_bounded(folder, monkeypatch):
    folder.write(*[f"{i}.jpg" for i in range(30)])
    alive, most, guard = 0, 0, threading.Lock()
    real = embedding.content_of

    class Counted:
        def __init__(self, *args):
            self.inner = real(*args)

        def __enter__(self):
            nonlocal alive, most
            with guard:
                alive += 1
                most = max(most, alive)
            return self.inner.__enter__()

        def __exit__(self, *args):
            nonlocal alive
            with guard:
                alive -= 1
            return self.inner.__exit__(*args)

    monkeypatch.setattr(embedding, "content_of", Counted)
    update(folder.path, FakeEmbedder(seconds=0.005), workers=3)
    assert 1 <= most <= 3
    assert len(image_bytes(0)) > 1
    monkeypatch.setattr(reading, "LARGE", 1)
    monkeypatch.setattr(embedding, "content_of", real)
    large = FakeEmbedder()
    busy = threading.Lock()
    real_embed = large.embed_pixels

    def alone(pixels):
        assert busy.acquire(blocking=False), "two large files at once"
        time.sleep(0.002)
        busy.release()
        return real_embed(pixels)

    large.embed_pixels = alone
    update(folder.path, large, workers=4, rebuild=True)
    folder.check()
