"""One scale or many: the choice must be what the sums themselves say."""

import numpy as np
import pytest

from rvcnn.quantization import CALIBRATIONS, QuantizedTensor
from rvcnn.quantization.equalise import FEWEST, choose, folded
from rvcnn.quantization.histograms import Histograms

MSE = CALIBRATIONS["mse"]


def distribution(x):
    """Histograms of (rows, C) values."""
    values = Histograms(x.min(0), x.max(0))
    values.add(x[None])
    return values


def lost(x, weight, params):
    """Variance of what a layer's sums lose by rounding both its input and its weights."""
    scale = params.scale if params.per_channel else np.ones(weight.shape[1], np.float32)
    held = folded(
        QuantizedTensor.from_weights_per_channel(folded(weight, scale)).dequantize(), 1 / scale
    )
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    return (params.round_trip(x).astype(np.float64) @ held.T - exact).var(0).sum()


def case(sizes, weights, seed=0, rows=FEWEST, offset=0.0):
    """Input values of unlike channels, and weights of unlike columns."""
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(offset, 1, (rows, len(sizes))), 0) * sizes
    weight = rng.normal(0, 1, (24, len(sizes))) * weights
    return x.astype(np.float32), weight.astype(np.float32)


ONE = np.ones(16)
UNLIKE = np.geomspace(0.02, 5, 16)


@pytest.mark.parametrize(
    ("sizes", "weights"),
    [(ONE, ONE), (UNLIKE, ONE), (UNLIKE, 1 / UNLIKE), (ONE, UNLIKE), (np.sqrt(UNLIKE), 1 / UNLIKE)],
)
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_the_choice_is_the_one_that_loses_least(sizes, weights, offset):
    x, weight = case(sizes, weights, offset=offset)
    values = distribution(x)
    picked = choose(MSE, values, [weight])
    losses = [lost(x, weight, p) for p in (MSE.shared(values), MSE.by_channel(values), picked)]
    assert losses[2] <= 1.1 * min(losses)


def test_both_choices_are_made():
    x, weight = case(UNLIKE, 1 / UNLIKE)
    assert choose(MSE, distribution(x), [weight]).per_channel
    x, weight = case(UNLIKE, ONE / UNLIKE**-2)  # what matters is in the channels of large values
    shared, alone = (lost(x, weight, p(distribution(x))) for p in (MSE.shared, MSE.by_channel))
    picked = choose(MSE, distribution(x), [weight])
    assert lost(x, weight, picked) <= 1.1 * min(shared, alone)


def test_a_map_that_no_layer_mixes_has_scales_by_channel():
    x, _ = case(UNLIKE, ONE)
    picked = choose(MSE, distribution(x), [])
    np.testing.assert_array_equal(picked.scale, MSE.by_channel(distribution(x)).scale)


def test_few_values_say_little_of_each_channel():
    x, weight = case(UNLIKE, 1 / UNLIKE, rows=FEWEST - 1)
    assert not choose(MSE, distribution(x), [weight]).per_channel


def test_several_readers_are_heard():
    x, weight = case(UNLIKE, 1 / UNLIKE)
    other = (weight * UNLIKE**3 * 100).astype(np.float32)
    values = distribution(x)
    picked = choose(MSE, values, [weight, other])
    total = [
        lost(x, weight, p) + lost(x, other, p)
        for p in (MSE.shared(values), MSE.by_channel(values), picked)
    ]
    assert total[2] <= 1.1 * min(total)


def test_channels_are_always_covered():
    x, weight = case(UNLIKE, 1 / np.sqrt(UNLIKE))
    x[:, ::2] -= 0.3 * UNLIKE[::2].astype(np.float32)
    widest = CALIBRATIONS["minmax"]
    picked = choose(widest, distribution(x), [weight])
    assert np.abs(picked.round_trip(x) - x).max(0) == pytest.approx(
        np.zeros(16), abs=float(picked.scale.max())
    )


def test_folding_leaves_spatial_weights_in_place():
    weight = np.random.default_rng(1).normal(0, 1, (4, 3, 5, 5))
    scale = np.array([2.0, 3.0, 5.0])
    for c in range(3):
        np.testing.assert_array_equal(folded(weight, scale)[:, c], weight[:, c] * scale[c])
