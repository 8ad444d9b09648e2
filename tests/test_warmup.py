"""The compile cache: filled once, complete, without Numba afterwards, never trusted blindly."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from child import run_python

EMBED_AND_SEARCH = """
import json, sys
import numpy as np
import rvcnn
from rvcnn.kernels import cache_dir, dot_products
from rvcnn.warmup import is_compiled, warmup

def files():
    return sorted(path.name for path in cache_dir().iterdir())

emb, told = rvcnn.Embedder(workers=1), []
before = is_compiled(emb)
count = warmup(emb, lambda *progress: told.append(progress))
report = dict(before=before, after=is_compiled(emb), count=count, told=told, files=files())
rng = np.random.default_rng(0)
rows = emb.embed([rng.integers(0, 256, (h, 200, 3), dtype=np.uint8) for h in (40, 300, 900)])
for n in (1, 2, 3, 4, 7, 50):
    dot_products(rows, np.resize(rows, (n, 512)))
report |= dict(later=files(), numba="numba" in sys.modules, rows=rows.tobytes().hex())
print(json.dumps(report))
"""


def embed_and_search(cache, folder):
    return json.loads(run_python(EMBED_AND_SEARCH, folder, RVCNN_CACHE_DIR=str(cache))[-1])


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def cold(cache, tmp_path_factory):
    """What a process with an empty cache had to say. It compiles every kernel."""
    return embed_and_search(cache, tmp_path_factory.mktemp("cold"))


@pytest.fixture(scope="module")
def warm(cold, cache, tmp_path_factory):
    return embed_and_search(cache, tmp_path_factory.mktemp("warm"))


def test_warming_up_compiles_every_kernel_and_says_so(cold):
    count = cold["count"]
    assert count > 10 and not cold["before"] and cold["after"]
    assert cold["told"] == [[done, count] for done in range(count + 1)]


def test_afterwards_nothing_is_compiled_and_numba_is_not_imported(cold, warm):
    assert warm["before"] and not warm["numba"] and cold["numba"]
    assert warm["told"] == cold["told"]


def test_embedding_and_searching_need_no_more_than_was_warmed_up(cold, warm):
    assert cold["files"] == cold["later"] == warm["files"] == warm["later"]


def test_every_kernel_has_one_form(cold):
    """One entry a kernel: no kernel is compiled again for another kind of argument."""
    assert len(cold["files"]) == cold["count"]
    assert len({name.split(".")[0] for name in cold["files"]}) == cold["count"]


def test_vectors_do_not_depend_on_where_a_kernel_came_from(cold, warm):
    assert cold["rows"] == warm["rows"]


def test_a_kernel_that_is_missing_is_noticed(cold, cache, tmp_path):
    (victim,) = cache.glob("kernels/*/f32_l2_normalize__v*.o")
    victim.unlink()
    again = embed_and_search(cache, tmp_path)
    assert not again["before"] and again["after"] and again["numba"]
    assert again["files"] == cold["files"] and again["rows"] == cold["rows"]


# --- caches that cannot be used -----------------------------------------------------------------

SUMS = """
import sys
import numpy as np
{before}
from rvcnn import kernels
x = np.arange(31, dtype=np.float32).reshape(1, 1, 31)
assert (kernels.add(x, x) == 2 * x).all() and (kernels.activation(x, "leaky_relu") == x).all()
print("numba" in sys.modules)
"""


def compiles(folder, cache, before="", **environment):
    """Use a few kernels in a process of its own; return whether it had to compile."""
    lines = run_python(SUMS.format(before=before), folder, RVCNN_CACHE_DIR=cache, **environment)
    return {"True": True, "False": False}[lines[-1]]


def test_an_unwritable_cache_costs_time_and_nothing_else(tmp_path):
    """A file stands where the cache's folder should be, which stops the superuser too."""
    (tmp_path / "file").write_text("in the way")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
    assert compiles(tmp_path, str(tmp_path / "file" / "cache"), **places)
    assert list(temporary.iterdir()) == [], "something outlives the process"
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
def test_a_full_disk_leaves_no_half_written_kernel(tmp_path):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))"
    assert compiles(tmp_path, str(tmp_path), before=full)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A cache that two processes filled at the same time."""
    cache = tmp_path_factory.mktemp("shared")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(compiles, [cache] * 2, [str(cache)] * 2)) == [True, True]
    return cache


def test_processes_may_fill_the_cache_together(shared, tmp_path):
    assert not compiles(tmp_path, str(shared))
    files = [path for path in shared.rglob("*") if path.is_file()]
    assert len(files) >= 5 and {path.suffix for path in files} == {".o"}


def test_damaged_kernels_are_compiled_again(shared, tmp_path):
    for i, path in enumerate(sorted(shared.glob("kernels/*/*.o"))):
        content = path.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.unlink()
        if i % 5 == 4:
            path.mkdir()
        else:
            path.write_bytes([b"", content[:-100], flipped, b"#" * 5000][i % 5])
    assert compiles(tmp_path, str(shared))


def test_without_a_home_the_cache_is_numbas(tmp_path):
    nowhere = dict.fromkeys(("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA"))
    script = "from rvcnn.kernels import cache_dir; print(cache_dir())"
    (line,) = run_python(
        script, tmp_path, RVCNN_CACHE_DIR="", NUMBA_CACHE_DIR=str(tmp_path / "n"), **nowhere
    )
    assert Path(line).parent == tmp_path / "n" / "rvcnn" / "kernels"
