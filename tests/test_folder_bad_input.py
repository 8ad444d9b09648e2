"""Files and folders that cannot be read: one reason each, the run goes on, the index is right."""

import errno
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from index_fake import HEADER, FakeEmbedder, contents, image_bytes, vector_of_file, write_image

from rvcnn.errors import ImageError, RvcnnError
from rvcnn.folder import Skipped, update
from rvcnn.folder import embed as embedding
from rvcnn.folder import read as reading
from rvcnn.folder.read import Unreadable, content_of
from rvcnn.index import Index
from rvcnn.index.vectors import VectorsFile

BIG = 1 << 20


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_image(folder / name, name, mtime=1000)
    return folder


def run(folder, embedder=None, **options):
    """Update; return the report and the reasons by path."""
    events = []
    report = update(folder, embedder or FakeEmbedder(), progress=events.append, **options)
    reasons = {os.path.relpath(e.path, folder): e.reason for e in events if isinstance(e, Skipped)}
    assert len(reasons) == report.skipped
    assert all(reason and "\n" not in reason for reason in reasons.values())
    index = Index.open(folder)
    assert index.verify() == []
    index.close()
    for identity, vector in contents(folder).items():
        assert vector == vector_of_file(folder / identity).tobytes()
    return report, reasons


@pytest.mark.parametrize(
    "data", [b"", b"no image at all", HEADER, HEADER + b"short", b"\xff\xd8\xff\xe0" + bytes(50)]
)
def test_a_broken_image_is_skipped_and_not_opened_again(folder, data, monkeypatch):
    (folder / "broken.jpg").write_bytes(data)
    report, reasons = run(folder)
    assert (report.indexed, list(reasons)) == (3, ["broken.jpg"])
    item = Index.open(folder).item("broken.jpg")
    assert (item.status, item.error, item.row) == ("failed", reasons["broken.jpg"], None)

    def refuse(*args):
        raise AssertionError("opened")

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "content_of", refuse)
        report, again = run(folder)
    assert again == reasons and report.unchanged == 3
    write_image(folder / "broken.jpg", "mended", mtime=5)
    report, reasons = run(folder)
    assert (report.indexed, reasons) == (1, {})


def test_a_failed_image_is_tried_again_with_other_limits_or_programs(folder, monkeypatch):
    tried = []

    def decode(data, **options):
        tried.append(options["max_megapixels"])
        raise ImageError("too large")

    monkeypatch.setattr(embedding, "decode", decode)
    run(folder, max_megapixels=10)
    run(folder, max_megapixels=10)
    assert tried == [10] * 3
    run(folder, max_megapixels=20)
    assert tried == [10] * 3 + [20] * 3
    monkeypatch.setattr(embedding, "ALLOWED_FORMATS", ("JPEG", "HEIF"))
    run(folder, max_megapixels=20)
    assert len(tried) == 9


def test_an_image_that_breaks_loses_its_vector(folder):
    run(folder)
    (folder / "b.jpg").write_bytes(b"broken")
    report, reasons = run(folder)
    assert list(reasons) == ["b.jpg"] and report.removed == 0
    assert sorted(contents(folder)) == ["a.jpg", "c.jpg"]


def test_a_failed_image_that_goes_is_forgotten(folder):
    (folder / "broken.jpg").write_bytes(b"broken")
    run(folder)
    (folder / "broken.jpg").unlink()
    report, reasons = run(folder)
    assert (reasons, report.removed) == ({}, 1)
    assert Index.open(folder).stats().failed == 0


class Meddler:
    """Lets `action` happen when a file of this name has been opened and looked at."""

    def __init__(self, monkeypatch, name, action):
        real = os.fstat
        self.calls = 0

        def fstat(descriptor):
            status = real(descriptor)
            if os.stat(name).st_ino == status.st_ino:
                self.calls += 1
                if self.calls == 1:
                    action()
            return status

        monkeypatch.setattr(reading.os, "fstat", fstat)


