import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from rvcnn.errors import RvcnnError
from rvcnn.index import Index, find_index, locate

root_only = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root to become another"
)


@pytest.fixture
def read_only(tmp_path, monkeypatch):
    """A folder that nothing can be made in, and a data folder of the user's."""
    folder = tmp_path / "disk" / "photos"
    folder.mkdir(parents=True)
    monkeypatch.setattr(locate, "user_data_folder", lambda: tmp_path / "data")
    real = Path.mkdir

    def mkdir(self, *args, **options):
        if self.is_relative_to(tmp_path / "disk"):
            raise OSError(30, "Read-only file system")
        real(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    return folder


def test_the_index_of_a_read_only_folder_goes_to_the_users_data(read_only, tmp_path):
    index = Index.create(read_only, 4)
    assert index.path == read_only
    assert index.location.is_relative_to(tmp_path / "data" / "rvcnn" / "indexes")
    index.add(np.ones((1, 4)), ["a.jpg"])
    assert os.listdir(read_only) == []
    assert Index.open(read_only).ids == ["a.jpg"]
    assert find_index(read_only) == read_only
    assert f'"root": "{read_only}"' in (index.location / "manifest.json").read_text()
    assert index.verify() == []


def test_folders_above_are_looked_up_there_too(read_only):
    Index.create(read_only, 4)
    (read_only.parent / "other").absolute()
    os.mkdir(read_only / "below")
    assert find_index(read_only / "below") == read_only
    assert find_index(read_only.parent) is None


def test_an_index_in_the_folder_comes_first(read_only, monkeypatch):
    aside = Index.create(read_only, 4)
    monkeypatch.undo()
    inside = read_only / ".rvcnn"
    inside.mkdir()
    (inside / "items.sqlite").write_bytes((aside.location / "items.sqlite").read_bytes())
    assert Index.open(read_only).location == inside


def test_an_index_folder_of_somebody_elses_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(locate, "user_data_folder", lambda: tmp_path / "data")
    (tmp_path / "photos" / ".rvcnn").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: tmp_path / "data" in Path(path).parents)
    index = Index.create(tmp_path / "photos", 4)
    assert index.location.is_relative_to(tmp_path / "data")
    assert list((tmp_path / "photos" / ".rvcnn").iterdir()) == []


def test_nowhere_to_write(read_only, monkeypatch):
    monkeypatch.setattr(locate, "user_data_folder", lambda: read_only / "data")
    with pytest.raises(RvcnnError, match="cannot be written to, nor can"):
        Index.create(read_only, 4)


def test_a_full_disk_is_not_taken_for_a_read_only_one(tmp_path, monkeypatch):
    def mkdir(self, *args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(RvcnnError, match="No space left"):
        Index.create(tmp_path, 4)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / ".rvcnn").write_bytes(b"")
    with pytest.raises(RvcnnError, match="cannot make"):
        Index.create(tmp_path, 4)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RvcnnError, match="cannot make"):
        Index.create(tmp_path / "file", 4)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/x/data"}, "/x/data"),
        ("linux", {}, "/home/u/.local/share"),
        ("darwin", {}, "/home/u/Library/Application Support"),
        ("darwin", {"XDG_DATA_HOME": "/x/data"}, "/x/data"),
        ("win32", {"LOCALAPPDATA": "/l/local"}, "/l/local"),
        ("win32", {}, "/home/u/AppData/Local"),
    ],
)
def test_the_users_data_folder(monkeypatch, platform, environment, expected):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: cls("/home/u")))
    assert locate.user_data_folder() == Path(expected)


def test_links_to_a_folder_lead_to_the_same_index(tmp_path):
    index = Index.create(tmp_path / "photos", 4)
    link = tmp_path / "link"
    try:
        link.symlink_to(tmp_path / "photos", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    assert find_index(link) == index.path
    assert Index.open(link).path == index.path


@root_only
def test_a_reader_who_may_not_write():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        index = Index.create(folder, 4)
        index.add(np.eye(4), list("abcd"))
        index.nearest([1, 0, 0, 0])  # what is imported later, only root may read
        index.close()
        assert not (index.location / "items.sqlite-wal").exists()
        os.seteuid(65534)
        try:
            other = Index.open(folder)
            assert other.ids == list("abcd")
            assert other.nearest([1, 0, 0, 0]).id == "a"
            assert other.verify() == []
            other.close()
            with pytest.raises(RvcnnError) as caught:
                index.writer()
        finally:
            os.seteuid(0)
        assert "\n" not in str(caught.value)
        assert sorted(p.name for p in index.location.iterdir()) == [
            "items.sha256", "items.sqlite", "manifest.json", "vectors.f32", "writer.lock",
        ]  # fmt: skip
