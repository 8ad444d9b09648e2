"""Nothing is touched that is not, right then, exactly what it was planned for."""

import errno
import json
import os
import re
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from cli_checks import picture, run, run_ok
from click.testing import CliRunner
from index_fake import FakeEmbedder, write_image

from rvcnn.cli import app
from rvcnn.dedup import check as checking
from rvcnn.dedup.apply import apply
from rvcnn.dedup.folders import duplicates_below
from rvcnn.dedup.plan import make_plan
from rvcnn.dedup.trash import to_freedesktop_trash
from rvcnn.errors import IndexLockedError, IndexMismatchError, UsageError
from rvcnn.folder import update
from rvcnn.index import Index
from rvcnn.index.verify import verify
from rvcnn.kernels import near_pairs
from rvcnn.place import open_place

posix = pytest.mark.skipif(os.name == "nt", reason="symbolic links, case of names")

freedesktop = pytest.mark.skipif(
    sys.platform in ("darwin", "win32"), reason="the trash of Linux and the BSDs"
)


@pytest.fixture
def folder(tmp_path) -> Path:
    """a, b and sub/c of the same bytes, a the oldest; d of others; all indexed."""
    root = tmp_path / "photos"
    for second, name in enumerate(("a", "b", "sub/c")):
        write_image(root / f"{name}.ppm", 1, mtime=10**18 + second * 10**9)
    write_image(root / "d.ppm", 2)
    update(root, FakeEmbedder())
    return root


def planned(folder, how, *references):
    """Plan for a folder; all pictures are as large."""
    places = [open_place(folder)], [open_place(r) for r in references]
    return make_plan(duplicates_below(*places, threshold=0.99), how, [folder])


def names(entries, root):
    return [entry.picture.path.relative_to(root).as_posix() for entry in entries]