@pytest.mark.skipif(sys.platform == "win32", reason="a file that is open cannot be changed there")
@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(image_bytes("longer") * 2),
        lambda file: os.truncate(file, 5),
        lambda file: os.truncate(file, 0),
        lambda file: write_image(file, "same length"),
        lambda file: os.utime(file, ns=(7, 7)),
    ],
)
def test_a_file_that_changes_while_it_is_read_waits_for_the_next_run(folder, monkeypatch, change):
    run(folder)
    write_image(folder / "b.jpg", "new", mtime=2000)
    with monkeypatch.context() as patch:
        meddler = Meddler(patch, folder / "b.jpg", lambda: change(folder / "b.jpg"))
        report, reasons = run(folder)
        assert meddler.calls
    assert reasons == {"b.jpg": "it changed while it was read"}
    assert sorted(contents(folder)) == ["a.jpg", "c.jpg"]
    write_image(folder / "b.jpg", "settled", mtime=3000)
    report, reasons = run(folder)
    assert (report.indexed, reasons) == (1, {})


def test_an_unchanged_file_that_could_not_be_read_is_tried_again(folder, monkeypatch):
    def fail(path, largest):
        if path.endswith("b.jpg"):
            raise Unreadable("Input/output error")
        return content_of(path, largest)

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "content_of", fail)
        for _ in range(2):
            assert run(folder)[1] == {"b.jpg": "Input/output error"}
    report, reasons = run(folder)
    assert (report.indexed, report.unchanged, reasons) == (1, 2, {})


