"""Networks keep running while pynndescent's own threads do."""

import threading

import numpy as np
import pytest

from rvcnn import create_model

pytestmark = pytest.mark.slow  # pynndescent compiles for a minute or two the first time


def test_several_threads_while_pynndescent_builds():
    pynndescent = pytest.importorskip("pynndescent")
    model = create_model(threads=2)
    rng = np.random.default_rng(0)
    images = rng.standard_normal((6, 64, 64, 3)).astype(np.float32)
    want = model(images)
    vectors = rng.standard_normal((3000, 32)).astype(np.float32)
    building, wrong = threading.Event(), []
    building.set()

    def embed(count):
        while building.is_set():
            if not np.array_equal(model(images[:count]), want[:count]):
                wrong.append(count)

    threads = [threading.Thread(target=embed, args=(count,)) for count in (1, 6, 6)]
    for thread in threads:
        thread.start()
    try:
        found, _ = pynndescent.NNDescent(vectors, n_neighbors=10, random_state=0).query(
            vectors[:5], k=1
        )
    finally:
        building.clear()
        for thread in threads:
            thread.join()
    assert not wrong
    np.testing.assert_array_equal(found[:, 0], np.arange(5))
