"""Bad input at the command line: one clear line, the documented exit code, nothing lost."""

import ctypes
import errno
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli_checks import make_photos, picture, posix, run, run_ok
from safetensors import safe_open
from safetensors.numpy import save_file

import rvcnn

pytestmark = pytest.mark.usefixtures("compiled")


def one_line(result, code: int) -> str:
    """Return the single line on stderr of a command that failed with `code`."""
    assert (result.exit_code, result.stdout) == (code, ""), result.stderr
    assert result.stderr.startswith("rvcnn: ") and result.stderr.count("\n") == 1
    return result.stderr


def save_weights(path: Path, by: float) -> Path:
    """Write the embedded model with its last numbers changed."""
    embedded = Path(rvcnn.__file__).parent / "data" / "mobilenetv3_small_rvcnn.safetensors"
    with safe_open(embedded, "np") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}
        metadata = file.metadata()
    tensors["embed.bias"] = tensors["embed.bias"] + tensors["embed.bias"].dtype.type(by)
    save_file(tensors, path, metadata)
    return path


@pytest.fixture
def other_weights(tmp_path) -> Path:
    return save_weights(tmp_path / "other.safetensors", 0.5)


def test_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    result = run("embed", "empty")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "empty: no images\n")
    picture(1).save("a.png")
    found = run("search", "a.png", "--in", "empty")
    assert (found.exit_code, found.stdout, found.stderr) == (0, "", "")
    run_ok("export", "empty", "-o", "e.csv")
    assert run("verify", "empty").exit_code == 0


@pytest.mark.parametrize(
    "command",
    ["embed", "dedup", "export -o v.npz", "info", "verify --repair", "search q.png --in", "tag"],
)
def test_an_empty_path_is_not_the_current_folder(photos, monkeypatch, command):
    """As of a variable that a script forgot to set."""
    monkeypatch.chdir(photos)
    before = sorted(Path(".rvcnn").iterdir())
    assert "the path is empty" in one_line(run(*command.split(), ""), 2)
    assert sorted(Path(".rvcnn").iterdir()) == before


@pytest.mark.parametrize(
    "command",
    [
        "compare photos/a.png photos/other2.png --min-similarity nan",
        "search photos/a.png --in photos --min-similarity nan",
        "dedup photos --fpr nan",
        "embed photos --wait nan",
        "embed photos --max-image-megapixels nan",
        "embed photos --max-image-megapixels inf",
    ],
)
def test_what_is_no_number_is_in_no_range(photos, command):
    line = one_line(run(*command.split()), 2)
    assert "nan is not in the range" in line or "must be above 0, not inf" in line


def test_a_file_from_a_far_future_or_past(photos):
    """File systems hold times that 64 bits of nanoseconds do not."""
    picture(9).save(photos / "new.png")
    shutil.copy(photos / "new.png", photos / "same.png")
    for name, seconds in (("new.png", 15_000_000_000), ("a.png", 12_000_000_000)):
        os.utime(photos / name, (seconds, seconds))
        if os.stat(photos / name).st_mtime_ns < 2**63:
            pytest.skip("this file system holds no such time")
    assert run("embed", "photos").stderr.endswith(", 5 unchanged\n")
    assert run("embed", "photos").stderr == "photos: 8 unchanged\n"
    assert run("search", "photos/new.png", "--in", "photos", "--seen").exit_code == 0
    late = run_ok("search", "photos/a.png", "--in", "photos", "--newer", "2200-01-01", "-f")
    assert sorted(late.splitlines()) == ["photos/a.png", "photos/new.png"]
    delete = run_ok("dedup", "photos", "--delete", "hardlink", "--apply", "--yes")
    assert delete.count("hardlink\t") == 1
    assert run("embed", "photos").stderr == "photos: 8 unchanged\n"


@posix
def test_a_folder_that_contains_itself(photos):
    (photos / "sub" / "loop").symlink_to("..")
    (photos / "nowhere").symlink_to("missing")
    assert run("embed", "photos").stderr == "photos: 6 unchanged\n"


def without_override() -> None:
    """Let root be refused what other users are: drop the capabilities that override permissions."""
    prctl = ctypes.CDLL(None).prctl
    drop_from_bounding_set, dac_override, dac_read_search = 24, 1, 2
    for capability in (dac_override, dac_read_search):
        if prctl(drop_from_bounding_set, capability, 0, 0, 0):
            os._exit(77)


def run_unprivileged(*args: str) -> subprocess.CompletedProcess:
    """Run a command as a user whom permissions bind."""
    prepare = None
    if os.geteuid() == 0:
        if not sys.platform.startswith("linux"):
            pytest.skip("root sees everything")
        prepare = without_override
    command = [sys.executable, "-m", "rvcnn", *args]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=prepare)
    if done.returncode == 77:
        pytest.skip("root cannot drop its privileges here")
    return done


