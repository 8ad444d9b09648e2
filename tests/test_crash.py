"""Killed at any moment: the index opens, nothing in it is wrong, and the next run completes it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from index_fake import (
    FakeEmbedder,
    all_names,
    as_held,
    contents,
    vector_of_file,
    vectors_files,
    write_image,
)

from rvcnn.folder import update
from rvcnn.index import Index, verify
from rvcnn.index.formats import FORMATS

CHILD = Path(__file__).with_name("crash_child.py")
IMAGES = 150
SECONDS = 0.006  # an image, so that a run takes about half a second


@pytest.fixture(params=FORMATS)
def dtype(request):
    return request.param


def prepare(folder: Path, dtype: str) -> None:
    """Make a folder with an index of an earlier state: there is all kinds of work to do."""
    for i in range(IMAGES // 3):
        write_image(folder / "old" / f"{i}.jpg", i, mtime=1000 + i)
    update(folder, FakeEmbedder(), vectors=dtype)
    os.rename(folder / "old", folder / "moved")
    for i in range(0, IMAGES // 3, 5):
        (folder / "moved" / f"{i}.jpg").unlink()
        write_image(folder / "moved" / f"{i + 1}.jpg", f"changed {i}", mtime=5000 + i)
    for i in range(IMAGES):
        write_image(folder / "new" / f"{i}.jpg", f"new {i}", mtime=9000 + i)
    (folder / "new" / "broken.jpg").write_bytes(b"broken")


def start(folder: Path, dtype: str) -> subprocess.Popen:
    child = subprocess.Popen(
        [sys.executable, CHILD, folder, str(SECONDS), dtype],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
    )
    assert child.stdout.readline() == b"started\n"
    return child


def held_of_file(path: Path, dtype: str) -> bytes:
    """Return the bytes that the index must give back for a file."""
    return as_held(vector_of_file(path), dtype).tobytes()


def end(child: subprocess.Popen) -> bool:
    """Kill a child; whether it had ended by itself."""
    child.kill()
    ended = child.stdout.read().endswith(b"ended\n")
    child.stdout.close()
    child.wait()
    return ended


def check_after_a_kill(folder: Path, before: dict[str, bytes], whole: dict[str, bytes]) -> None:
    """The index opens, is sound, and holds nothing but vectors of before and of the whole run."""
    assert verify(folder) == []
    for identity, vector in contents(folder).items():
        assert vector in (before.get(identity), whole.get(identity)), identity


def check_completed(folder: Path, whole: dict[str, bytes]) -> None:
    update(folder, FakeEmbedder())
    assert verify(folder) == []
    assert contents(folder) == whole
    files = {path.name for path in (folder / ".rvcnn").iterdir()}
    dtype = Index.open(folder).dtype
    assert len(files) == 4 + len(FORMATS[dtype].planes(1)) and "items.sha256" in files, files


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_moments_spread_over_a_whole_run(tmp_path, kills, dtype):
    prepare(tmp_path / "prepared", dtype)
    before = contents(tmp_path / "prepared")
    undisturbed = shutil.copytree(tmp_path / "prepared", tmp_path / "undisturbed")
    child = start(undisturbed, dtype)
    dots = child.stdout.readline().count(b".")
    end(child)
    whole = contents(undisturbed)
    assert {i: held_of_file(undisturbed / i, dtype) for i in whole} == whole
    assert len(whole) == IMAGES + IMAGES // 3 - len(range(0, IMAGES // 3, 5))

    early, sizes, rng = 0, set(), np.random.default_rng(kills)
    for share in np.linspace(0, 1, kills):
        folder = shutil.copytree(tmp_path / "prepared", tmp_path / "killed")
        child = start(folder, dtype)
        child.stdout.read(round(dots * share))
        time.sleep(rng.uniform(0, 0.02))
        early += not end(child)
        check_after_a_kill(folder, before, whole)
        sizes.add(len(contents(folder)))
        check_completed(folder, whole)
        shutil.rmtree(folder)
    assert early >= 0.6 * kills
    assert len(sizes) > kills // 4, "the kills did not meet different states"


def test_killed_again_and_again_a_run_still_completes(tmp_path, dtype):
    folder = tmp_path / "photos"
    prepare(folder, dtype)
    for _ in range(12):
        child = start(folder, dtype)
        time.sleep(0.25)
        if end(child):
            break
        assert verify(folder) == []
    for identity, vector in contents(folder).items():
        assert not (folder / identity).exists() or (
            vector == held_of_file(folder / identity, dtype)
        )
    update(folder, FakeEmbedder())
    assert verify(folder) == []
    assert len(contents(folder)) == IMAGES + IMAGES // 3 - len(range(0, IMAGES // 3, 5))


# --- killed between two steps of the writer --------------------------------------------------

STEPS = {
    "the vectors are written": ("rvcnn.index.vectors", "VectorsFile.append", "after"),
    "the vectors are flushed": ("rvcnn.index.vectors", "VectorsFile.sync", "after"),
    "the commit is made": ("rvcnn.index.store", "Store.commit", "after"),
    "a compaction has copied the rows": ("rvcnn.index.compact", "_move_rows", "after"),
    "a compaction has committed": ("rvcnn.index.store", "compact", "after"),
    "the seal is put": ("rvcnn.index.seal", "put", "before"),
    "a reset has committed": ("rvcnn.index.store", "Store.reset", "after"),
    "the new manifest is written": ("rvcnn.index.manifest", "write", "before"),
    "the database is put in place": ("rvcnn.index.database", "put_in_place", "before"),
}

STEP_CODE = """
import importlib, os, signal, sys
sys.path.insert(0, sys.argv[1])
from index_fake import FakeEmbedder
from rvcnn.folder import update
module, name, when, rebuild, dtype = sys.argv[3:8]
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
real = getattr(owner, name)
def die(*args, **options):
    if when == "after":
        real(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, name, die)
update(sys.argv[2], FakeEmbedder("other" if rebuild else "fake"), rebuild=bool(rebuild), prune=True,
       vectors=dtype)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
@pytest.mark.parametrize("step", STEPS)
def test_killed_when(tmp_path, step, dtype):
    folder = tmp_path / "photos"
    module, name, when = STEPS[step]
    rebuild = "reset" in step or "manifest" in step
    for i in range(30):
        write_image(folder / f"{i}.jpg", i)
    if step != "the database is put in place":
        update(folder, FakeEmbedder(), vectors=dtype)
        for i in range(20):
            (folder / f"{i}.jpg").unlink()
        write_image(folder / "new.jpg", "new")
    command = [sys.executable, "-c", STEP_CODE, CHILD.parent, folder]
    child = subprocess.run(
        [*command, module, name, when, "yes" if rebuild else "", dtype],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == -9, child.stderr
    if step != "the database is put in place":
        problems = verify(folder)
        # Between the two, the manifest's file is the old one; the database is what counts.
        assert problems == (["manifest.json is not as it was written"] if rebuild and
                            step == "the new manifest is written" else [])  # fmt: skip
        Index.open(folder).close()
    update(folder, FakeEmbedder("other" if rebuild else "fake"), prune=True, vectors=dtype)
    assert verify(folder) == []
    images = {path.name for path in folder.iterdir() if path.is_file()}
    assert contents(folder) == {i: held_of_file(folder / i, dtype) for i in images}
    assert vectors_files(folder / ".rvcnn") in [all_names(dtype, n) for n in range(3)]
    assert {path.name for path in (folder / ".rvcnn").iterdir()} <= {
        "items.sha256", "items.sqlite", "manifest.json", "writer.lock",
        *vectors_files(folder / ".rvcnn"),
    }  # fmt: skip
