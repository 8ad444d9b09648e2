"""Ranges from distributions: against the values themselves."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvcnn.errors import UsageError
from rvcnn.quantization import CALIBRATIONS, QuantParams
from rvcnn.quantization.calibrations import PERCENTILE, calibration
from rvcnn.quantization.histograms import BINS, Histograms


def gather(*maps):
    """Histograms of maps, as a recorder makes them."""
    low = np.min([m.min((0, 1)) for m in maps], axis=0)
    high = np.max([m.max((0, 1)) for m in maps], axis=0)
    values = Histograms(low, high)
    for m in maps:
        values.add(m)
    return values


def chosen(name, values, per_channel):
    """Parameters by a calibration's name."""
    calibration = CALIBRATIONS[name]
    return calibration.by_channel(values) if per_channel else calibration.shared(values)


def error(x, params):
    """Mean square that a round trip changes, by the last axis or of all."""
    squares = (params.round_trip(x).astype(np.float64) - x) ** 2
    return squares.reshape(-1, x.shape[-1]).mean(0) if params.per_channel else squares.mean()


def heavy_tailed(seed, shape=(200, 100, 6)):
    """Values as an activation leaves them: many zeros, few large."""
    x = np.random.default_rng(seed).standard_t(4, shape).astype(np.float32)
    return np.maximum(x, 0) * np.float32([0.01, 1, 3, 10, 100, 0])


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("name", CALIBRATIONS)
def test_error_of_the_histogram_is_that_of_the_values(name, per_channel):
    x = heavy_tailed(1)
    values = gather(x)
    params = chosen(name, values, per_channel)
    assert params.per_channel == per_channel
    estimate = (values if per_channel else values.pooled()).error(params)
    bins = np.float64(params.scale) * 255 / BINS  # at least: ends that were cut made steps finer
    np.testing.assert_allclose(estimate, error(x, params), rtol=0.3, atol=float(np.max(bins**2)))


@pytest.mark.parametrize("per_channel", [True, False])
def test_the_mean_squared_error_is_the_least(per_channel):
    usual = np.random.default_rng(2).uniform(-0.5, 1, (100, 200, 2)).astype(np.float32)
    outlier = usual.copy()
    outlier[0, 0], outlier[0, 1] = 3, -2
    maps = [outlier, *[usual] * 99]
    values, x = gather(*maps), np.concatenate(maps)
    least = error(x, chosen("mse", values, per_channel))
    for name in ("minmax", "percentile", "pi"):
        assert (
            least <= error(x, chosen(name, values, per_channel)) * 1.2
        ).all()  # ends are tried in steps
    assert (least < 0.6 * error(x, chosen("minmax", values, per_channel))).all()


@pytest.mark.parametrize("name", ["minmax", "mse"])
def test_channels_do_not_touch_each_other(name):
    x = heavy_tailed(3)
    together = CALIBRATIONS[name].by_channel(gather(x))
    for c in range(x.shape[2]):
        alone = CALIBRATIONS[name].by_channel(gather(x[..., c : c + 1]))
        assert together.scale[c] == alone.scale[0]


def test_min_max_covers_all_and_pi_a_little_more():
    x = heavy_tailed(4) - 1
    values = gather(x)
    widest = CALIBRATIONS["minmax"].shared(values)
    expected = QuantParams.asymmetric(x.min(), x.max())
    assert (widest.scale, widest.zero_point) == (expected.scale, expected.zero_point)
    pi = CALIBRATIONS["pi"].shared(values)
    assert float(pi.scale) == pytest.approx(
        float(widest.scale) * (1 + (math.pi - 3) / 256), rel=1e-6
    )
    assert pi.zero_point == widest.zero_point


def test_the_percentile_is_the_values_own():
    x = np.random.default_rng(5).normal(0, 1, (300, 400, 2)).astype(np.float32)
    params = CALIBRATIONS["percentile"].by_channel(gather(x))
    for c in range(2):
        low, high = np.percentile(x[..., c], [100 - PERCENTILE, PERCENTILE])
        assert 255 * params.scale[c] == pytest.approx(high - low, rel=0.01)


def test_several_maps_are_one_distribution():
    maps = [heavy_tailed(seed, (9, 7, 6)) for seed in range(5)]
    separate, joined = gather(*maps), gather(np.concatenate(maps))
    for name in CALIBRATIONS:
        for by_channel in (True, False):
            both = [chosen(name, values, by_channel).scale for values in (separate, joined)]
            np.testing.assert_array_equal(*both)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(list(CALIBRATIONS)), st.floats(-60000, 60000, width=16), st.booleans())
def test_constant_maps_come_back(name, value, per_channel):
    x = np.full((3, 4, 2), value, np.float32)
    params = CALIBRATIONS[name].by_channel(gather(x))
    lost = np.abs(params.round_trip(x) - x)
    assert lost.max() <= params.scale.max() / 2 * (1 + 1e-5)


def test_a_channel_of_tiny_values():
    x = np.random.default_rng(6).uniform(0, 1, (20, 20, 2)).astype(np.float32)
    x[..., 1] *= 0.004
    params = CALIBRATIONS["minmax"].by_channel(gather(x))
    np.testing.assert_allclose(params.scale * 255, x.max((0, 1)), rtol=1e-6)
    assert error(x, params)[1] < (0.004 / 255) ** 2


def test_spread_of_each_channel():
    maps = [
        heavy_tailed(seed, (30, 20, 6)) + np.float32([0.01, 1, 0, -3, 0, 0]) for seed in range(3)
    ]
    values, x = gather(*maps), np.concatenate(maps)
    assert values.count == 3 * 600
    np.testing.assert_allclose(values.variance(), x.var((0, 1), dtype=np.float64), rtol=0.02)


def test_what_cannot_be_calibrated():
    with pytest.raises(UsageError, match="NaN"):
        Histograms(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(UsageError, match="mse, percentile, minmax, pi"):
        calibration("entropy")
