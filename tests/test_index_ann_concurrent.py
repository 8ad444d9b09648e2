"""Twenty readers and one writer on an index with a graph: no error, and no torn result."""

import threading
import time

import numpy as np
import pytest

from rvcnn.index import Index, verify

DIM, STEP, READERS = 32, 40, 20


def vectors(batch):
    """The vectors of a batch: near a direction of its own, the first nearest to it."""
    rng = np.random.default_rng(batch)
    centre = rng.standard_normal(DIM)
    rows = centre + rng.standard_normal((STEP, DIM)) * np.linspace(0, 0.3, STEP)[:, None]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def names(batch):
    return [f"{batch}/{i}" for i in range(STEP)]


class Stress:
    """What readers and the writer do, and what went wrong."""

    def __init__(self, folder):
        self.folder = folder
        self.index = Index.create(folder, DIM)
        self.over = threading.Event()
        self.errors = []
        self.searches = self.found = 0
        for batch in range(60):
            self.index.add(vectors(batch), names(batch))
        self.index.build_ann()
        self.alive = set(range(60))
        self.added = 60

    def write(self):
        """Add a batch and remove another, each in one commit; build the graph now and then."""
        rng = np.random.default_rng(0)
        while not self.over.is_set():
            gone = int(rng.choice(sorted(self.alive)))
            with self.index.writer(wait=60) as writer:
                writer.add(vectors(self.added), names(self.added))
                writer.remove(names(gone))
            self.alive = self.alive - {gone} | {self.added}
            self.added += 1
            if self.added % 20 == 0:
                self.index.build_ann(wait=60)

    def read(self, seed):
        rng = np.random.default_rng(seed)
        own = self.index if seed % 2 else Index.open(self.folder)
        while not self.over.is_set():
            self.check(own, int(rng.integers(0, self.added)), exact=bool(rng.integers(4) == 0))
            self.searches += 1

    def check(self, index, batch, exact):
        """A batch is there as a whole or not at all, with its own scores."""
        rows = vectors(batch)
        found = index.search(rows[0], 2 * STEP, exact=exact)
        ids, scores = found.ids[0], found.scores[0]
        assert len(ids) == 2 * STEP == len({*ids})
        assert (np.diff(scores) <= 0).all()
        ours = [i for i, name in enumerate(ids) if name.split("/")[0] == str(batch)]
        assert len(ours) in (0, STEP), f"{len(ours)} of batch {batch}"
        self.found += bool(ours)
        for i in ours:
            want = float(rows[0].astype(np.float64) @ rows[int(ids[i].split("/")[1])])
            assert scores[i] == pytest.approx(want, abs=1e-5)

    def run(self, seconds):
        def guarded(function, *arguments):
            try:
                function(*arguments)
            except BaseException as error:
                self.errors.append(error)
                self.over.set()

        jobs = [(self.write,), *((self.read, seed) for seed in range(READERS))]
        threads = [threading.Thread(target=guarded, args=job) for job in jobs]
        for thread in threads:
            thread.start()
        self.over.wait(seconds)
        self.over.set()
        for thread in threads:
            thread.join()
        if self.errors:
            raise self.errors[0]
        assert self.searches >= READERS and self.added > 60 and self.found
        assert verify(self.folder) == []


def test_readers_and_a_writer_for_some_seconds(tmp_path):
    Stress(tmp_path).run(4)


@pytest.mark.slow
def test_readers_and_a_writer_for_five_minutes(tmp_path):
    start = time.monotonic()
    Stress(tmp_path).run(300)
    assert time.monotonic() - start >= 300