class Bin:
    """A trash that is a folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()

    def __call__(self, path):
        path.rename(self.folder / path.name)


def test_a_plan_touches_nothing(folder):
    before = {path: path.stat() for path in folder.rglob("*.ppm")}
    plan = planned(folder, "trash")
    assert names(plan.actions, folder) == ["b.ppm", "sub/c.ppm"]
    assert {action.keeper.path.name for action in plan.actions} == {"a.ppm"}
    assert {path: path.stat() for path in folder.rglob("*.ppm")} == before


def test_trash_moves_the_duplicates_and_the_index_follows(folder, tmp_path):
    done = []
    applied = apply(planned(folder, "trash"), trash=Bin(tmp_path / "bin"), progress=done.append)
    assert names(applied.done, folder) == names(done, folder) == ["b.ppm", "sub/c.ppm"]
    assert not applied.refused
    assert sorted(os.listdir(tmp_path / "bin")) == ["b.ppm", "c.ppm"]
    assert Index.open(folder).ids == ["a.ppm", "d.ppm"]
    assert verify(folder) == []
    assert update(folder, FakeEmbedder()).unchanged == 2


def test_hard_links_leave_every_name_and_one_file(folder):
    content = (folder / "a.ppm").read_bytes()
    Index.open(folder).add([[1.0] + [0.0] * 7], ids=["x"], metadata=[{"k": 1}])
    applied = apply(planned(folder, "hardlink"))
    assert names(applied.done, folder) == ["b.ppm", "sub/c.ppm"]
    files = [folder / name for name in ("a.ppm", "b.ppm", "sub/c.ppm")]
    assert len({file.stat().st_ino for file in files}) == 1
    assert all(file.read_bytes() == content for file in files)
    assert [p.name for p in folder.rglob("*part*")] == []
    embedder = FakeEmbedder()
    assert update(folder, embedder).unchanged == 4
    assert embedder.calls == 0
    again = planned(folder, "hardlink")
    assert not again.actions
    assert all("is the same file as" in refusal.reason for refusal in again.refused)


def edit_content(path):
    """Other bytes of the same size at the same time."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = {
    "other bytes": edit_content,
    "touched": lambda path: os.utime(path, ns=(1, 1)),
    "longer": lambda path: path.open("ab").write(b"x"),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("how", ["trash", "hardlink"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("which", ["b.ppm", "a.ppm"])
def test_a_file_or_keeper_that_changed_is_left(folder, tmp_path, how, change, which):
    plan = planned(folder, how)
    CHANGES[change](folder / which)
    before = sorted(path.name for path in folder.rglob("*.ppm"))
    applied = apply(plan, trash=Bin(tmp_path / "bin"))
    touched = ["sub/c.ppm"] if which == "b.ppm" else []
    assert names(applied.done, folder) == touched
    refused = names(applied.refused, folder)
    assert refused == (["b.ppm"] if which == "b.ppm" else ["b.ppm", "sub/c.ppm"])
    assert all(str(folder / which) in refusal.reason for refusal in applied.refused)
    after = sorted(path.name for path in folder.rglob("*.ppm"))
    assert after == [n for n in before if how == "hardlink" or f"sub/{n}" not in touched]


def test_a_file_that_changes_while_it_is_linked_is_left(folder, monkeypatch):
    plan = planned(folder, "hardlink")
    real = os.link

    def link(source, target):
        real(source, target)
        (folder / "b.ppm").write_bytes(b"precious")

    monkeypatch.setattr(os, "link", link)
    applied = apply(plan._replace(actions=plan.actions[:1]))
    assert not applied.done
    assert (folder / "b.ppm").read_bytes() == b"precious"
    assert [p.name for p in folder.iterdir() if "part" in p.name] == []


def test_a_trash_that_fails_leaves_file_and_index(folder):
    def full(path):
        raise OSError(28, "No space left on device")

    applied = apply(planned(folder, "trash"), trash=full)
    assert [refusal.reason for refusal in applied.refused] == ["No space left on device"] * 2
    assert len(Index.open(folder)) == 4


def test_an_interrupt_keeps_the_index_true(folder, tmp_path):
    trash = Bin(tmp_path / "bin")

    def stop(action):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(planned(folder, "trash"), trash=trash, progress=stop)
    assert os.listdir(tmp_path / "bin") == ["b.ppm"]
    assert Index.open(folder).ids == ["a.ppm", "d.ppm", "sub/c.ppm"]


def test_while_another_writes_nothing_is_touched(folder, tmp_path):
    plan = planned(folder, "trash")
    with Index.open(folder).writer(), pytest.raises(IndexLockedError):
        apply(plan, wait=0.1, trash=Bin(tmp_path / "bin"))
    assert os.listdir(tmp_path / "bin") == []


def test_a_reference_is_never_touched(folder, tmp_path):
    reference = tmp_path / "reference"
    write_image(reference / "r.ppm", 1)
    write_image(reference / "r2.ppm", 1)
    update(reference, FakeEmbedder())
    plan = planned(folder, "trash", reference)
    assert names(plan.actions, folder) == ["a.ppm", "b.ppm", "sub/c.ppm"]
    assert {action.keeper.path.parent for action in plan.actions} == {reference}
    apply(plan, trash=Bin(tmp_path / "bin"))
    assert sorted(os.listdir(reference)) == [".rvcnn", "r.ppm", "r2.ppm"]
    assert Index.open(folder).ids == ["d.ppm"]


def test_a_reference_inside_the_folder_is_a_reference(folder):
    plan = planned(folder, "trash", folder / "sub")
    assert names(plan.actions, folder) == ["a.ppm", "b.ppm"]
    assert planned(folder / "sub", "trash", folder).actions == []
    assert planned(folder, "trash", folder).actions == []


@posix
def test_links_are_not_followed_out_of_the_folder(folder, tmp_path):
    write_image(tmp_path / "elsewhere" / "e.ppm", 1)
    write_image(tmp_path / "file.ppm", 1)
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "link.ppm").symlink_to(tmp_path / "file.ppm")
    update(folder, FakeEmbedder())
    plan = planned(folder, "trash")
    assert names(plan.actions, folder) == ["b.ppm", "sub/c.ppm"]
    reasons = {p.path.name: reason for p, reason in plan.refused}
    assert reasons["e.ppm"] == "a link leads to it, out of the folder"
    assert reasons["link.ppm"] == "it is a symbolic link"


@posix
def test_a_link_into_the_reference_leads_to_a_reference(folder, tmp_path):
    reference = tmp_path / "reference"
    write_image(reference / "r.ppm", 1)
    update(reference, FakeEmbedder())
    (folder / "linked").symlink_to(reference)
    update(folder, FakeEmbedder())
    plan = planned(folder, "trash", reference)
    assert names(plan.actions, folder) == ["a.ppm", "b.ppm", "sub/c.ppm"]


@posix
def test_a_keeper_that_becomes_a_link_to_its_duplicate_is_no_keeper(folder, tmp_path):
    plan = planned(folder, "trash")
    keeper, own = folder / "a.ppm", folder / "b.ppm"
    os.utime(own, ns=(keeper.stat().st_mtime_ns,) * 2)
    update(folder, FakeEmbedder())
    plan = planned(folder, "trash")
    keeper.unlink()
    keeper.symlink_to(own)
    applied = apply(plan, trash=Bin(tmp_path / "bin"))
    assert "is the same file as" in applied.refused[0].reason
    assert own.exists()


def test_another_disk_is_said_and_not_crossed(folder, monkeypatch):
    """A file's device is what stat says: here, another one for what is in sub."""

    class Elsewhere:
        def __init__(self, status):
            self._status = status
            self.st_dev = status.st_dev + 1

        def __getattr__(self, name):
            return getattr(self._status, name)

    real = os.stat

    def stat(path, *args, **kwargs):
        status = real(path, *args, **kwargs)
        return Elsewhere(status) if str(path).endswith("c.ppm") else status

    late = planned(folder, "hardlink")
    monkeypatch.setattr(checking.os, "stat", stat)
    early = planned(folder, "hardlink")
    assert names(early.refused, folder) == ["sub/c.ppm"]
    assert "on another disk" in early.refused[0].reason
    applied = apply(late)
    assert names(applied.refused, folder) == ["sub/c.ppm"]
    assert "on another disk" in applied.refused[0].reason


def test_without_send2trash_nothing_is_touched(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "send2trash", None)
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="Send2Trash: pip install"):
        apply(planned(folder, "trash"))
    assert len(list(folder.rglob("*.ppm"))) == 4