@posix
def test_what_may_not_be_read(photos):
    (photos / "a.png").touch()  # its time is new, so it is opened again
    (photos / "a.png").chmod(0)
    (photos / "sub").chmod(0)
    try:
        result = run_unprivileged("embed", "photos")
    finally:
        (photos / "sub").chmod(0o700)
        (photos / "a.png").chmod(0o600)
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.splitlines()[:2] == [
        "skipping photos/sub: Permission denied",
        "skipping photos/a.png: Permission denied",
    ]
    assert "sub/c.webp" in rvcnn.Index.open("photos").ids


@posix
def test_a_folder_that_may_not_be_entered(photos):
    photos.chmod(0)
    try:
        result = run_unprivileged("embed", "photos")
    finally:
        photos.chmod(0o700)
    assert result.returncode == 1
    assert result.stderr == "rvcnn: cannot list photos: Permission denied\n"
    assert len(rvcnn.Index.open("photos")) == 6


@posix
def test_a_read_only_folder_has_its_index_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    make_photos(Path("photos"))
    Path("photos").chmod(0o500)
    try:
        assert run_unprivileged("embed", "photos").stderr == "photos: 6 embedded\n"
        found = run_unprivileged("search", "photos/a.png", "--in", "photos", "-k", "1")
        assert found.stdout == "1.000\tphotos/a.png\n"
    finally:
        Path("photos").chmod(0o700)
    assert not Path("photos/.rvcnn").exists()
    assert len(list((tmp_path / "data").rglob("items.sqlite"))) == 1


def test_a_second_writer_waits_and_gives_up(photos):
    picture(9).save(photos / "new.png")
    with rvcnn.Index.open("photos").writer():
        line = one_line(run("embed", "photos", "--wait", "0.1"), 1)
        assert len(run_ok("search", "photos/a.png", "--in", "photos").splitlines()) == 6
    assert str(photos.resolve()) in line
    assert run("embed", "photos").stderr == "photos: 1 embedded, 6 unchanged\n"


def test_an_index_of_a_newer_version(photos):
    manifest = photos / ".rvcnn" / "manifest.json"
    newer = json.dumps(json.loads(manifest.read_text()) | {"format_version": 99})
    manifest.write_text(newer)
    with closing(sqlite3.connect(photos / ".rvcnn" / "items.sqlite")) as database, database:
        database.execute("UPDATE state SET manifest = ?", (newer,))
    for command in (
        ["embed", "photos"],
        ["search", "photos/a.png", "--in", "photos"],
        ["info", "photos"],
        ["verify", "photos"],
        ["export", "photos", "-o", "v.npz"],
    ):
        line = one_line(run(*command), 4)
        assert "99" in line and "rvcnn embed --rebuild" in line
    assert run("embed", "--rebuild", "photos").exit_code == 0
    assert len(rvcnn.Index.open("photos")) == 6


@pytest.mark.parametrize(
    "command",
    [
        "embed photos",
        "search photos/a.png --in photos",
        "search photos/a.png --in photos --seen",
        "dedup photos",
    ],
)
def test_another_model_is_refused_before_it_is_compiled(photos, monkeypatch, command):
    def compiles(*_, **__):
        raise AssertionError("compiled")

    monkeypatch.setattr("rvcnn.warmup.is_compiled", compiles)
    picture(1).save("photos/a.png", compress_level=0)  # other bytes, which --seen looks for first
    more = ["--invariant"] if command.startswith("dedup") else []
    result = run(*command.split(), *more, "--precision", "int8")
    assert "(precision fp32" in one_line(result, 2 if "--seen" in command else 4)


def test_an_index_of_another_model(photos, other_weights):
    for command in (["embed", "photos"], ["search", "photos/a.png", "--in", "photos"]):
        line = one_line(run(*command, "--weights", other_weights), 4)
        assert "mobilenetv3_small" in line
        again = f"rvcnn embed --rebuild {photos.resolve()} --weights {other_weights}`"
        assert again in line
    other = "--precision", "int8", "--quiet"
    line = one_line(run("search", "photos/a.png", "--in", "photos", *other), 4)
    assert "(precision fp32" in line and "precision int8)" in line
    assert line.endswith(f"rvcnn embed --rebuild {photos.resolve()} --precision int8`\n")
    run_ok("embed", "photos", "--weights", other_weights, "--rebuild")
    found = run_ok("search", "photos/a.png", "--in", "photos", "--weights", other_weights, "-k1")
    assert found == "1.000\tphotos/a.png\n"


