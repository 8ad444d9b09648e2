"""Real photographs: a threshold calibrated on some finds the edits of others, and no false pair."""

import numpy as np
import pytest

import rvcnn
from rvcnn.dedup.calibrate import calibrate
from rvcnn.dedup.edits import EDITS, edited
from rvcnn.dedup.pairs import pairs_within
from rvcnn.dedup.vectors import Vectors
from rvcnn.images import decode
from rvcnn.threads import ordered_map

EVERY = 12  # of the 500 photographs, to calibrate on, and as many others to try


@pytest.fixture(scope="module")
def embedder(compiled):
    return rvcnn.Embedder()


@pytest.fixture(scope="module")
def files(data):
    return sorted((data / "images" / "imagenet500").iterdir())


@pytest.fixture(scope="module")
def calibration(files, embedder):
    return calibrate(embedder, files[::EVERY], 1e-6)


def test_no_false_pair_and_the_edits_are_found(files, data, embedder, calibration):
    others = [[file] for file in files[5::EVERY]]
    groups = [*others, sorted((data / "images" / "neardup").iterdir())]
    jobs = [(owner, file) for owner, group in enumerate(groups) for file in group]

    def versions(job):
        image = decode(job[1], min_side=embedder.preprocess.resize).image
        return [embedder.embed_one(v) for v in (image, *(edited(image, n, 7) for n in EDITS))]

    rows = np.array(list(ordered_map(versions, jobs, 2, 4)))
    owner = np.repeat([owner for owner, _ in jobs], rows.shape[1])
    found = pairs_within(Vectors.of(rows.reshape(-1, rows.shape[2])), calibration.threshold)
    assert len(found.first) > 5 * len(jobs)
    assert (owner[found.first] == owner[found.second]).all()
    own = np.einsum("id,ijd->ij", rows[:, 0], rows[:, 1:], dtype=np.float64)
    share = dict(zip(EDITS, (own >= calibration.threshold).mean(axis=0), strict=True))
    assert min(share[name] for name in ("recompression", "half size", "blur")) >= 0.95
    assert share["crop 10 %"] >= 0.8
    assert share["rotation"] < 0.8  # what --invariant is for


def test_the_calibration_says_that_it_extrapolates(calibration):
    assert calibration.pairs == calibration.pictures * (calibration.pictures - 1) // 2
    assert calibration.extrapolated and calibration.least_rate > 1e-6
    assert 0.75 < calibration.threshold < 0.9
    assert calibration.same == []
    assert calibration.closest[2] < calibration.threshold
    assert calibration.recall["recompression"] >= 0.95
