"""Commands at work: exact output and exit codes, on small pictures of their own."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_checks import picture, posix, run, run_child, run_ok

import rvcnn
from rvcnn.weights.published import PUBLISHED

pytestmark = pytest.mark.usefixtures("compiled")


def scores_and_paths(stdout: str) -> list[tuple[str, str]]:
    return [tuple(line.split("\t")) for line in stdout.splitlines()]


def test_search_prints_score_tab_path_best_first(photos):
    rows = scores_and_paths(run_ok("search", "photos/a.png", "--in", "photos"))
    assert rows[0] == ("1.000", "photos/a.png")
    assert {path for _, path in rows[:3]} == {"photos/a.png", "photos/b.jpg", "photos/sub/c.webp"}
    scores = [float(score) for score, _ in rows]
    assert scores == sorted(scores, reverse=True)
    assert len(rows) == 6


def test_search_finds_the_index_from_below_and_prints_paths_from_here(photos, monkeypatch):
    monkeypatch.chdir(photos / "sub")
    assert run_ok("search", "c.webp", "-k", "2", "-f").splitlines()[0] == "c.webp"
    assert "../a.png" in run_ok("search", "c.webp", "-f").splitlines()


def test_search_below_a_folder_of_the_index(photos):
    assert run_ok("search", "photos/a.png", "--in", "photos/sub", "-f") == "photos/sub/c.webp\n"


@posix
def test_search_names_a_linked_folder_as_it_was_asked_for(photos):
    Path("elsewhere").mkdir()
    Path("elsewhere/link").symlink_to("../photos/sub")
    assert run_ok("search", "photos/a.png", "--in", "elsewhere/link", "-f") == (
        "elsewhere/link/c.webp\n"
    )
    behind = run_ok("search", "photos/a.png", "--in", "elsewhere/link/..", "-k", "1", "-f")
    assert behind == "photos/a.png\n"


def test_search_options(photos):
    query = "photos/a.png"
    assert len(run_ok("search", query, "--in", "photos", "-k", "2").splitlines()) == 2
    paths = run_ok("search", query, "--in", "photos", "-f", "-0").split("\0")
    assert paths[0] == query and paths[-1] == "" and len(paths) == 7
    assert query not in run_ok("search", query, "--in", "photos", "--exclude-query")
    assert run_ok("search", query, "--in", "photos", "--min-similarity", "1", "-f") == f"{query}\n"
    away = run_ok("search", query, "--not", "photos/other2.png", "--in", "photos", "-f")
    assert away.splitlines()[-1] == "photos/other2.png"


def test_search_json(photos):
    lines = run_ok("search", "photos/a.png", "--in", "photos", "-k", "2", "--json").splitlines()
    first = json.loads(lines[0])
    assert list(first) == [
        "query",
        "rank",
        "score",
        "path",
        "width",
        "height",
        "added_at",
        "metadata",
    ]
    assert (first["query"], first["rank"], first["score"]) == ("photos/a.png", 1, 1.0)
    assert (first["path"], first["width"], first["height"]) == ("photos/a.png", 96, 80)
    assert json.loads(lines[1])["rank"] == 2
    both = run_ok("search", "photos/a.png", "photos/b.jpg", "--in", "photos", "-k1", "--json")
    assert json.loads(both)["query"] == ["photos/a.png", "photos/b.jpg"]


def test_search_merges_indexes_and_lists_a_file_once(photos, tmp_path):
    shutil.copytree(photos / "sub", "more")
    run_ok("embed", "more")
    found = run_ok(
        "search",
        "photos/a.png",
        "--in",
        "photos",
        "--in",
        "more",
        "--in",
        "photos/sub",
        "-f",
        "-k",
        "20",
    ).splitlines()
    assert len(found) == len(set(found)) == 7
    assert {"more/c.webp", "photos/sub/c.webp"} <= set(found)


def test_search_says_once_what_is_gone(photos):
    (photos / "b.jpg").unlink()
    (photos / "a.png").rename("a.png")
    result = run("search", "a.png", "--in", "photos", "-k", "2", "-f")
    assert result.exit_code == 0
    first, second = result.stdout.splitlines()
    assert first == "photos/sub/c.webp" and second.startswith("photos/other")
    assert result.stderr == (
        "2 left out: the files are gone (`rvcnn embed` brings the index up to date)\n"
    )


@pytest.mark.parametrize(
    "args, code, message",
    [
        (["a fox"], 2, "rvcnn: rvcnn searches by image; no such file: a fox"),
        (["photos"], 2, "rvcnn: rvcnn searches by image; photos is a folder"),
        (["photos/a.png", "--in", "missing"], 2, "rvcnn: no such folder: missing"),
        (
            ["photos/a.png", "--in", "empty"],
            4,
            "rvcnn: no index in empty or above it: `rvcnn embed empty` makes one",
        ),
        (
            ["text.jpg", "--in", "photos"],
            1,
            "rvcnn: text.jpg: not an image in a format rvcnn reads",
        ),
        (
            ["photos/a.png", "--not", "photos/a.png", "--in", "photos"],
            2,
            "rvcnn: these queries cancel each other out: nothing is left to search for",
        ),
    ],
)
def test_search_errors(photos, args, code, message):
    Path("empty").mkdir()
    Path("text.jpg").write_text("no image")
    result = run("search", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", message + "\n")


def test_search_without_an_index_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture(1).save("a.png")
    result = run("search", "a.png")
    assert result.exit_code == 4
    assert result.stderr.count("\n") == 1 and "rvcnn embed" in result.stderr


def test_json_contradicts_other_forms(photos):
    for other in ("-f", "-0"):
        assert run("search", "photos/a.png", "--in", "photos", "--json", other).exit_code == 2


@posix
@posix
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(photos, closed):
    """As daemons leave them; no file of the index may take their place."""
    picture(5).save(photos / "new.png")

    def shell(*args):
        command = f'exec "$0" "$@" {closed}'
        line = ["sh", "-c", command, sys.executable, *args]
        return subprocess.run(line, capture_output=True, text=True)

    first_free = "import os; print(os.open('photos', 0), file=open('fd', 'w'))"
    hold = "from rvcnn.cli.console import hold_standard_streams as hold; hold(); "
    assert shell("-c", hold + first_free).returncode == 0
    assert int(Path("fd").read_text()) > 2
    assert shell("-m", "rvcnn", "embed", "photos").returncode == 0
    assert len(rvcnn.Index.open("photos")) == 7
    found = shell("-m", "rvcnn", "search", "photos/a.png", "--in", "photos", "-k", "1")
    lost = " >&-" in f" {closed}"
    assert found.returncode == lost and found.stdout == ("" if lost else "1.000\tphotos/a.png\n")
    if closed == ">&-":
        assert found.stderr.startswith("rvcnn: the standard output is closed")


@pytest.mark.parametrize("name", [b"new\nline.png", b"not-utf8-\xff.png", "snow 雪.png".encode()])
def test_odd_names_come_out_as_their_bytes(name, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    try:
        picture(7).save(folder / os.fsdecode(name))
    except OSError:
        pytest.skip("the file system refuses this name")
    assert run_child("embed", "photos", cwd=tmp_path).returncode == 0
    query = b"photos/" + name
    found = run_child("search", query, "--in", "photos", "-f", "-0", cwd=tmp_path)
    assert (found.stdout, found.stderr) == (query + b"\0", b"")
    found = run_child("search", query, "--in", "photos", cwd=tmp_path)
    assert found.stdout == b"1.000\t" + query + b"\n"
    fields = json.loads(run_child("search", query, "--in", "photos", "--json", cwd=tmp_path).stdout)
    if b"\xff" in name:
        assert base64.b64decode(fields["path_bytes"]) == query
        assert fields["path"] == fields["query"] == query.decode("utf-8", "replace")
    else:
        assert fields["path"].encode() == query and "path_bytes" not in fields


def test_compare(photos):
    same = run_ok("compare", "photos/a.png", "photos/a.png")
    assert same == "1.000000\n"
    assert run("compare", "photos/a.png", "photos/a.png", "--min-similarity", "1").exit_code == 0
    other = run("compare", "photos/a.png", "photos/other2.png", "--min-similarity", "0.999")
    assert other.exit_code == 1
    assert re.fullmatch(r"-?[01]\.\d{6}\n", other.stdout)
    assert other.stderr == ""


@pytest.mark.parametrize("bad", ["missing.png", "text.jpg", "."])
def test_compare_errors_are_2_as_greps(photos, bad):
    Path("text.jpg").write_text("no image")
    result = run("compare", "photos/a.png", bad, "--min-similarity", "0.5")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1 and bad in result.stderr
    assert "search" not in result.stderr


def test_models_are_those_of_the_library():
    head, *lines = run_ok("models").splitlines()
    assert head.split() == ["model", "parameters", "multiply-adds", "input", "embeddings"]
    assert [line.split()[0] for line in lines if line[0] != " "] == rvcnn.list_models()
    models = [json.loads(line) for line in run_ok("models", "--json").splitlines()]
    assert [model["model"] for model in models] == rvcnn.list_models()
    weights = [file["name"] for model in models for file in model["weights"]]
    assert sorted(weights) == sorted(PUBLISHED)
    below = [line for line in lines if line[0] == " " and " ms an image" not in line]
    assert [line.split()[0] for line in below] == weights


def test_what_is_said_of_a_model():
    small = json.loads(run_ok("models", "--json").splitlines()[0])
    del small["measured"]
    (torchvisions,) = (f for f in small.pop("weights") if "torchvision" in f["name"])
    assert small == {
        "model": "mobilenetv3_small",
        "parameters": 2_542_856,
        "multiply_adds": 56_510_400,
        "input_size": 224,
        "embeddings": {"pooled": 576, "pre_logits": 1024},
    }
    assert torchvisions["license"].startswith("BSD-3-Clause")
    assert torchvisions["source"].endswith("/mobilenet_v3_small-047dcff4.pth")
