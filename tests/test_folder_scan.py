import os
import socket
import sys

import pytest
from index_fake import write_image

from rvcnn.folder.scan import scan

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
needs_bytes = pytest.mark.skipif(
    sys.platform in ("win32", "darwin"), reason="names there are Unicode"
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path


def make(folder, *paths):
    for path in paths:
        write_image(folder / path, path)


def paths(folder, **options):
    return [found.path for found in scan(folder, **options).files]


def test_images_below_the_folder_in_the_order_of_their_bytes(folder):
    make(folder, "b.jpg", "a/z.PNG", "a/b/c.jpeg", "a.webp", "Z.gif", "é.jpg", "a-b.jpg")
    for other in ("notes.txt", "a/readme", "a/b/jpg", "noext.", "a/film.mp4"):
        (folder / other).write_text("no image")
    assert paths(folder) == [
        "Z.gif", "a-b.jpg", "a.webp", "a/b/c.jpeg", "a/z.PNG", "b.jpg", "é.jpg",
    ]  # fmt: skip


def test_size_and_time_are_the_files(folder):
    write_image(folder / "a.jpg", 1, mtime=1_234_567_890_123_456_700)
    (found,) = scan(folder).files
    assert (found.path, found.size) == ("a.jpg", 23)
    assert found.mtime_ns == (folder / "a.jpg").stat().st_mtime_ns


def test_an_empty_folder(folder):
    listing = scan(folder)
    assert (listing.files, listing.unlisted, listing.problems) == ([], [], [])


def test_no_folder(folder):
    with pytest.raises(OSError):
        scan(folder / "nowhere")


def test_what_is_always_left_out(folder):
    make(
        folder, ".git/a.jpg", "node_modules/a.jpg", "x/@eaDir/a.jpg", ".rvcnn/a.jpg", "._a.jpg",
        "x/._b.jpg", "x/b.jpg", ".hidden.jpg", ".cache/a.jpg",
    )  # fmt: skip
    assert paths(folder) == ["x/b.jpg"]
    assert paths(folder, include_hidden=True) == [".cache/a.jpg", ".hidden.jpg", "x/b.jpg"]


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (["*.png"], ["a/raw/y.jpg", "a/x.jpg", "raw/z.jpg"]),
        (["raw"], ["a/x.jpg", "a/x.png"]),
        (["raw/"], ["a/x.jpg", "a/x.png"]),
        (["**/raw"], ["a/x.jpg", "a/x.png"]),
        (["/raw"], ["a/raw/y.jpg", "a/x.jpg", "a/x.png"]),
        (["a/raw"], ["a/x.jpg", "a/x.png", "raw/z.jpg"]),
        (["./a/raw/*"], ["a/x.jpg", "a/x.png", "raw/z.jpg"]),
        (["*/x.*"], ["a/raw/y.jpg", "raw/z.jpg"]),
        (["?.jpg", "*.png"], []),
        (["[xy].jpg"], ["a/x.png", "raw/z.jpg"]),
        ([], ["a/raw/y.jpg", "a/x.jpg", "a/x.png", "raw/z.jpg"]),
    ],
)
def test_excluded_globs(folder, globs, left):
    make(folder, "a/x.jpg", "a/x.png", "a/raw/y.jpg", "raw/z.jpg")
    assert paths(folder, exclude=globs) == left


def test_without_recursion_the_folders_inside_are_unknown(folder):
    make(folder, "a.jpg", "b/c.jpg")
    listing = scan(folder, recursive=False)
    assert [found.path for found in listing.files] == ["a.jpg"]
    assert listing.unlisted == ["b/"]


@needs_links
def test_each_folder_is_listed_once_and_by_its_own_path(folder):
    make(folder, "z/real/x.jpg", "a/real/y.jpg")
    (folder / "a" / "link").symlink_to(folder / "z" / "real")
    (folder / "z" / "link").symlink_to(folder / "a" / "real")
    (folder / "a" / "loop").symlink_to(folder)
    (folder / "z" / "up").symlink_to("..")
    assert paths(folder) == ["a/real/y.jpg", "z/real/x.jpg"]


@needs_links
def test_a_link_out_of_the_folder_is_followed_once(folder):
    make(folder, "in/a.jpg", "out/b.jpg", "out/deep/c.jpg")
    (folder / "in" / "second").symlink_to(folder / "out")
    (folder / "in" / "first").symlink_to(folder / "out")
    assert paths(folder / "in") == ["a.jpg", "first/b.jpg", "first/deep/c.jpg"]


@needs_links
def test_a_link_to_an_image_is_an_image(folder):
    make(folder, "out/b.jpg")
    (folder / "in").mkdir()
    (folder / "in" / "a.jpg").symlink_to(folder / "out" / "b.jpg")
    assert paths(folder / "in") == ["a.jpg"]


@needs_links
def test_a_link_that_leads_nowhere_may_lead_somewhere_again(folder):
    (folder / "disk").symlink_to(folder / "not mounted")
    (folder / "image.jpg").symlink_to(folder / "not there.jpg")
    (folder / "self").symlink_to("self")
    listing = scan(folder)
    assert listing.files == []
    assert sorted(listing.unlisted) == ["disk/", "image.jpg/", "self/"]
    assert [path for path, _ in listing.problems] == ["image.jpg", "self"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_regular_file_is_no_image(folder):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # a socket's path must be short
        try:
            server.bind("socket.jpg")
        finally:
            os.chdir(here)
        assert paths(folder) == []


@needs_bytes
def test_names_with_newlines_and_names_that_are_no_utf8(folder):
    names = [b"new\nline.jpg", b"caf\xe9.jpg", b"\xff\xfe.jpg", b"a\\b.jpg", b" .jpg"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"")
    assert [os.fsencode(path) for path in paths(folder)] == sorted(names)


def test_a_folder_that_cannot_be_listed(folder, monkeypatch):
    make(folder, "a.jpg", "closed/b.jpg", "open/c.jpg")
    real = os.scandir

    def scandir(path):
        if str(path).rstrip("/").endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = scan(folder)
    assert [found.path for found in listing.files] == ["a.jpg", "open/c.jpg"]
    assert listing.unlisted == ["closed/"]
    assert listing.problems == [("closed", "Permission denied")]


@needs_links
def test_a_very_deep_folder(folder):
    here = os.getcwd()
    os.chdir(folder)
    try:
        for _ in range(600):
            os.mkdir("nested")
            os.chdir("nested")
        with open("deep.jpg", "wb"):
            pass
    finally:
        os.chdir(here)
    listing = scan(folder)
    # Beyond the longest path of the system the folder is named as one that cannot be listed.
    assert len(listing.files) == 1 or [reason for _, reason in listing.problems]
