"""The same image gives the same bits: whatever the batch, order, threads, lanes or process."""

import hashlib
import os
import signal
import threading

import numpy as np
import pytest
from child import run_python
from pictures import many

from rvcnn import Embedder
from rvcnn.kernels import lanes
from rvcnn.model import create_model


@pytest.fixture(scope="module")
def images():
    return many(64)


@pytest.fixture(scope="module", params=["fp32", "int8"])
def precision(request):
    return request.param


@pytest.fixture(scope="module")
def alone(images, precision):
    """Each image's bits, embedded by itself on this thread."""
    emb = Embedder(workers=1, precision=precision)
    return [emb.embed_one(image).tobytes() for image in images]


def bits(vectors):
    return [row.tobytes() for row in vectors]


def test_the_images_are_worth_comparing(alone):
    assert len(set(alone)) == 64


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_batches_and_workers(images, alone, precision, batch, workers):
    emb = Embedder(workers=workers, precision=precision)
    parts = [emb.embed(images[start : start + batch]) for start in range(0, 64, batch)]
    assert bits(np.concatenate(parts)) == alone


@pytest.mark.parametrize("seed", range(3))
def test_any_order(images, alone, precision, seed):
    order = np.random.default_rng(seed).permutation(64)
    vectors = Embedder(workers=3, precision=precision).embed_iter(images[i] for i in order)
    assert bits(vectors) == [alone[i] for i in order]


def test_one_embedder_on_many_threads(images, alone, precision):
    """From its first moment on: the network is loaded by whoever comes first."""
    emb, start, wrong = Embedder(workers=2, precision=precision), threading.Barrier(6), []

    def work(first):
        start.wait()
        for i in range(24):
            k = (11 * first + i) % 64
            if emb.embed_one(images[k]).tobytes() != alone[k]:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_repeats_and_a_cache(images, alone, precision):
    emb = Embedder(workers=2, cache=5, precision=precision)
    order = [i % 7 for i in range(40)]
    assert bits(emb.embed([images[i] for i in order])) == [alone[i] for i in order]


def test_another_embedder_with_its_own_copy_of_everything(images, alone, precision):
    assert bits(Embedder(workers=1, precision=precision).embed(images[:8])) == alone[:8]


CHILD = """
import sys
from pathlib import Path
import rvcnn
paths = sorted(Path(sys.argv[1]).iterdir())[:: int(sys.argv[3])]
for row in rvcnn.Embedder(workers=int(sys.argv[2]), precision=sys.argv[4]).embed(paths):
    print(row.tobytes().hex())
"""


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("images")
    for i, content in enumerate(images):
        (path / f"{i:02}").write_bytes(content)
    return path


@pytest.mark.parametrize(("workers", "step", "seed"), [(1, 1, "1"), (2, -1, "7"), (8, 3, "random")])
def test_other_processes(folder, alone, precision, tmp_path, workers, step, seed):
    lines = run_python(CHILD, tmp_path, folder, workers, step, precision, PYTHONHASHSEED=seed)
    assert lines == [row.hex() for row in alone[::step]]


def test_lanes_change_the_speed_alone(folder, alone, precision, tmp_path):
    other = "8" if lanes() != 8 else "4"
    lines = run_python(CHILD, tmp_path, folder, 1, 9, precision, RVCNN_LANES=other)
    assert lines == [row.hex() for row in alone[::9]]


def test_products_of_bytes_change_the_speed_alone(folder, alone, precision, tmp_path):
    lines = run_python(CHILD, tmp_path, folder, 1, 9, precision, RVCNN_DOT="pmaddwd")
    assert lines == [row.hex() for row in alone[::9]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process(images):
    """Helper threads do not survive a fork, and nobody waits for them."""
    model = create_model("mobilenetv3_small", weights="random", threads=2)
    x = np.random.default_rng(0).standard_normal((1, 96, 96, 3)).astype(np.float32)
    want = hashlib.sha256(model(x).tobytes()).digest()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(120)  # rather than wait for ever
            for _ in range(20):
                got = model(x)
            os.write(writer, hashlib.sha256(got.tobytes()).digest())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        assert file.read() == want
    os.waitpid(child, 0)
    assert hashlib.sha256(model(x).tobytes()).digest() == want
