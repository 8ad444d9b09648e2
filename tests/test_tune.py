"""Tiles chosen by measuring: kept for this machine, and no result depends on them."""

import numpy as np
import pytest

from rvcnn import create_model
from rvcnn.kernels import igemm, lanes
from rvcnn.plan import Plan
from rvcnn.tune import CANDIDATES, tune


@pytest.fixture
def shipped():
    """Leave the tiles as they were."""
    before = igemm.tiles()
    yield igemm.TILES[lanes()]
    igemm.keep_tiles(None if before == igemm.TILES[lanes()] else before)


def test_tiles_are_kept_and_forgotten(shipped):
    igemm.keep_tiles(None)
    assert igemm.tiles() == shipped
    other = {5: [(8, 4)], 1: [(8, 4)]}
    igemm.keep_tiles(other)
    assert igemm.tiles() == other
    igemm._tuned.cache_clear()
    assert igemm.tiles() == other, "another process would not find them"
    igemm.keep_tiles(None)
    assert igemm.tiles() == shipped


def test_results_do_not_depend_on_tiles(shipped):
    model = create_model()
    image = np.random.default_rng(0).standard_normal((1, 96, 75, 3)).astype(np.float32)
    results = []
    for rows, width in [(7, 16), (3, 8), (5, 4)]:
        igemm.keep_tiles({rows: [(width, 4)], 1: [(8, 4)]})
        plan = Plan(model._optimised, image.shape[1:])
        assert any(k.name.startswith(f"f32_igemm_{rows}x{width}") for k in plan.kernels())
        results.append(plan.run(image[0])[0])
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_the_fastest_is_kept(shipped, monkeypatch):
    monkeypatch.setitem(CANDIDATES, lanes(), CANDIDATES[lanes()][:1] + [(5, 2 * lanes())])
    seen = []
    trials = tune(seconds=0.05, progress=seen.append)
    assert len(seen) == len(trials) == 2
    assert trials[0].seconds <= trials[1].seconds
    assert igemm.tiles() == trials[0].table


@pytest.mark.parametrize("tuned", [False, True])
def test_interrupted_it_leaves_the_tiles_as_they_were(shipped, tuned):
    before = {5: [(8, 4)], 1: [(8, 4)]} if tuned else None
    igemm.keep_tiles(before)
    seen = []

    def interrupt(name):
        seen.append(name)
        # Killed at this moment, it would leave what is on the disk now.
        igemm._tuned.cache_clear()
        assert igemm.tiles() == (before or shipped)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(seconds=0.01, progress=interrupt)
    assert igemm.tiles() == (before or shipped)
    assert igemm._tuned_path(lanes()).exists() == tuned
