"""`rvcnn search`: filters, thresholds, what was seen, and other things to search for."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_checks import picture, run, run_child, run_ok

from rvcnn.errors import IndexMismatchError
from rvcnn.index import Index
from rvcnn.place import check_alike, open_place

pytestmark = pytest.mark.usefixtures("compiled")

QUERY = "photos/a.png"


@pytest.fixture
def tagged(photos):
    """Photos with metadata; two of them are old."""
    Path("t.csv").write_text(
        "path,species,year,note\na.png,fox,2021,\nb.jpg,fox,2019,it's\nother2.png,cat,2020,100%\n"
    )
    run_ok("tag", "photos", "t.csv")
    return photos


def paths(*args) -> set[str]:
    found = run_ok("search", QUERY, "--in", "photos", "-f", *args).splitlines()
    assert len(found) == len(set(found))
    return {path.removeprefix("photos/") for path in found}


@pytest.mark.parametrize(
    "args, found",
    [
        (["--where", "species = 'fox'"], {"a.png", "b.jpg"}),
        (["--where", "species = 'fox' and year >= 2020"], {"a.png"}),
        (["--where", "species = 'fox'", "--where", "year < 2020"], {"b.jpg"}),
        (["--where", "note = 'it''s' or note like '%\\%'"], {"b.jpg", "other2.png"}),
        (["--where", "metadata is null and format = 'WEBP'"], {"sub/c.webp"}),
        (["--where", "nothing = 1"], set()),
        (["--path-glob", "*.png", "--where", "species != 'cat'"], {"a.png"}),
        (["--path-glob", "sub/*", "--path-glob", "a.*"], {"a.png", "sub/c.webp"}),
        (["--path-glob", "**/c.*"], {"sub/c.webp"}),
        (["--min-width", "97"], set()),
        (["--min-width", "96", "--min-height", "80", "-k", "2"], {"a.png", "sub/c.webp"}),
        (["--min-height", "81"], set()),
        (["--newer", "1h", "--where", "year > 0"], {"a.png", "b.jpg", "other2.png"}),
        (["--older", "1h"], set()),
        (["--older", "2999-01-01", "--newer", "2999-01-01"], set()),
    ],
)
def test_filters(tagged, args, found):
    assert paths(*args) == found


def test_newer_and_older_go_by_the_files_time(photos):
    os.utime(photos / "b.jpg", (10**9, 10**9))
    run_ok("embed", "photos", "--quiet")
    assert paths("--older", "2001-09-10") == {"b.jpg"}
    assert paths("--newer", "2001-09-08", "--older", "2001-09-10") == {"b.jpg"}
    assert "b.jpg" not in paths("--newer", "2001-09-10")


def test_a_filter_below_a_folder(tagged):
    args = ("search", QUERY, "--in", "photos/sub", "-f", "--where")
    assert run_ok(*args, "metadata is null") == "photos/sub/c.webp\n"
    assert run_ok(*args, "metadata is not null") == ""


def test_a_name_that_no_image_has_is_told(tagged):
    args = ("search", QUERY, "--in", "photos", "--in", "photos/sub", "--where")
    result = run(*args, "speceis = 'fox' and year > 2000")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no image has the metadata speceis\n"
    assert run(*args, "species = fox and year < 0").stderr == "no image has the metadata fox\n"
    assert run(*args, "species = 'owl' or width < 5").stderr == ""
    assert run(*args, "nothing is null and species = 'fox'").stderr == ""


def test_what_lost_its_vector_is_told(photos):
    with Index.open(photos).writer() as writer:  # as a rebuild that was interrupted leaves it
        writer.reset(writer.manifest)
    args = ("search", QUERY, "--in", "photos")
    tells = "6 images have no vector now, and will not be found: `rvcnn embed photos` ends"
    for command in (
        args,
        (*args, "--seen"),
        ("dedup", "photos"),
        ("export", "photos", "-o", "v.npz"),
    ):
        assert run(*command).stderr.startswith(tells)
    below = run("search", QUERY, "--in", "photos/sub").stderr
    assert below.startswith("1 image has no vector now")
    run_ok("embed", "photos")
    assert run(*args).stderr == ""


@pytest.mark.parametrize(
    "args, message",
    [
        (["--where", "year >="], "rvcnn: the filter, at column 8: expected a name or a value"),
        (["--where", "a = 'x\x00"], "rvcnn: the filter, at column 5: the text that begins with '"),
        (["--newer", "soon"], "rvcnn: 'soon' is neither a date"),
        (["--crop", "1,2"], "rvcnn: a crop is x,y,width,height"),
        (["--crop", "0,0,97,1"], "rvcnn: the crop 0,0,97,1 goes beyond the image of 96 x 80"),
        (["photos/b.jpg", "--crop", "0,0,9,9"], "--crop goes with one QUERY image"),
        (["--vector", "missing.npy"], "rvcnn: no such file of vectors: missing.npy"),
        (["--row", "3"], "--row says which row of --vector"),
        (["--seen", "--crop", "0,0,1,1"], "--seen asks for each QUERY alone"),
        (["--seen", "--not", "photos/b.jpg"], "--seen asks for each QUERY alone"),
    ],
)
def test_wrong_usage(photos, args, message):
    result = run("search", QUERY, "--in", "photos", *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.startswith("rvcnn: ") and result.stderr.count("\n") == 1


def test_nothing_to_search_for(photos):
    result = run("search", "--in", "photos")
    assert result.exit_code == 2 and "give a QUERY or --vector" in result.stderr


# --- other queries --------------------------------------------------------------------------------


def test_a_crop_finds_what_it_shows(photos):
    whole = picture(8)
    whole.paste(picture(3).resize((48, 40)), (48, 40))
    whole.save("q.png")
    picture(3).resize((48, 40)).save("photos/part.png")
    run_ok("embed", "photos", "--quiet")
    for crop in ("48,40,48,40", "0.5,0.5,0.5,0.5"):
        first, *_ = run_ok("search", "q.png", "--in", "photos", "--crop", crop).splitlines()
        assert first == "1.000\tphotos/part.png"


def test_a_vector_of_an_export_finds_its_image(photos):
    for suffix in (".npy", ".jsonl"):
        run_ok("export", "photos", "-o", f"v{suffix}")
        for row, name in enumerate(Index.open("photos").ids):
            args = ("--vector", f"v{suffix}", "--row", str(row), "--in", "photos", "-k", "1")
            assert run_ok("search", *args) == f"1.000\tphotos/{name}\n"
    found = json.loads(run_ok("search", "--vector", "v.npy", "--in", "photos", "-k1", "--json"))
    assert (found["query"], found["path"]) == ("v.npy", QUERY)


def test_a_vector_from_the_standard_input(photos):
    run_ok("export", "photos", "-o", "v.npy")
    args = ("search", "--vector", "-", "--in", "photos", "-k", "1")
    found = run_child(*args, input=Path("v.npy").read_bytes())
    assert (found.returncode, found.stdout) == (0, b"1.000\tphotos/a.png\n")
    found = run_child(*args, input=b"[1, 2]")
    assert found.returncode == 2
    assert found.stderr == b"rvcnn: a vector of 2 numbers: the index's vectors have 512\n"


def test_a_vector_and_images_together(photos):
    run_ok("export", "photos", "-o", "v.npy")
    row = Index.open("photos").ids.index("other2.png")
    args = (QUERY, "--vector", "v.npy", "--row", str(row), "--in", "photos", "--json", "-k", "9")
    ranks = {
        (hit := json.loads(line))["path"]: hit["score"]
        for line in run_ok("search", *args).splitlines()
    }
    images = run_ok("search", QUERY, "photos/other2.png", "--in", "photos", "--json", "-k", "9")
    for line in images.splitlines():
        hit = json.loads(line)
        assert ranks[hit["path"]] == pytest.approx(hit["score"], abs=1e-5)
    away = run_ok("search", *args[1:5], "--not", QUERY, "--in", "photos", "-f")
    assert away.splitlines()[0] == "photos/other2.png" and QUERY not in away.splitlines()[:3]


def test_a_vector_in_an_index_of_points(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    index = Index.create("points", 2, "euclidean")
    Path("points/near").touch()
    Path("points/far").touch()
    index.add([[3, 4], [30, 40]], ["near", "far"])
    np.save("v.npy", np.zeros(2))
    assert run_ok("search", "--vector", "v.npy", "--in", "points") == (
        "-5.000\tpoints/near\n-50.000\tpoints/far\n"
    )


def test_indexes_that_cannot_be_searched_together(tmp_path):
    Index.create(tmp_path / "a", 2, description={"model": "one", "weights_sha256": "12" * 32})
    Index.create(tmp_path / "b", 2, description={"model": "two", "weights_sha256": "34" * 32})
    Index.create(tmp_path / "c", 3, description={"model": "one"})
    Index.create(tmp_path / "d", 2)
    a, b, c, d = (open_place(tmp_path / name) for name in "abcd")
    check_alike([a, d])
    check_alike([a])
    with pytest.raises(IndexMismatchError, match="one was made by one .weights 1212.* by two"):
        check_alike([a, d, b])
    with pytest.raises(IndexMismatchError, match="they differ in dimension"):
        check_alike([a, c])


# --- seen -----------------------------------------------------------------------------------------

SINCE = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_seen_by_its_bytes(photos):
    shutil.copy(photos / "b.jpg", "copy.jpg")
    result = run("search", "copy.jpg", "--in", "photos", "--seen")
    assert result.exit_code == 0 and result.stderr == ""
    assert re.fullmatch(rf"same\tphotos/b.jpg\t{SINCE}\n", result.stdout)
    assert run_ok("search", "copy.jpg", "--in", "photos", "--seen", "-f") == "photos/b.jpg\n"
    found = json.loads(run_ok("search", "copy.jpg", "--in", "photos", "--seen", "--json"))
    (match,) = found.pop("matches")
    assert found == {"query": "copy.jpg", "seen": True}
    assert (match["same"], match["score"], match["path"]) == (True, 1.0, "photos/b.jpg")
    assert match["added_at"] == Index.open("photos").item("b.jpg").added_at


def test_seen_by_its_bytes_needs_no_network(photos):
    script = (
        "import sys\nfrom rvcnn.cli import main\n"
        "sys.argv = ['rvcnn', 'search', 'photos/b.jpg', '--in', 'photos', '--seen', '-f']\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, 'numba' in sys.modules)\n"
    )
    from child import run_python

    assert run_python(script, Path.cwd()) == ["photos/b.jpg", "0 False"]


def test_seen_by_its_looks(photos):
    picture(1).save("again.jpg", quality=70)
    found = run("search", "again.jpg", "--in", "photos", "--seen")
    assert found.exit_code == 0
    lines = [line.split("\t") for line in found.stdout.splitlines()]
    assert {path for _, path, _ in lines} == {"photos/a.png", "photos/b.jpg", "photos/sub/c.webp"}
    assert all(0.85 <= float(score) <= 1 for score, *_ in lines)
    strict = run("search", "again.jpg", "--in", "photos", "--seen", "--min-similarity", "1")
    assert (strict.exit_code, strict.stdout, strict.stderr) == (1, "", "")
    found = run("search", "again.jpg", "--in", "photos", "--seen", "--json", "-k", "1")
    (match,) = json.loads(found.stdout)["matches"]
    assert match["same"] is False and match["score"] < 1


def test_seen_looks_at_every_image(photos, monkeypatch):
    asked, search = [], Index.search

    def recording(*args, **options):
        asked.append(options["exact"])
        return search(*args, **options)

    monkeypatch.setattr(Index, "search", recording)
    picture(9).save("new.png")
    run("search", "new.png", "--in", "photos", "--seen")
    run_ok("search", "new.png", "--in", "photos")
    run_ok("search", "new.png", "--in", "photos", "--exact")
    assert asked == [True, False, True]


def test_not_seen(photos):
    picture(9).save("new.png")
    result = run("search", "new.png", "--in", "photos", "--seen")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "")
    result = run("search", "new.png", "--in", "photos", "--seen", "--json")
    assert json.loads(result.stdout) == {"query": "new.png", "seen": False, "matches": []}


def test_seen_of_several_is_0_only_for_all(photos):
    picture(9).save("new.png")
    result = run("search", "photos/b.jpg", "new.png", "--in", "photos", "--seen")
    assert result.exit_code == 1
    assert re.fullmatch(rf"photos/b.jpg\tsame\tphotos/b.jpg\t{SINCE}\n", result.stdout)
    assert run("search", "photos/b.jpg", QUERY, "--in", "photos", "--seen").exit_code == 0


def test_seen_elsewhere(photos):
    args = ("search", "photos/other3.png", "--in", "photos", "--seen", "--exclude-query")
    assert run(*args).exit_code == 1
    shutil.copy("photos/other3.png", "photos/sub/copy.png")
    run_ok("embed", "photos", "--quiet")
    assert run_ok(*args, "-f") == "photos/sub/copy.png\n"
    assert run_ok(*args, "-f", "--path-glob", "copy*") == "photos/sub/copy.png\n"
    assert run(*args, "--path-glob", "other*").exit_code == 1
    assert run_ok(*args[:2], "--in", "photos/sub", "--seen", "-f") == "photos/sub/copy.png\n"


def test_what_changed_or_went_since_was_not_seen_there(photos):
    shutil.copy("photos/other3.png", "q.png")
    args = ("search", "q.png", "--in", "photos", "--seen", "-f", "--min-similarity", "1")
    os.utime("photos/other3.png", (10**9, 10**9))  # touched: the bytes are the same
    assert run_ok(*args) == "photos/other3.png\n"
    content = bytearray(Path("q.png").read_bytes())
    content[-1] ^= 1
    Path("photos/other3.png").write_bytes(content)
    found = json.loads(run("search", "q.png", "--in", "photos", "--seen", "--json").stdout)
    assert [match["same"] for match in found["matches"]] == [False]
    os.remove("photos/other3.png")
    assert run(*args).exit_code == 1


@pytest.mark.parametrize(
    "query, message",
    [
        ("missing.png", "no such file: missing.png"),
        ("text.jpg", "text.jpg: not an image"),
        ("empty.jpg", "empty.jpg: the file is empty"),
    ],
)
def test_an_error_is_not_a_no(photos, query, message):
    Path("text.jpg").write_text("no image")
    Path("empty.jpg").touch()
    result = run("search", query, "--in", "photos", "--seen")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert run("search", QUERY, "--in", "missing", "--seen").exit_code == 2


def test_weights_of_ones_own_need_a_threshold(photos):
    from rvcnn.index.manifest import WEIGHTS_FILE

    index = Index.create("own", 2, description={"model": "m", WEIGHTS_FILE: "w.safetensors"})
    index.add([[1, 0]], ["x"])
    result = run("search", QUERY, "--in", "own", "--seen")
    assert result.exit_code == 2 and "give --min-similarity X" in result.stderr
    with index.writer() as writer:
        writer.put(replace(Index.open("photos").item("a.png"), id="x"), [1, 0])
    shutil.copy2(QUERY, "own/x")
    assert run_ok("search", QUERY, "--in", "own", "--seen", "-f") == "own/x\n"