@freedesktop
def test_the_systems_trash(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert len(apply(planned(folder, "trash")).done) == 2
    trash = tmp_path / "data" / "Trash"
    assert sorted(os.listdir(trash / "files")) == ["b.ppm", "c.ppm"]
    assert trash.stat().st_mode & 0o777 == (trash / "files").stat().st_mode & 0o777 == 0o700
    title, path, date = (trash / "info" / "c.ppm.trashinfo").read_text().splitlines()
    assert (title, path) == ("[Trash Info]", f"Path={folder.resolve() / 'sub' / 'c.ppm'}")
    assert re.fullmatch(r"DeletionDate=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", date)


@freedesktop
def test_names_in_the_trash_are_never_taken_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    names = [b"a b.jpg", b"n\xe9w\nline.jpg", b"a b.jpg", b"a b.jpg"]
    for number, name in enumerate(names):
        file = tmp_path / os.fsdecode(name)
        file.write_text(str(number))
        to_freedesktop_trash(file)
        assert not file.exists()
    files = tmp_path / "data" / "Trash" / "files"
    assert [(files / n).read_text() for n in ("a b.jpg", "a b.2.jpg", "a b.3.jpg")] == list("023")
    for note in (tmp_path / "data" / "Trash" / "info").iterdir():
        (line,) = (t for t in note.read_text().splitlines() if t.startswith("Path="))
        assert unquote_to_bytes(line[5:]) in [os.fsencode(tmp_path) + b"/" + n for n in names]


@freedesktop
@pytest.mark.parametrize("shared", [None, 0o1777, 0o777])
def test_a_file_goes_to_the_trash_of_its_own_disk(tmp_path, monkeypatch, shared):
    """The user's trash is on another disk, as os.stat has it: the file's is at its disk's top."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    disk = tmp_path / "disk"
    file = disk / "sub" / "a.jpg"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    if shared is not None:
        (disk / ".Trash").mkdir()
        (disk / ".Trash").chmod(shared)
    real_stat, real_lstat = os.stat, os.lstat

    class Elsewhere:
        def __init__(self, status):
            self._status, self.st_dev = status, status.st_dev + 1

        def __getattr__(self, name):
            return getattr(self._status, name)

    def moved(real):
        def stat(path, *args, **kwargs):
            status = real(path, *args, **kwargs)
            return Elsewhere(status) if str(path).startswith(str(disk)) else status

        return stat

    monkeypatch.setattr(os, "stat", moved(real_stat))
    monkeypatch.setattr(os, "lstat", moved(real_lstat))
    to_freedesktop_trash(file)
    own = f".Trash/{os.getuid()}" if shared == 0o1777 else f".Trash-{os.getuid()}"
    assert (disk / own / "files" / "a.jpg").read_text() == "x"
    note = (disk / own / "info" / "a.jpg.trashinfo").read_text()
    assert "\nPath=sub/a.jpg\n" in note
    assert not (tmp_path / "data").exists()


@freedesktop
def test_a_trash_on_another_disk_after_all_is_not_crossed_to(tmp_path, monkeypatch):
    """As between two mounts of one disk: renaming fails, and nothing is copied."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = tmp_path / "a.jpg"
    file.write_text("x")

    def rename(source, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(OSError, match="cross-device"):
        to_freedesktop_trash(file)
    assert file.read_text() == "x"
    assert os.listdir(tmp_path / "data" / "Trash" / "info") == []


def test_indexes_of_other_models_and_metrics_are_not_compared(folder, tmp_path):
    write_image(tmp_path / "other" / "o.ppm", 1)
    update(tmp_path / "other", FakeEmbedder("other"))
    with pytest.raises(IndexMismatchError, match="made by different models, fake and other"):
        duplicates_below([open_place(folder), open_place(tmp_path / "other")], threshold=0.9)
    Index.create(tmp_path / "far", 8, metric="euclidean")
    with pytest.raises(IndexMismatchError, match="euclidean"):
        duplicates_below([open_place(tmp_path / "far")], threshold=0.9)


# --- the command --------------------------------------------------------------------------------


def answer(text, *args):
    return CliRunner().invoke(app, [os.fspath(a) for a in args], input=text)


@pytest.fixture
def equal(photos) -> Path:
    """The photos with a copy of one, which is larger than those that are like it."""
    with open("photos/a.png", "ab") as file:
        file.write(bytes(10_000))
    shutil.copy2("photos/a.png", "photos/copy.png")
    run_ok("embed", "photos")
    return photos


def test_groups_as_text_and_json(equal):
    text = run_ok("dedup", "photos", "--min-similarity", "0.8")
    first, *rest = text.splitlines()
    assert first == "keep\tphotos/a.png"
    assert rest[0] == "same\tphotos/copy.png"
    assert {line.split("\t")[1] for line in rest[1:]} == {"photos/b.jpg", "photos/sub/c.webp"}
    assert all(0.8 <= float(line.split("\t")[0]) < 1 for line in rest[1:])
    (line,) = run_ok("dedup", "photos", "--min-similarity", "0.8", "--json").splitlines()
    group = json.loads(line)
    assert group["keep"]["path"] == "photos/a.png"
    assert [d["same"] for d in group["duplicates"]] == [True, False, False]
    assert group["duplicates"][0]["score"] == 1.0
    assert (group["keep"]["width"], group["keep"]["height"]) == (96, 80)


def test_nothing_is_deleted_without_having_been_asked_for_twice(equal):
    before = sorted(os.listdir("photos"))
    deletion = ("dedup", "photos", "--delete", "hardlink")
    assert run_ok(*deletion) == "hardlink\tphotos/copy.png\tphotos/a.png\n"
    for no in ("n\n", "\n", ""):
        result = answer(no, *deletion, "--apply")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "hardlink photos/copy.png, keep photos/a.png" in result.stderr
        assert "nothing was touched" in result.stderr and "1 file of " in result.stderr
    assert sorted(os.listdir("photos")) == before
    assert not os.path.samefile("photos/a.png", "photos/copy.png")
    result = answer("y\n", *deletion, "--apply")
    assert (result.exit_code, result.stdout) == (0, "hardlink\tphotos/copy.png\tphotos/a.png\n")
    assert os.path.samefile("photos/a.png", "photos/copy.png")
    assert "7 unchanged" in run("embed", "photos").stderr
    for again in (deletion, (*deletion, "--apply", "--yes")):
        summary, left, last = run(*again).stderr.splitlines()
        assert summary.startswith("1 group, 1 duplicate of ")
        assert left.endswith(": it is the same file as the one that is kept, by another name")
        assert last == "there is nothing to do"


def test_equal_files_that_are_not_the_best_of_their_group_become_links(photos):
    shutil.copy2("photos/b.jpg", "photos/b2.jpg")
    run_ok("embed", "photos")
    assert "keep\tphotos/b" not in run_ok("dedup", "photos")
    text = run_ok("dedup", "photos", "--delete", "hardlink")
    assert text == "hardlink\tphotos/b2.jpg\tphotos/b.jpg\n"


def test_yes_answers_the_question(equal):
    line = run_ok("dedup", "photos", "--delete", "hardlink", "--apply", "--yes", "--json")
    assert json.loads(line)["action"] == "hardlink"
    assert json.loads(line)["keep"] == {"path": "photos/a.png"}
    assert os.path.samefile("photos/a.png", "photos/copy.png")


def test_a_file_that_changed_since_it_was_indexed(equal):
    picture(9).save("photos/copy.png")
    deletion = ("dedup", "photos", "--delete", "hardlink", "--apply", "--yes")
    result = run(*deletion)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "copy.png changed since it was indexed" in result.stderr
    assert run(*deletion, "--strict").exit_code == 3


def test_what_cannot_be_meant(equal, tmp_path):
    assert run("dedup", "photos", "--apply").exit_code == 2
    assert run("dedup", "photos", "--delete", "trash", "--yes").exit_code == 2
    assert run("dedup", "nowhere").exit_code == 2
    for more in (["--invariant"], ["--fpr", "0.1"], ["--min-similarity", "0"]):
        assert run("dedup", "photos", "--delete", "hardlink", *more).exit_code == 2
    (tmp_path / "empty").mkdir()
    assert run("dedup", "empty").exit_code == 4
    run_ok("embed", "empty")
    assert run_ok("dedup", "empty") == ""


def test_folders_and_references(equal):
    picture(2).save("more.png")
    os.mkdir("inbox")
    os.replace("more.png", "inbox/more.png")
    shutil.copy2("photos/a.png", "inbox/a.png")
    run_ok("embed", "inbox")
    both = run_ok("dedup", "photos", "inbox").splitlines()
    assert "same\tphotos/a.png" in both or "same\tinbox/a.png" in both
    text = run_ok("dedup", "inbox", "--reference", "photos")
    assert "inbox/a.png" in text
    assert all(
        line.startswith("keep\tphotos/") or "\tinbox/" in line for line in text.split("\n") if line
    )


def test_a_kernel_that_is_not_compiled_yet_is_announced(equal, monkeypatch):
    kernel = near_pairs.kernel_for()
    monkeypatch.setattr(type(kernel), "is_cached", lambda self: self is not kernel)
    assert "compiling a kernel for this CPU (once" in run("dedup", "photos").stderr
    assert run("dedup", "photos", "--quiet").stderr == ""
    assert "compiling" not in run("dedup", "photos", "--delete", "hardlink").stderr
    assert "compiling a kernel" in run("warmup").stderr


def test_a_threshold_must_be_given_for_another_model(folder):
    with pytest.raises(UsageError, match="give --min-similarity X, or --fpr P"):
        duplicates_below([open_place(folder)])
    assert duplicates_below([open_place(folder)], threshold=0.9)