def test_a_file_that_vanishes_after_it_was_listed(folder, monkeypatch):
    run(folder)
    write_image(folder / "b.jpg", "changed", mtime=7)
    write_image(folder / "d.jpg", "new")

    def vanish(path, largest):
        if path.endswith(("b.jpg", "d.jpg")):
            os.unlink(path)
        return content_of(path, largest)

    monkeypatch.setattr(embedding, "content_of", vanish)
    report, reasons = run(folder)
    assert reasons == dict.fromkeys(["b.jpg", "d.jpg"], "it is no longer there")
    assert [item.id for item in Index.open(folder).items()] == ["a.jpg", "c.jpg"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_file_that_becomes_a_pipe_is_not_waited_for(folder, monkeypatch):
    def swap(path, largest):
        if path.endswith("b.jpg"):
            os.unlink(path)
            os.mkfifo(path)
        return content_of(path, largest)

    monkeypatch.setattr(embedding, "content_of", swap)
    _, reasons = run(folder)
    assert reasons == {"b.jpg": "no regular file"}


def test_a_file_too_large_is_not_read(folder):
    with open(folder / "huge.jpg", "wb") as file:
        file.truncate(80 * BIG)
    _, reasons = run(folder, max_megapixels=1)
    assert list(reasons) == ["huge.jpg"]
    assert reasons["huge.jpg"].startswith("a file of 80 MiB is too large, 71 MiB is the most")


def test_no_memory_for_an_image(folder, monkeypatch):
    def decode(data, **options):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(embedding, "decode", decode)
        _, reasons = run(folder)
    assert set(reasons.values()) == {"there is not enough memory for it"}
    assert run(folder)[0].indexed == 3


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_a_vector_that_is_none(folder, value):
    embedder = FakeEmbedder()
    real = embedder.embed_pixels

    def embed_pixels(pixels):
        vector = real(pixels)
        return vector if embedder.calls != 2 else np.full_like(vector, value)

    embedder.embed_pixels = embed_pixels
    report, reasons = run(folder, embedder, workers=1)
    assert reasons == {"b.jpg": "its vector is zero or not finite"}
    assert report.indexed == 2


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names there are Unicode")
def test_names_with_newlines_and_names_that_are_no_utf8(folder):
    names = [b"new\nline.jpg", b"caf\xe9.jpg", b"\xff.jpg", b"~\x01.jpg"]
    for name in names:
        write_image(folder / os.fsdecode(name), name)
    (folder / os.fsdecode(b"bad\xe9.jpg")).write_bytes(b"broken")
    report, reasons = run(folder)
    assert report.indexed == 7 and [os.fsencode(path) for path in reasons] == [b"bad\xe9.jpg"]
    assert {os.fsencode(i) for i in contents(folder)} >= set(names)
    report, _ = run(folder)
    assert report.unchanged == 7
    os.rename(folder / os.fsdecode(b"\xff.jpg"), folder / os.fsdecode(b"\xfe.jpg"))
    report, _ = run(folder)
    assert (report.reused, report.unchanged) == (1, 6)
    write_image(folder / "sub" / os.fsdecode(b"\xff.jpg"), "sub")
    for counts in [(1, 0), (0, 1)]:
        report = update(folder / "sub", FakeEmbedder())
        assert (report.indexed, report.unchanged) == counts


def test_a_folder_that_cannot_be_listed_keeps_its_images(folder, monkeypatch):
    for i in range(9):
        write_image(folder / "closed" / f"{i}.jpg", i)
    write_image(folder / "closed-not" / "x.jpg", "x")
    run(folder)
    (folder / "a.jpg").unlink()
    (folder / "closed" / "3.jpg").unlink()
    (folder / "closed-not" / "x.jpg").unlink()
    real = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        events = []
        report = update(folder, FakeEmbedder(), progress=events.append)
    assert report.removed == 2
    assert Skipped(str(folder / "closed"), "Permission denied", counted=False) in events
    assert len(contents(folder)) == 11
    report, _ = run(folder)
    assert report.removed == 1


def test_the_folder_itself_cannot_be_listed(folder, monkeypatch):
    run(folder)

    def scandir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        with pytest.raises(RvcnnError, match="cannot list .*Permission denied"):
            update(folder, FakeEmbedder())
    assert len(contents(folder)) == 3


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become another user"
)
def test_as_a_user_who_may_not_read_everything():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "photos"
        for path in ("a.jpg", "closed/b.jpg", "secret.jpg", "open/c.jpg"):
            write_image(folder / path, path)
        (folder / "broken.jpg").write_bytes(b"broken")  # loads what only root may import
        run(folder)
        for path in (Path(name), folder, folder / "closed", folder / "open"):
            os.chown(path, 65534, 65534)
        for path in (folder / ".rvcnn").iterdir():
            os.chown(path, 65534, 65534)
        os.chown(folder / ".rvcnn", 65534, 65534)
        os.chmod(folder / "closed", 0)
        os.chmod(folder / "secret.jpg", 0)
        os.utime(folder / "secret.jpg", ns=(5, 5))
        events = []
        os.seteuid(65534)
        try:
            report = update(folder, FakeEmbedder(), progress=events.append)
        finally:
            os.seteuid(0)
        assert (report.unchanged, report.skipped, report.removed) == (2, 3, 0)
        reasons = {os.path.relpath(e.path, folder): e.reason for e in events[1:]}
        assert reasons.pop("broken.jpg")
        assert reasons == dict.fromkeys(["closed", "secret.jpg"], "Permission denied")
        assert sorted(contents(folder)) == ["a.jpg", "closed/b.jpg", "open/c.jpg"]


# --- a full disk -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["append", "sync"])
@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_stops_the_run_and_leaves_the_index_whole(folder, monkeypatch, method, after):
    for i in range(10):
        write_image(folder / f"{i}.jpg", i)
    real, calls = getattr(VectorsFile, method), []

    def full(self, *args):
        calls.append(1)
        if len(calls) > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(VectorsFile, method, full)
        with pytest.raises(RvcnnError, match="No space left") as caught:
            update(folder, FakeEmbedder(), commit_seconds=0)
    assert caught.value.exit_code == 1 and "\n" not in str(caught.value)
    assert Index.open(folder).verify() == []
    kept = contents(folder)
    assert len(kept) == after
    report, _ = run(folder)
    assert (report.indexed, report.unchanged) == (13 - after, after)
