"""Processes that do all kinds of things to one index, and are killed at any moment."""

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from index_fake import DIM

from rvcnn.index import Index, repair, verify
from rvcnn.index.formats import FORMATS

PROCESSES = 4
BASE, PER_COMMIT, KEPT = 700, 10, 5
CODE = "import sys; sys.path.insert(0, sys.argv[1]); import test_index_stress as s; s.child()"


def vectors_for(ids):
    rows = [np.random.default_rng([*i.encode()]).standard_normal(DIM) for i in ids]
    return np.array(rows, np.float32)


def names(commit):
    return [f"{commit}/{n}" for n in range(PER_COMMIT)]


def look(index, least=0):
    """Read one state: all of some commit, not older than the last one known of, and no other's."""
    with index.snapshot() as now:
        commit, ids = now.item("base/0").metadata["commit"], now.ids()
        mine = [i for i in ids if not i.startswith("base/")]
        vectors = now.vectors(mine)
    assert commit >= least, f"commit {least} was lost: the last one is {commit}"
    kept = range(max(0, commit - KEPT + 1), commit + 1)
    assert sorted(mine) == sorted(i for n in kept for i in names(n))
    wanted = vectors_for(mine)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, wanted, atol=1e-4)
    return commit


def write(index, known):
    with index.writer(wait=60) as writer:
        for _ in range(random.choice([1, 1, 3])):
            commit = look(index, int(known.read_text())) + 1
            writer.add(vectors_for(names(commit)), names(commit))
            writer.remove(names(commit - KEPT))
            writer.tag("base/0", {"commit": commit})
            writer.commit()
            new = known.with_suffix(".new")
            new.write_text(str(commit))
            new.replace(known)


def abandon(index, known):
    writer = index.writer(wait=60)
    writer.add(vectors_for(names(-1)), names(-1))
    writer.close()


def search(index, known):
    identity = f"base/{random.randrange(BASE)}"
    for exact in (True, False):
        found = index.search(vectors_for([identity]), k=5, exact=exact, workers=1)
        assert identity in found.ids[0]


def in_order(index, known):
    assert verify(index.path) == []


ACTIONS = [
    write,
    write,
    abandon,
    search,
    in_order,
    lambda index, known: look(index, int(known.read_text())),
    lambda index, known: index.close(),
    lambda index, known: index.stats(),
    lambda index, known: index.build_ann(workers=1, wait=60),
    lambda index, known: repair(index.path, wait=60),
    lambda index, known: look(Index.open(index.path), int(known.read_text())),
]


def child():
    folder, known, end = sys.argv[2], Path(sys.argv[3]), time.time() + float(sys.argv[4])
    index = Index.open(folder)
    write(index, known)
    while time.time() < end:
        random.choice(ACTIONS)(index, known)


@pytest.mark.parametrize(
    "dtype, seconds",
    [("int8", 6), *(pytest.param(dtype, 100, marks=pytest.mark.slow) for dtype in FORMATS)],
)
def test_no_commit_is_lost_and_nothing_torn(tmp_path, dtype, seconds):
    folder, known = tmp_path / "photos", tmp_path / "known"
    index = Index.create(folder, DIM, dtype=dtype)
    with index.writer() as writer:
        ids = [f"base/{i}" for i in range(BASE)]
        writer.add(vectors_for(ids), ids, [{"commit": 0}, *[None] * (BASE - 1)])
        writer.add(vectors_for(names(0)), names(0))
    known.write_text("0")
    index.build_ann(workers=1)
    search(index, known)  # compiles what is to be compiled
    index.close()

    def start():
        left = str(max(1.0, end - time.time()))
        return subprocess.Popen(
            [sys.executable, "-c", CODE, Path(__file__).parent, folder, known, left],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    end = time.time() + seconds
    children = [start() for _ in range(PROCESSES)]
    while time.time() < end:
        time.sleep(random.uniform(1, 3))
        which = random.randrange(PROCESSES)
        if children[which].poll() is None:
            children[which].kill()
            children[which].communicate()
            children[which] = start()
    for process in children:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    assert look(index, int(known.read_text())) > 0
    assert verify(folder) == []
