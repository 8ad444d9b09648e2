"""Nothing is ever attached to the wrong path: whatever happens to a folder between two updates."""

import os
import shutil
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_fake import FakeEmbedder, contents, vector_of_file, write_image

from rvcnn.folder import update
from rvcnn.index import Index

NAMES = ["a.jpg", "b.jpg", "c.png", "x/a.jpg", "x/b.jpg", "x/y/a.jpg", "z/a.jpg"]
names = st.sampled_from(NAMES)
folders = st.sampled_from(["x", "z", "x/y", "w"])
contents_of_files = st.integers(0, 4)

CHANGES = st.one_of(
    st.tuples(st.just("write"), names, contents_of_files),
    st.tuples(st.just("break"), names, contents_of_files),
    st.tuples(st.just("rename"), names, names),
    st.tuples(st.just("swap"), names, names),
    st.tuples(st.just("copy"), names, names),
    st.tuples(st.just("delete"), names, st.none()),
    st.tuples(st.just("touch"), names, st.none()),
    st.tuples(st.just("move folder"), folders, folders),
    st.tuples(st.just("repack"), st.none(), st.none()),
)


class Folder:
    """A folder whose files never get the same modification time twice, as time itself sees to."""

    def __init__(self, path: Path):
        self.path = path
        self.clock = 1_000_000
        path.mkdir()

    def stamp(self, file: Path) -> None:
        self.clock += 1
        os.utime(file, ns=(self.clock, self.clock))

    def apply(self, change: str, first, second) -> None:
        a, b = self.path / (first or ""), self.path / str(second)
        if change == "write":
            write_image(a, second)
            self.stamp(a)
        elif change == "break" and a.is_file():
            a.write_bytes(b"broken" * second)
            self.stamp(a)
        elif change in ("rename", "copy", "swap") and a.is_file() and a != b:
            self.move(change, a, b)
        elif change == "delete" and a.is_file():
            a.unlink()
        elif change == "touch" and a.is_file():
            self.stamp(a)
        elif change == "move folder" and a.is_dir() and not b.exists():
            if not str(second).startswith(first + "/"):
                a.rename(b)
        elif change == "repack":
            with Index.open(self.path).writer() as writer:
                writer.remove(list(contents(self.path))[:2])

    def move(self, change: str, a: Path, b: Path) -> None:
        b.parent.mkdir(parents=True, exist_ok=True)
        if change == "copy":
            shutil.copyfile(a, b)
            self.stamp(b)
        elif change == "rename":
            os.replace(a, b)
        elif b.is_file():
            os.replace(a, self.path / "between")
            os.replace(b, a)
            os.replace(self.path / "between", b)


def is_image(file: Path) -> bool:
    return file.is_file() and not file.read_bytes().startswith(b"broken") and file.stat().st_size


def check(folder: Path) -> None:
    """The index holds exactly the images of the folder, each with its own vector."""
    indexed = contents(folder)
    there = {
        file.relative_to(folder).as_posix(): vector_of_file(file).tobytes()
        for file in folder.rglob("*.*g")
        if is_image(file) and ".rvcnn" not in file.parts
    }
    assert indexed == there
    index = Index.open(folder)
    assert index.verify() == []
    index.close()


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rounds=st.lists(st.lists(CHANGES, max_size=8), min_size=1, max_size=6))
def test_every_path_has_the_vector_of_its_own_file(tmp_path, rounds):
    shutil.rmtree(tmp_path / "photos", ignore_errors=True)
    folder = Folder(tmp_path / "photos")
    for name in NAMES[:4]:
        folder.apply("write", name, len(name))
    embedder = FakeEmbedder()
    for changes in [[], *rounds]:
        for change in changes:
            folder.apply(*change)
        report = update(folder.path, embedder, prune=True)
        check(folder.path)
        again = update(folder.path, embedder, prune=True)
        assert (again.indexed, again.reused, again.removed) == (0, 0, 0)
        assert again.unchanged == report.indexed + report.reused + report.unchanged
