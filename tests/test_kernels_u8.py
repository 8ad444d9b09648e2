"""Kernels on bytes: what they store is their integer reference, bit for bit."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernels_list_u8 import PROBLEMS, calls_of_plans
from kernels_memory import run_guarded
from kernels_problems_u8 import Zeros, conv2d, depthwise
from test_kernels_any_shape import fits, gap, pair, side, small

from rvcnn import kernels
from rvcnn.kernels import FUSED_U8, Store, _divide, functional_u8, run
from rvcnn.kernels import reference_u8 as reference
from rvcnn.kernels.requantise import LARGEST_BIAS, LONGEST

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True)


def check(problem):
    np.testing.assert_array_equal(problem.got(), problem.want(), err_msg=problem.name, strict=True)


def by_name(problem):
    return problem.name


def test_problem_names_are_unique():
    assert len({p.name for p in PROBLEMS}) == len(PROBLEMS)


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_equals_the_reference(problem):
    check(problem)


def test_results_are_spread_over_the_bytes():
    """A problem whose results all saturate would show nothing."""
    for problem in PROBLEMS:
        got = problem.got()
        if got.dtype == np.uint8 and got.size > 300 and not problem.name.startswith("worst"):
            assert ((got > 0) & (got < 255)).mean() > 0.1, problem.name
            assert len(np.unique(got)) > 30, problem.name


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_guard_bands_and_inputs_stay_as_they_are(problem, monkeypatch):
    monkeypatch.setattr(functional_u8, "run", run_guarded)
    check(problem)


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_divided_calls_in_any_order_give_the_same_bytes(problem, monkeypatch):
    def run_divided(calls):
        run([part for call in calls for part in _divide.divide(call, 3)][::-1])

    monkeypatch.setattr(_divide, "SMALLEST", 1)
    monkeypatch.setattr(functional_u8, "run", run_divided)
    check(problem)


@pytest.mark.parametrize("name", calls_of_plans())
def test_calls_that_plans_make(name):
    calls, out, want = calls_of_plans()[name]
    run_guarded(calls)
    np.testing.assert_array_equal(out, want)


# --- any shape ----------------------------------------------------------------------------------

byte = st.integers(0, 255)


@SETTINGS
@given(
    size=st.tuples(side, side),
    group_channels=st.integers(1, 9),
    group_outputs=st.integers(1, 40),
    groups=st.sampled_from([1, 1, 1, 2, 3, 8]),
    kernel=st.tuples(small, small),
    stride=pair,
    padding=st.tuples(gap, gap),
    dilation=pair,
    name=st.sampled_from(FUSED_U8),
    zeros=st.builds(Zeros, byte, byte),
    real=st.sampled_from([(False, False), (True, False), (True, True)]),
)
def test_convolution(size, group_channels, group_outputs, groups, name, zeros, real, **window):
    assume(fits(size, window["kernel"], window["padding"], window["dilation"]))
    channels, outputs = groups * group_channels, groups * group_outputs
    kernel = window.pop("kernel")
    check(conv2d(size, channels, outputs, kernel, name, *real, zeros, groups=groups, **window))


@SETTINGS
@given(
    size=st.tuples(side, side),
    channels=st.integers(2, 50),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    padding=st.tuples(gap, gap),
    name=st.sampled_from(FUSED_U8),
    zeros=st.builds(Zeros, byte, byte),
    per_channel=st.booleans(),
)
def test_depthwise(size, channels, kernel, stride, padding, name, zeros, per_channel):
    kernel = (kernel, kernel)
    assume(fits(size, kernel, padding))
    check(
        depthwise(size, channels, kernel, name, zeros, per_channel, stride=stride, padding=padding)
    )


# --- extremes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 5, 64, 1000, LONGEST])
@pytest.mark.parametrize(("x", "weight"), [(255, 127), (255, -127), (255, -128), (0, 127)])
def test_sums_do_not_saturate_at_16_bits(size, x, weight):
    """Stored as float32, which is exact for one product a power of two."""
    bytes_in = np.full((2, size), x, np.uint8)
    weights = np.full((20, size), weight, np.int8)
    store = Store.of(weights, np.full(20, 2.0**-10), np.zeros(20), 0.5, 0)
    want = np.float32(x * weight * size) * np.float32(2.0**-11)
    got = kernels.quantized_linear(bytes_in, weights, store)
    np.testing.assert_array_equal(got, np.full((2, 20), want))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_bias_beyond_32_bits_saturates_on_its_own_side(sign, depthwise):
    """Beside the longest sums of the other sign, and of the same."""
    size = 25 if depthwise else 2000
    for weight in (127, -127):
        weights = np.full((20, size), weight, np.int8)
        args = (np.full(20, 1e-12), np.full(20, 3.0 * sign), 1e-3, 0, (1e-7, 100))
        if depthwise:
            weights = weights.reshape(20, 5, 5)
            store = Store.of(weights, *args)
            x = np.full((6, 8, 20), 255, np.uint8)
            got = kernels.quantized_depthwise_conv2d(x, weights, store)
        else:
            store = Store.of(weights, *args)
            got = kernels.quantized_linear(np.full((3, size), 255, np.uint8), weights, store)
        assert (np.abs(store.bias) == LARGEST_BIAS).all()
        assert (got == (255 if sign > 0 else 0)).all() or np.ptp(got) == 0
        assert np.sign(int(got.flat[0]) - 100) == sign


def test_an_outputs_zero_point_at_either_end():
    weights = np.eye(16, dtype=np.int8)
    x = np.arange(256, dtype=np.uint8).repeat(16).reshape(-1, 16)
    for zero in (0, 255):
        store = Store.of(weights, np.ones(16), np.zeros(16), 1, 128, (0.5, zero))
        want = np.clip(2 * (np.arange(256) - 128) + zero, 0, 255)
        np.testing.assert_array_equal(
            kernels.quantized_linear(x, weights, store), want.repeat(16).reshape(-1, 16)
        )


def test_halves_go_to_the_even_byte():
    """A layer rounds its steps, then adds the zero point; what is quantised is rounded once."""
    weights, x = np.eye(16, dtype=np.int8), np.arange(256, dtype=np.uint8).repeat(16)
    for zero in (0, 1, 100, 101):
        store = Store.of(weights, np.ones(16), np.zeros(16), 1, 0, (2, zero))
        want = np.clip(np.rint(np.arange(256) / 2) + zero, 0, 255).repeat(16)
        got = kernels.quantized_linear(x.reshape(-1, 16), weights, store)
        np.testing.assert_array_equal(got.ravel(), want)
        want = np.clip(np.rint(np.arange(256) / 2 + zero), 0, 255)
        np.testing.assert_array_equal(kernels.quantize(np.arange(256) / 2, 1, zero), want)


def test_special_values_are_quantised():
    x = np.float32([np.nan, -np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-45, -0.0] * 5)
    with np.errstate(over="ignore"):
        for zero in (0, 7, 255):
            want = np.tile(np.uint8([0, 0, 255, 0, 255, 0, zero, zero]), 5)
            np.testing.assert_array_equal(kernels.quantize(x, 1e-3, zero), want)
            np.testing.assert_array_equal(reference.quantize(x, 1e-3, zero), want)


@pytest.mark.parametrize("zero", [127.5, 123.675, 116.28, 103.53])
@pytest.mark.parametrize("shape", [(256,), (256, 1)])
def test_normalised_pixels_become_the_pixels_they_were(zero, shape):
    pixels = np.arange(256, dtype=np.uint8).reshape(shape)
    scale = 1 / (255 * 0.229)
    normal = ((pixels - np.float64(zero)) * scale).astype(np.float32)
    np.testing.assert_array_equal(kernels.quantize(normal, scale, zero), pixels)
    bound = 2**-22 * np.abs(normal).max()
    np.testing.assert_allclose(kernels.dequantize(pixels, scale, zero), normal, rtol=0, atol=bound)


def test_every_byte_survives_being_real_for_a_while():
    rng = np.random.default_rng(0)
    q = np.arange(256, dtype=np.uint8)[:, None].repeat(33, 1)
    scale, zero = rng.uniform(1e-6, 1e3, 33), rng.integers(0, 256, 33)
    real = kernels.dequantize(q, scale, zero)
    np.testing.assert_array_equal(kernels.quantize(real, scale, zero), q)


def test_a_mean_of_the_largest_map():
    x = np.full((2048, 4096, 1), 255, np.uint8)
    assert kernels.quantized_global_avg_pool(x, 0.5, 55).tolist() == [100.0]
    with pytest.raises(ValueError, match="pixels"):
        kernels.quantized_global_avg_pool(np.zeros((2049, 4096, 1), np.uint8), 1)


def test_a_layer_of_one_output_by_hand():
    """Worked by hand: zero points, a border, a bias, one activation."""
    x = np.uint8([[[10], [12]], [[14], [8]]])
    weights = np.int8([[[[2], [-1]]]])  # one output, one row of two taps
    store = Store.of(weights, [0.5], [3.0], 0.1, 10, (0.05, 20), "relu")
    # real x: 0, .2 / .4, -.2 and 0 in the border; weights 1 and -.5: 3 + x0 - x1 / 2
    real = np.array([[3.0 + 0.0 - 0.1, 3.0 + 0.2 - 0.0], [3.0 + 0.4 + 0.1, 3.0 - 0.2 - 0.0]])
    got = kernels.quantized_conv2d(x, weights, store, border=10, padding=((0, 0), (0, 1)))
    np.testing.assert_array_equal(got[..., 0], np.rint(real / 0.05 + 20))


# --- arrays of any layout, and what is refused --------------------------------------------------


def test_inputs_of_any_layout():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6, 7, 16), dtype=np.uint8)
    weights = rng.integers(-127, 128, (10, 3, 3, 8), dtype=np.int8)
    store = Store.of(weights, np.full(10, 1e-3), np.zeros(10), 0.02, 100, (0.05, 100))
    want = reference.quantized_conv2d(x[::2, ::-1, ::2], weights, store)
    for convert in (np.asarray, np.asfortranarray):
        got = kernels.quantized_conv2d(convert(x)[::2, ::-1, ::2], convert(weights), store)
        np.testing.assert_array_equal(got, want)
    real = rng.standard_normal((8, 5, 6))
    want = reference.quantize(real[::2, ::-1], 0.03, 9)
    for view in (real[::2, ::-1], np.asfortranarray(real[::2, ::-1])):
        got = kernels.quantize(view, 0.03, 9)
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(
            kernels.dequantize(np.asfortranarray(got), 0.03, 9), reference.dequantize(want, 0.03, 9)
        )


def test_of_nothing_there_is_nothing():
    assert kernels.quantize(np.empty((0, 4)), 1).shape == (0, 4)
    assert kernels.dequantize(np.empty((0, 4), np.uint8), 1).dtype == np.float32
    assert kernels.quantize(np.float32(2.0), 0.5, 1).tolist() == 5


X, W = np.ones((4, 4, 3), np.uint8), np.ones((8, 1, 1, 3), np.int8)
EIGHT = Store.of(W, np.ones(8), np.zeros(8), 1, 0, (1, 0))
REAL = Store.of(W, np.ones(8), np.zeros(8), 1, 0)
BAD_CALLS = {
    "float input": lambda: kernels.quantized_conv2d(X.astype(np.float32), W, EIGHT),
    "signed input": lambda: kernels.quantized_conv2d(X.astype(np.int8), W, EIGHT),
    "unsigned weights": lambda: kernels.quantized_conv2d(X, W.astype(np.uint8), EIGHT),
    "channels": lambda: kernels.quantized_conv2d(X, np.ones((8, 1, 1, 4), np.int8), EIGHT),
    "groups": lambda: kernels.quantized_conv2d(X, W, EIGHT, groups=3),
    "no groups": lambda: kernels.quantized_conv2d(X, W, EIGHT, groups=0),
    "store": lambda: kernels.quantized_conv2d(X, np.ones((9, 1, 1, 3), np.int8), EIGHT),
    "border": lambda: kernels.quantized_conv2d(X, W, EIGHT, border=256),
    "borders": lambda: kernels.quantized_conv2d(X, W, EIGHT, border=np.zeros(4)),
    "too small": lambda: kernels.quantized_conv2d(X, np.ones((8, 5, 1, 3), np.int8), EIGHT),
    "padding": lambda: kernels.quantized_conv2d(X, W, EIGHT, padding=-1),
    "dimensions": lambda: kernels.quantized_conv2d(X[0], W, EIGHT),
    "residual of bytes": lambda: kernels.quantized_conv2d(X, W, EIGHT, residual=np.ones((4, 4, 8))),
    "residual": lambda: kernels.quantized_conv2d(X, W, REAL, residual=np.ones((4, 4, 7))),
    "too long": lambda: kernels.quantized_linear(
        np.ones((1, 32769), np.uint8), np.ones((8, 32769), np.int8), REAL
    ),
    "scale": lambda: kernels.quantize(np.ones(3), 0.0),
    "infinite scale": lambda: kernels.quantize(np.ones(3), np.inf),
    "scale that is none": lambda: kernels.dequantize(X, np.nan),
    "zero point": lambda: kernels.quantize(np.ones(3), 1.0, 256),
    "scales": lambda: kernels.quantize(np.ones((2, 3)), np.ones(2)),
    "bytes": lambda: kernels.dequantize(np.ones(3), 1.0),
    "mean": lambda: kernels.quantized_global_avg_pool(X.astype(np.float32), 1.0),
    "factors": lambda: kernels.quantized_scale(X, np.ones(4), (1, 0), (1, 0)),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_read(name):
    with pytest.raises((ValueError, TypeError)):
        BAD_CALLS[name]()
