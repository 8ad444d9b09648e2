"""Numbers as bytes: rounding, saturation, ranges, and the round trip's bound."""

import math
from decimal import Decimal, getcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rvcnn.errors import ShapeError, UsageError
from rvcnn.quantization import QuantizedTensor, QuantParams, dequantize, quantize
from rvcnn.quantization.pi import digits, round_ties, widened

finite = st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False)
vectors = arrays(np.float32, st.integers(1, 40), elements=finite)


def exact(x, params):
    """Nearest byte of each value in exact fractions, given the reciprocal that is multiplied by."""
    inverse = Fraction(float((1 / np.float64(params.scale)).astype(np.float32)))
    low, high = (0, 255) if params.dtype == np.uint8 else (-127, 127)
    zero = int(params.zero_point)
    products = [float(np.float32(Fraction(float(v)) * inverse)) for v in x]
    return [min(max(round(Fraction(p) + zero), low), high) for p in products]


@settings(deadline=None)
@given(vectors, st.sampled_from(["symmetric", "asymmetric"]))
def test_values_are_rounded_to_even_and_saturate(x, kind):
    largest = np.abs(x).max()
    params = getattr(QuantParams, kind)(-largest / 3, largest / 2)
    np.testing.assert_array_equal(quantize(x, params), exact(x, params))


@settings(deadline=None)
@given(vectors, st.sampled_from(["symmetric", "asymmetric"]))
def test_a_round_trip_is_within_half_a_step_and_keeps_zero(x, kind):
    params = getattr(QuantParams, kind)(x.min(), x.max())
    back = params.round_trip(x)
    step = np.float64(params.scale)
    slack = 1e-6 * 255 * step + 1e-37  # of float32 products, at most 255 steps from 0
    assert np.abs(back.astype(np.float64) - x).max() <= step / 2 + slack
    assert params.round_trip(np.zeros(1))[0] == 0


def test_any_shape():
    params = QuantParams.asymmetric(-1.0, 1.0)
    for shape in ((), (0,), (3,), (2, 0, 3), (1, 2, 3, 4)):
        x = np.full(shape, 0.5)
        assert quantize(x, params).shape == params.round_trip(x).shape == shape


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 0.004, 3e-5, -7e8, 1e-40])
@pytest.mark.parametrize("kind", ["symmetric", "asymmetric"])
def test_constant_tensors_come_back(value, kind):
    x = np.full(5, value, np.float32)
    params = getattr(QuantParams, kind)(x.min(), x.max())
    assert np.abs(params.round_trip(x) - x).max() <= max(float(params.scale) / 2, 1e-38)
    assert params.round_trip(x)[0] == pytest.approx(value, rel=2e-7, abs=2e-38)


def test_a_range_on_one_side_of_zero_is_widened_to_it():
    above, below = QuantParams.asymmetric(2.0, 5.1), QuantParams.asymmetric(-5.1, -2.0)
    assert (int(above.zero_point), int(below.zero_point)) == (0, 255)
    np.testing.assert_allclose([above.scale, below.scale], 5.1 / 255, rtol=1e-6)


def test_zero_points_between_the_ends():
    params = QuantParams.asymmetric(-1.0, 2.0)
    assert int(params.zero_point) == 85
    np.testing.assert_array_equal(quantize([-1, -0.5, 0, 2, 9], params), [0, 42, 85, 255, 255])
    assert dequantize(np.uint8([85]), params)[0] == 0


def test_halves_go_to_even_beside_an_odd_zero_point():
    params = QuantParams(1.0, 3)
    halves = np.float32([-2.5, -1.5, -0.5, 0.5, 1.5])
    np.testing.assert_array_equal(quantize(halves, params), [0, 2, 2, 4, 4])


def test_what_is_no_number():
    wide = QuantParams.asymmetric(-1.0, 1.0)
    np.testing.assert_array_equal(quantize([np.nan, np.inf, -np.inf], wide), [0, 255, 0])
    narrow = QuantParams.symmetric(-1.0, 1.0)
    np.testing.assert_array_equal(quantize([np.nan, np.inf, -np.inf], narrow), [-127, 127, -127])
    for low, high in ((np.nan, 1), (0, np.inf), (-np.inf, 0)):
        with pytest.raises(UsageError, match="finite"):
            QuantParams.asymmetric(low, high)


def test_each_channel_has_its_own():
    low, high = np.array([-1.0, 0.0, -0.004]), np.array([1.0, 0.0, 0.004])
    params = QuantParams.asymmetric(low, high)
    x = np.array([[0.5, 0.0, 0.002], [-1.0, 0.0, -0.004]], np.float32)
    for c in range(3):
        alone = QuantParams.asymmetric(low[c], high[c])
        np.testing.assert_array_equal(quantize(x, params)[:, c], quantize(x[:, c], alone))
    with pytest.raises(ShapeError, match="3 channels"):
        quantize(np.zeros((3, 2)), params)