def test_an_index_remembers_its_weights(photos, other_weights):
    shutil.copy(other_weights, "own.safetensors")
    run_ok("embed", "photos", "--weights", "own.safetensors", "--rebuild")
    found = run_ok("search", "photos/a.png", "--in", "photos", "-k1")
    assert found == "1.000\tphotos/a.png\n"
    assert run("embed", "photos").stderr == "photos: 6 unchanged\n"
    own = Path("own.safetensors").resolve()
    save_weights(own, 0.25)
    for command in (["search", "photos/a.png", "--in", "photos"], ["embed", "photos"]):
        assert f"; {own} has changed since: " in one_line(run(*command), 4)
    own.unlink()
    for command in (["search", "photos/a.png", "--in", "photos"], ["embed", "photos"]):
        assert f"; {own} is gone: " in one_line(run(*command), 4)
    other, summary = run("embed", "photos", "--rebuild").stderr.splitlines()
    assert other == f"{own}, which made the index, is gone: rvcnn's own model takes its place"
    assert summary == "photos: 6 embedded"


@posix
def test_a_command_that_is_named_can_be_pasted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("my photos"))
    line = one_line(run("search", "my photos/a.png", "--in", "my photos"), 4)
    command = line.split("`")[1]
    assert shlex.split(command) == ["rvcnn", "embed", "my photos"]


def test_repair_asks_for_the_model_only_when_a_vector_is_lost(photos, other_weights):
    shutil.copy(other_weights, "own.safetensors")
    run_ok("embed", "photos", "--weights", "own.safetensors", "--rebuild")
    Path("own.safetensors").unlink()
    (photos / ".rvcnn" / "manifest.json").unlink()
    result = run("verify", "photos", "--repair", "--quiet")
    assert (result.exit_code, result.stderr) == (0, "")
    (vectors,) = (photos / ".rvcnn").glob("vectors*.f32")
    vectors.write_bytes(bytes(vectors.stat().st_size))
    assert run("verify", "photos", "--repair").exit_code == 4
    assert run("verify", "photos", "--repair", "--weights", other_weights).exit_code == 0
    assert len(rvcnn.Index.open("photos")) == 6


def test_a_damaged_index(photos):
    (photos / ".rvcnn" / "items.sqlite").write_bytes(b"no database")
    for command in (["info", "photos"], ["export", "photos", "-o", "v.npz"], ["embed", "photos"]):
        assert "--re" in one_line(run(*command), 1)
    result = run("verify", "photos")
    assert result.exit_code == 1 and result.stdout
    assert run("verify", "photos", "--repair").exit_code == 0
    assert run("embed", "photos").exit_code == 0
    assert len(rvcnn.Index.open("photos")) == 6


def test_gone_files_and_an_unmounted_disk(photos):
    for name in ("a.png", "b.jpg", "other2.png", "other3.png"):
        (photos / name).unlink()
    line = one_line(run("embed", "photos"), 1)
    assert "--prune" in line
    assert len(rvcnn.Index.open("photos")) == 6
    assert run("embed", "photos", "--prune").stderr == "photos: 2 unchanged, 4 removed\n"


@pytest.mark.parametrize(
    "command", ["export photos -o v.npz", "weights import other.safetensors -o v.safetensors"]
)
def test_a_full_disk_under_a_new_file(photos, other_weights, monkeypatch, command):
    *_, name = command.split()
    Path(name).write_text("old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("rvcnn.export.os.fsync", full)
    line = one_line(run(*command.split()), 1)
    assert line.startswith("rvcnn: no space left on the disk: ") and line.endswith(f"{name}\n")
    assert Path(line.removeprefix("rvcnn: no space left on the disk: ").strip()).name == name
    assert Path(name).read_text() == "old"
    assert [p.name for p in Path().iterdir() if p.name.startswith(".")] == []


@pytest.fixture
def small_disk(tmp_path) -> Path:
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_under_the_index(small_disk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    for seed in range(5, 120):
        picture(seed).save(f"photos/more{seed}.png")
    shutil.copytree("photos", "disk/photos", copy_function=os.symlink)
    for link in Path("disk/photos").rglob("*.*"):
        target = tmp_path / "photos" / link.relative_to("disk/photos")
        if link.is_symlink():
            link.unlink()
            link.symlink_to(target)
    result = run("embed", "disk/photos")
    assert "space" in one_line(result, 1) or "full" in result.stderr
    subprocess.run(["mount", "-o", "remount,size=8m", "disk"], check=True)
    assert run("verify", "disk/photos").exit_code == 0
    assert run("embed", "disk/photos").exit_code == 0
    assert len(rvcnn.Index.open("disk/photos")) == 121
