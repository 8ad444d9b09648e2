"""`embed`, `export`, `info` and `verify`: what they say, write and return."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_checks import make_photos, picture, posix, run, run_ok

import rvcnn
from rvcnn.cli.report import show_timings, summary
from rvcnn.folder import Report
from rvcnn.paths import quoted

pytestmark = pytest.mark.usefixtures("compiled")
ALL = ["a.png", "b.jpg", "other2.png", "other3.png", "other4.png", "sub/c.webp"]


def load(file: str) -> dict[str, np.ndarray]:
    """Read an .npz as a mapping of path to vector."""
    with np.load(file, allow_pickle=False) as z:
        return dict(zip(z["paths"].tolist(), z["embeddings"], strict=True))


def test_embed_says_what_it_did_and_prints_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    result = run("embed", "photos")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "photos: 6 embedded\n"
    assert run("embed", "photos").stderr == "photos: 6 unchanged\n"
    shutil.copy("photos/a.png", "photos/copy.png")
    Path("photos/other2.png").unlink()
    assert run("embed", "photos").stderr == ("photos: 1 found again, 5 unchanged, 1 removed\n")
    assert run("embed", "photos", "--quiet").stderr == ""
    rebuilt = run("embed", "photos", "--rebuild", "-j", "1")
    assert rebuilt.stderr == "photos: 5 embedded, 1 found again\n"


def test_skipped_files_are_named_with_a_reason(photos):
    (photos / "text.jpg").write_text("no image")
    (photos / "new\nline.png").write_text("") if os.name != "nt" else None
    for _ in range(2):
        result = run("embed", "photos", "--quiet")
        assert (result.exit_code, result.stdout) == (0, "")
        lines = result.stderr.splitlines()
        assert "skipping photos/text.jpg: not an image in a format rvcnn reads" in lines
        assert all(line.startswith("skipping photos/") for line in lines)
    assert run("embed", "photos", "--strict").exit_code == 3
    assert run("embed", "photos/sub", "--strict").exit_code == 0


def test_filters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    picture(9).save("photos/.hidden.png")
    run_ok("embed", "photos", "-R", "--exclude", "other*")
    assert rvcnn.Index.open("photos").ids == ["a.png", "b.jpg"]
    run_ok("embed", "photos", "--include-hidden", "--exclude", "sub", "--exclude", "*.jpg")
    assert rvcnn.Index.open("photos").ids == [".hidden.png", "a.png", *ALL[2:5]]


def test_embed_below_an_index_updates_that_index(photos):
    picture(9).save("photos/sub/new.png")
    assert run("embed", "photos/sub").stderr == "photos/sub: 1 embedded, 1 unchanged\n"
    assert not Path("photos/sub/.rvcnn").exists()
    assert "sub/new.png" in rvcnn.Index.open("photos").ids


def test_several_folders(photos):
    shutil.copytree("photos/sub", "more")
    result = run("embed", "photos", "more")
    assert result.stderr == "photos: 6 unchanged\nmore: 1 embedded\n"


def test_timings(photos):
    picture(9).save("photos/new.png")
    last = run("embed", "photos", "--timings", "--quiet").stderr.splitlines()[-1]
    assert re.fullmatch(
        r"timings: scan \S+ s, read \S+ s, decode \S+ s, resize \S+ s, network \S+ s, "
        r"index \S+ s, total \S+ s",
        last,
    )


def test_report_lines():
    report = Report(Path("x"), indexed=2, skipped=1, seconds={"decode": 1.0, "total": 2.0})
    assert summary("x", report) == "x: 2 embedded, 1 skipped"
    assert summary("x", Report(Path("x"))) == "x: no images"
    assert show_timings([report, report]) == "timings: decode 2.00 s, total 4.00 s"


def test_output_beside_the_index(photos):
    run_ok("embed", "photos", "-o", "v.npz")
    run_ok("export", "photos", "-o", "e.npz")
    written, exported = load("v.npz"), load("e.npz")
    assert list(exported) == ALL
    assert list(written) == [f"photos/{name}" for name in ALL]
    for name in ALL:
        np.testing.assert_array_equal(written[f"photos/{name}"], exported[name])
    run_ok("embed", "photos", "photos/sub", "-o", "twice.npz")
    assert list(load("twice.npz")) == list(written)


def test_export_of_a_part(photos):
    assert run("export", "photos/sub", "-o", "e.npz").stderr == "1 vector written to e.npz\n"
    assert list(load("e.npz")) == ["c.webp"]
    run_ok("export", "photos", "-o", "e8.npz", "--dtype", "int8")
    with np.load("e8.npz") as z:
        assert z["embeddings"].dtype == np.int8


def test_no_index(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    Path("photos/text.jpg").write_text("no image")
    result = run(
        "embed",
        "photos/sub",
        "photos/a.png",
        "photos/text.jpg",
        "photos/sub",
        "--no-index",
        "-o",
        "v.npz",
        "--strict",
    )
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == (
        "skipping photos/text.jpg: not an image in a format rvcnn reads\n"
        "v.npz: 2 embedded, 1 skipped\n"
    )
    assert not list(tmp_path.rglob(".rvcnn"))
    vectors = load("v.npz")
    assert list(vectors) == ["photos/a.png", "photos/sub/c.webp"]
    row = rvcnn.Embedder().embed(["photos/a.png"])[0]
    np.testing.assert_array_equal(vectors["photos/a.png"], row)


def test_no_index_of_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("embed", ".", "--no-index", "-o", "v.npz")
    assert (result.exit_code, result.stderr) == (0, "v.npz: no images\n")
    with np.load("v.npz") as z:
        assert z["embeddings"].shape == (0, 512)


@pytest.mark.parametrize(
    "args, message",
    [
        (["missing"], "rvcnn: no such file or folder: missing\n"),
        (["photos", "missing"], "rvcnn: no such file or folder: missing\n"),
        (
            ["photos/a.png"],
            "rvcnn: photos/a.png is a file, and indexes are of folders: "
            "--no-index -o FILE takes files\n",
        ),
        (
            ["photos", "-o", "v.pkl"],
            "rvcnn: cannot tell the format of v.pkl: "
            "end it in one of .npz .npy .csv .jsonl .parquet\n",
        ),
        (["photos", "--weights", "missing.safetensors"], None),
        (["photos", "--model", "nonesuch"], None),
    ],
)
def test_usage_errors_end_before_the_work(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_photos(Path("photos"))
    result = run("embed", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and result.stderr.startswith("rvcnn: ")
    assert message in (None, result.stderr)
    assert not Path("photos/.rvcnn").exists()


@pytest.mark.parametrize("extra", [[], ["--rebuild"], ["--prune"], ["--vectors", "int8"]])
def test_no_index_contradictions(extra):
    result = run("embed", ".", "--no-index", *(["-o", "v.npz", *extra] if extra else []))
    assert result.exit_code == 2
    assert "--no-index needs -o FILE" in result.stderr


def test_int8_vectors(photos):
    found = run_ok("search", "photos/a.png", "--in", "photos", "-j", "1").splitlines()
    refused = run("embed", "photos", "--vectors", "int8")
    assert refused.exit_code == 4
    assert "holds float32 vectors, not int8: leave --vectors out" in refused.stderr
    assert run("embed", "photos", "--vectors", "int8", "--rebuild").exit_code == 0
    assert json.loads(run_ok("info", "photos", "--json"))["vectors"] == "int8"
    assert not list(Path("photos/.rvcnn").glob("*.f32"))
    again = run_ok("search", "photos/a.png", "--in", "photos").splitlines()
    assert [line.split("\t")[1] for line in again] == [line.split("\t")[1] for line in found]
    scores = ([float(line.split("\t")[0]) for line in lines] for lines in (found, again))
    np.testing.assert_allclose(*scores, atol=1e-5)
    assert again[0].startswith(found[0].split("\t")[0])
    Path("photos/.rvcnn/vectors.1.low").write_bytes(b"")
    assert run("verify", "photos").exit_code == 1
    assert run("verify", "photos", "--repair").exit_code == 0
    assert run_ok("search", "photos/a.png", "--in", "photos").splitlines() == again


def test_info(photos):
    lines = dict(line.split(maxsplit=1) for line in run_ok("info", "photos").splitlines())
    facts = json.loads(run_ok("info", "photos", "--json"))
    assert list(lines) == list(facts)
    assert facts["folder"] == str(photos.resolve())
    assert (facts["images"], facts["failed"], facts["dimension"]) == (6, 0, 512)
    assert facts["model"] == lines["model"] == "mobilenetv3_small"
    assert re.fullmatch(r"[0-9a-f]{64}", facts["weights_sha256"])
    assert facts["preprocessing"]["crop"] == "224"
    assert "crop 224" in lines["preprocessing"]


def test_a_repair_of_what_is_lost_says_how_to_get_it_back(photos):
    Path("photos/.rvcnn/items.sqlite").write_bytes(b"no database" * 999)
    mended = run("verify", "photos", "--repair")
    root = photos.resolve()
    says = f"which images it had: `rvcnn embed {quoted(root)}` brings them back\n"
    assert (mended.exit_code, says in mended.stderr) == (0, True)
    assert "6 embedded" in run("embed", "photos").stderr


def test_verify_finds_and_repairs_a_changed_byte(photos):
    result = run("verify", "photos")
    assert (result.exit_code, result.stdout) == (0, "")
    run_ok("export", "photos", "-o", "before.npz")
    (vectors,) = Path("photos/.rvcnn").glob("vectors*.f32")
    content = bytearray(vectors.read_bytes())
    content[4 * 512 * 2 + 7] ^= 1
    vectors.write_bytes(content)
    damaged = run("verify", "photos")
    assert damaged.exit_code == 1
    assert re.fullmatch(r"\S+: its vector has changed: .*\n", damaged.stdout)
    mended = run("verify", "photos", "--repair")
    assert mended.exit_code == 0
    assert mended.stdout == damaged.stdout
    assert "repaired: 1 embedded, 5 unchanged\n" in mended.stderr
    assert run("verify", "photos").exit_code == 0
    run_ok("export", "photos", "-o", "after.npz")
    assert Path("before.npz").read_bytes() == Path("after.npz").read_bytes()


def test_repair_of_an_image_that_is_gone(photos):
    (vectors,) = Path("photos/.rvcnn").glob("vectors*.f32")
    vectors.write_bytes(bytes(vectors.stat().st_size))
    (photos / "a.png").unlink()
    result = run("verify", "photos", "--repair", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == f"skipping {photos.resolve() / 'a.png'}: it is no longer there\n"
    assert rvcnn.Index.open("photos").ids == ALL[1:]


def written(photos: Path) -> int:
    """Return how many bytes of vectors there are."""
    return sum(f.stat().st_size for f in photos.glob(".rvcnn/vectors*.f32"))


@posix
def test_interrupted(data, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for file in sorted((data / "images" / "imagenet500").iterdir())[:400]:
        shutil.copy(file, photos)
    command = [sys.executable, "-m", "rvcnn", "embed", "photos", "-j", "1"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while written(photos) < 30 * 2048 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr == "rvcnn: interrupted; everything finished so far is kept\n"
    kept = len(rvcnn.Index.open(photos))
    assert 0 < kept < 400
    assert run("verify", photos).exit_code == 0
    assert f"{400 - kept} embedded, {kept} unchanged" in run("embed", photos).stderr


@posix
@pytest.mark.parametrize("quiet", [False, True])
def test_progress_bar_on_a_terminal_only(quiet, tmp_path):
    import pty

    make_photos(tmp_path / "photos")
    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "rvcnn", "embed", "photos", *["--quiet"] * quiet]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=terminal, stdout=subprocess.PIPE)
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(master)
    assert child.wait() == 0
    assert (b"/6 images |" in shown) is not quiet
    assert (b"photos: 6 embedded" in shown) is not quiet


def test_ann_makes_a_graph_that_verify_checks_and_mends(photos):
    assert run("embed", "photos", "--ann").exit_code == 0
    found = run_ok("search", "photos/a.png", "--in", "photos")
    assert run_ok("search", "photos/a.png", "--in", "photos", "--exact") == found
    (graph,) = (file for file in Path("photos/.rvcnn/ann").iterdir() if file.is_file())
    content = bytearray(graph.read_bytes())
    assert run("embed", "photos", "--ann").exit_code == 0
    assert graph.read_bytes() == content
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    damaged = run("verify", "photos")
    assert damaged.exit_code == 1
    assert f"ann/{graph.name} is not as it was written\n" in damaged.stdout
    assert run("verify", "photos", "--repair").exit_code == 0
    assert run("verify", "photos").exit_code == 0
    mended = rvcnn.Index.open("photos")
    with mended.snapshot() as now:
        assert now.walk().header.rows == len(mended)
    assert run_ok("search", "photos/a.png", "--in", "photos") == found


def test_ann_is_of_an_index(photos):
    result = run("embed", "photos", "--ann", "--no-index", "-o", "v.npz")
    assert result.exit_code == 2
    assert "--no-index needs -o FILE, and no --ann" in result.stderr