def test_arguments_that_cannot_be():
    for arguments in ((0.0, 0), (-1.0, 0), (np.nan, 0), (np.inf, 0), (1.0, 256), (1.0, -1)):
        with pytest.raises(UsageError):
            QuantParams(*arguments)
    with pytest.raises(UsageError, match="int16"):
        QuantParams(1.0, 0, np.int16)
    with pytest.raises(UsageError, match="below its start"):
        QuantParams.asymmetric(1.0, 0.0)
    with pytest.raises(UsageError, match="int8"):
        dequantize(np.int8([1]), QuantParams(1.0, 0))


def test_quantize_is_what_the_kernel_computes():
    from rvcnn.kernels import reference_u8

    x = np.random.default_rng(1).normal(0, 3, (7, 5, 24)).astype(np.float32)
    params = QuantParams.asymmetric(x.min((0, 1)) / 2, x.max((0, 1)) / 2)
    expected = reference_u8.quantize(x, params.scale, params.zero_point)
    np.testing.assert_array_equal(quantize(x, params), expected)
    np.testing.assert_array_equal(
        dequantize(expected, params),
        reference_u8.dequantize(expected, params.scale, params.zero_point),
    )


# --- weights ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(arrays(np.float32, (3, 2, 3, 3), elements=st.floats(-100, 100, width=32)))
def test_weights_are_within_half_a_step_of_their_channel(weights):
    held = QuantizedTensor.from_weights_per_channel(weights)
    largest = np.abs(weights).max((1, 2, 3)).astype(np.float64)
    bound = largest / 127 / 2 * (1 + 1e-5) + 1e-37
    lost = np.abs(held.dequantize().astype(np.float64) - weights).max((1, 2, 3))
    assert (lost <= bound).all()
    assert held.values.dtype == np.int8 and held.values.shape == weights.shape


def test_a_channel_of_small_weights_keeps_its_own_scale():
    weights = np.random.default_rng(2).normal(0, 1, (2, 50)).astype(np.float32)
    weights[1] *= 0.004 / np.abs(weights[1]).max()
    held = QuantizedTensor.from_weights_per_channel(weights)
    np.testing.assert_array_equal(np.abs(held.values).max(1), [127, 127])
    np.testing.assert_allclose(held.scale[1], 0.004 / 127, rtol=1e-6)


def test_constant_and_zero_channels_of_weights():
    weights = np.stack([np.full(4, v, np.float32) for v in (0.0, 0.25, -1.0)])
    held = QuantizedTensor.from_weights_per_channel(weights)
    np.testing.assert_array_equal(held.values[:, 0], [0, 127, -127])
    np.testing.assert_allclose(held.dequantize(), weights, rtol=1e-6)


def test_weights_that_cannot_be():
    with pytest.raises(UsageError, match="finite"):
        QuantizedTensor.from_weights_per_channel([[1.0, np.nan]])
    with pytest.raises(ShapeError, match="output channels"):
        QuantizedTensor.from_weights_per_channel(np.zeros((0, 3)))
    with pytest.raises(UsageError, match="127"):
        QuantizedTensor(np.int8([[-128]]), np.float32([1]))
    with pytest.raises(ShapeError, match="scales"):
        QuantizedTensor(np.int8([[1]]), np.float32([1, 2]))
    with pytest.raises(UsageError, match="ties"):
        QuantizedTensor.from_weights_per_channel([[1.0]], ties="odd")


# --- pi -----------------------------------------------------------------------------------------


def test_the_pi_factor_is_what_is_documented():
    assert widened(1.0) == 1 + (math.pi - 3) / 256
    assert widened(0.004 / 127) / (0.004 / 127) == pytest.approx(1.000553, abs=1e-6)
    assert widened(2.0, bits=4) == 2 * (1 + (math.pi - 3) / 16)


def test_binary_digits_of_pi():
    getcontext().prec = 60
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
    fraction, expected = pi - 3, []
    for _ in range(150):
        fraction *= 2
        expected.append(int(fraction))
        fraction -= int(fraction)
    np.testing.assert_array_equal(digits(150), expected)
    assert len(digits(0)) == 0


def test_ties_follow_the_digits_and_nothing_else_does():
    x = np.arange(-20, 20) + 0.5
    np.testing.assert_array_equal(round_ties(x), np.floor(x) + digits(40))
    others = np.linspace(-3, 3, 77) + 0.013
    np.testing.assert_array_equal(round_ties(others), np.rint(others))
    weights = np.float32([[127, 0.5, 1.5, 2.5, -0.5, 7.2]])
    even = QuantizedTensor.from_weights_per_channel(weights).values
    pi = QuantizedTensor.from_weights_per_channel(weights, ties="pi").values
    np.testing.assert_array_equal(even, [[127, 0, 2, 2, 0, 7]])
    np.testing.assert_array_equal(pi, [[127, 0, 1, 3, -1, 7]])
