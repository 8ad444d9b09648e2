"""The references on bytes, held to plain integer loops, the mathematical definition and PyTorch."""

from fractions import Fraction

import numpy as np
import pytest
from kernels_list_u8 import PROBLEMS
from test_kernels_reference import CONVOLUTIONS

from rvcnn.kernels import FUSED_U8, SMALLEST_GATE_STEP, Store
from rvcnn.kernels import reference as float_reference
from rvcnn.kernels import reference_u8 as reference

SCALES = {"x": 0.02, "out": 0.05}
ZEROS = {"x": 100, "out": 120}


def sums_by_loops(x, weights, border, stride, padding, dilation, groups):
    """Sums of products, (byte - zero point) times weight, as Python integers."""
    (top, _), (left, _) = padding
    height, width, _ = x.shape
    n, kh, kw, depth = weights.shape
    rows, columns = (
        (size + sum(side) - d * (k - 1) - 1) // s + 1
        for size, side, d, k, s in zip(
            x.shape[:2], padding, dilation, (kh, kw), stride, strict=True
        )
    )
    sums = np.zeros((rows, columns, n), np.int64)
    for y, z, o in np.ndindex(sums.shape):
        first = o // (n // groups) * depth
        for i, j, c in np.ndindex(kh, kw, depth):
            row, column = (
                y * stride[0] + i * dilation[0] - top,
                z * stride[1] + j * dilation[1] - left,
            )
            inside = 0 <= row < height and 0 <= column < width
            byte = int(x[row, column, first + c]) if inside else border
            sums[y, z, o] += (byte - border) * int(weights[o, i, j, c])
    return sums


def case(name):
    h, w, c_in, c_out, kh, kw, *window, groups = CONVOLUTIONS[name]
    stride, padding, dilation = window
    rng = np.random.default_rng(len(name))
    x = rng.integers(0, 256, (h, w, c_in), dtype=np.uint8)
    weights = rng.integers(-127, 128, (c_out, kh, kw, c_in // groups), dtype=np.int8)
    scale = rng.uniform(0.5, 1.5, c_out) * 0.03 / np.sqrt(weights[0].size)
    return x, weights, scale, rng.standard_normal(c_out), (stride, padding, dilation, groups)


def exact_result(name, activation):
    """Real results as the layer is defined, in float64, of sums that are exact."""
    x, weights, scale, bias, window = case(name)
    sums = sums_by_loops(x, weights, ZEROS["x"], *window)
    real = sums * (scale * SCALES["x"]) + bias
    return float_reference.ACTIVATIONS[activation](real)


def gate_step(step):
    """What a hard-swish is computed in steps of: the high half of their products are steps."""
    return np.sqrt(6 * step / 2**15)


@pytest.mark.parametrize("activation", FUSED_U8)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_is_the_definition_within_half_a_step(name, activation):
    x, weights, scale, bias, window = case(name)
    want = exact_result(name, activation)
    args = (weights, scale, bias, SCALES["x"], ZEROS["x"])
    # Half a unit of the sums for the bias, enlarged by hard_swish; seven roundings to float32.
    slack = 1.5 * 0.5 * scale * SCALES["x"] + 8 * 2.0**-24 * np.abs(want).max()
    real = reference.quantized_conv2d(
        x, weights, Store.of(*args, activation=activation), ZEROS["x"], *window
    )
    assert real.dtype == np.float32
    assert (np.abs(real - want) <= slack).all()
    out = (SCALES["out"], ZEROS["out"])
    got = reference.quantized_conv2d(
        x, weights, Store.of(*args, out, activation), ZEROS["x"], *window
    )
    assert got.dtype == np.uint8
    steps = np.clip(want / SCALES["out"] + ZEROS["out"], 0, 255)
    if activation == "hard_swish":
        # Of the gate's steps, half a one of the value and of 3, and half of 6 a sixth as large.
        slack = slack + (1.5 + 255 * SCALES["out"] / 6 * 2) * 0.5 * gate_step(SCALES["out"])
    assert (np.abs(got - steps) <= 0.5 + slack / SCALES["out"]).all()
    assert len(np.unique(got)) > 40


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_sums_are_exact(name):
    """Without a scale, float32 results are the integers themselves."""
    x, weights, _, _, window = case(name)
    n = len(weights)
    store = Store.of(weights, np.ones(n), np.arange(n), 1, ZEROS["x"])
    got = reference.quantized_conv2d(x, weights, store, ZEROS["x"], *window)
    want = sums_by_loops(x, weights, ZEROS["x"], *window) + np.arange(n)
    assert np.abs(want).max() < 2**24
    np.testing.assert_array_equal(got, want)


def test_zero_points_of_their_own_for_every_channel():
    """Of the input, which need not be whole: what stands in the border is the nearest byte."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    weights = rng.integers(-127, 128, (6, 1, 1, 3), dtype=np.int8)
    zero, scale = np.array([123.675, 116.28, 103.53]), rng.uniform(0.5, 1.5, 6) * 0.01
    store = Store.of(weights, scale, np.zeros(6), 0.02, zero.reshape(1, 1, 1, 3))
    got = reference.quantized_conv2d(x, weights, store)
    want = np.einsum("yxc,nc->yxn", x - zero, weights[:, 0, 0].astype(np.float64)) * scale * 0.02
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=0.51 * scale.max() * 0.02)


def test_depthwise_parameters_of_their_own_for_every_channel():
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (6, 7, 5), dtype=np.uint8)
    weights = rng.integers(-127, 128, (5, 3, 3), dtype=np.int8)
    x_scale, x_zero = rng.uniform(0.01, 0.03, 5), rng.integers(0, 256, 5)
    out_scale, out_zero = rng.uniform(0.02, 0.1, 5), rng.integers(60, 200, 5)
    scale, bias = rng.uniform(0.005, 0.02, 5), rng.standard_normal(5)
    store = Store.of(weights, scale, bias, x_scale, x_zero, (out_scale, out_zero))
    got = reference.quantized_depthwise_conv2d(x, weights, store, x_zero, 2, 1)
    real = float_reference.depthwise_conv2d(
        (x - x_zero.astype(np.float64)) * x_scale, weights * scale[:, None, None], bias, 2, 1
    )
    steps = np.clip(real / out_scale + out_zero, 0, 255)
    slack = 0.5 + 0.5 * scale * x_scale / out_scale + 1e-4
    assert (np.abs(got - steps) <= slack).all()
    assert ((steps > 0) & (steps < 255)).mean() > 0.5


@pytest.mark.parametrize("step", [SMALLEST_GATE_STEP, 1e-3, 0.05, 1.0, 50.0])
def test_a_hard_swish_in_steps_of_any_size(step):
    """Over all of its bend, by a weight of one."""
    x = np.arange(256, dtype=np.uint8)[:, None]
    store = Store.of(np.ones((1, 1), np.int8), [1.0], [0.0], 0.05, 128, (step, 50), "hard_swish")
    real = (np.arange(256) - 128) * 0.05
    want = np.clip(real * np.clip(real / 6 + 0.5, 0, 1) / step + 50, 0, 255)
    off = np.abs(reference.quantized_linear(x, np.ones((1, 1), np.int8), store)[:, 0] - want)
    slack = (1.5 + np.abs(real) / 6 * 2) * 0.5 * gate_step(step) / step
    assert (off <= 0.5 + slack + 1e-4).all()


def test_a_hard_swish_in_steps_too_small_is_refused():
    with pytest.raises(ValueError, match="hard-swish"):
        Store.of(np.ones((1, 1), np.int8), [1.0], [0.0], 1, 0, (1e-4, 0), "hard_swish")


def test_linear_is_a_product_of_matrices():
    rng = np.random.default_rng(2)
    x = rng.integers(0, 256, (7, 90), dtype=np.uint8)
    weights = rng.integers(-127, 128, (11, 90), dtype=np.int8)
    store = Store.of(weights, np.ones(11), np.zeros(11), 1, 0)
    residual = rng.integers(-1000, 1000, (7, 11)).astype(np.float32)
    got = reference.quantized_linear(x, weights, store, residual)
    np.testing.assert_array_equal(got, x.astype(np.int64) @ weights.T.astype(np.int64) + residual)


def nearest_even(value):
    """The byte nearest to an exact number."""
    return min(max(round(value), 0), 255)


@pytest.mark.parametrize("zero", [0, 3, 128, 255])
def test_quantise_is_the_nearest_byte(zero):
    """A scale that is a power of two leaves nothing but the rounding."""
    x = np.random.default_rng(zero).standard_normal(500).astype(np.float32)
    x = np.concatenate([x, np.arange(-300, 300, dtype=np.float32) / 128])
    want = [nearest_even(Fraction(float(v)) * 64 + zero) for v in x]
    np.testing.assert_array_equal(reference.quantize(x, 1 / 64, zero), want)


def test_bytes_are_read_back_by_their_definition():
    q, zero, scale = np.arange(256, dtype=np.uint8), 77, 0.03
    np.testing.assert_allclose(
        reference.dequantize(q, scale, zero), (np.arange(256.0) - zero) * scale, rtol=2e-7
    )


def test_mean_and_scale_are_their_definition():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 256, (7, 9, 12), dtype=np.uint8)
    scale, zero = rng.uniform(0.01, 0.1, 12), rng.integers(0, 256, 12)
    real = (x.astype(np.float64) - zero) * scale
    got = reference.quantized_global_avg_pool(x, scale, zero)
    np.testing.assert_allclose(got, real.mean((0, 1)), rtol=0, atol=4 * 2.0**-24 * 255 * 0.1)
    factors = rng.uniform(0, 1, 12).astype(np.float32)
    out = rng.uniform(0.03, 0.1, 12), rng.integers(0, 256, 12)
    got = reference.quantized_scale(x, factors, (scale, zero), out)
    steps = np.clip(real * factors / out[0] + out[1], 0, 255)
    assert (np.abs(got - steps) <= 0.5 + 255 * 2.0**-14 + 1e-4).all()


def test_factors_end_below_four():
    x = np.full((1, 1, 2), 130, np.uint8)
    got = reference.quantized_scale(x, [3.9, 100], (1.0, 100), (1.0, 0))
    assert got.tolist() == [[[117, 120]]]


def test_nothing_leaves_the_bytes_or_the_range_of_an_activation():
    for problem in PROBLEMS:
        if problem.function in ("quantize", "quantized_scale"):
            assert problem.want().dtype == np.uint8
    x = np.full((1, 64), 255, np.uint8)
    for sign, activation, want in ((1, "relu6", 6), (-1, "relu", 0), (-1, "hard_swish", 0)):
        weights = np.full((1, 64), 127 * sign, np.int8)
        store = Store.of(weights, [1.0], [0.0], 1.0, 0, (0.05, 20), activation)
        assert reference.quantized_linear(x, weights, store) == 20 + want / 0.05


# --- PyTorch ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_quantise_equals_torch(torch):
    x = (3 * np.random.default_rng(0).standard_normal((40, 30))).astype(np.float32)
    scale, zero = np.random.default_rng(1).uniform(0.01, 0.04, 30), np.arange(30) * 8
    given = torch.from_numpy(x)
    whole = torch.quantize_per_tensor(given, 0.03, 100, torch.quint8)
    np.testing.assert_array_equal(reference.quantize(x, 0.03, 100), whole.int_repr().numpy())
    np.testing.assert_array_equal(
        reference.dequantize(whole.int_repr().numpy(), 0.03, 100), whole.dequantize().numpy()
    )
    each = torch.quantize_per_channel(
        given, torch.from_numpy(scale), torch.from_numpy(zero), 1, torch.quint8
    )
    np.testing.assert_array_equal(reference.quantize(x, scale, zero), each.int_repr().numpy())


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("activation", ["identity", "relu"])
def test_convolution_equals_torchs_quantised_one(torch, name, activation):
    """To one byte, where torch adds up the bias or rounds a half otherwise; almost nowhere."""
    x, weights, scale, bias, (stride, padding, dilation, groups) = case(name)
    weights = weights // 2  # torch's products of bytes saturate on CPUs without VNNI
    padded = np.pad(x, (*padding, (0, 0)), constant_values=ZEROS["x"])
    given = torch._make_per_tensor_quantized_tensor(
        torch.from_numpy(padded.transpose(2, 0, 1)[None].copy()), SCALES["x"], ZEROS["x"]
    )
    n = len(weights)
    kernel = torch._make_per_channel_quantized_tensor(
        torch.from_numpy(weights.transpose(0, 3, 1, 2).copy()),
        torch.from_numpy(scale),
        torch.zeros(n, dtype=torch.int64),
        0,
    )
    convolve = torch.ao.nn.quantized.functional.conv2d
    args = (stride, 0, dilation, groups)
    out = (SCALES["out"], ZEROS["out"])
    want = convolve(given, kernel, torch.from_numpy(bias).float(), *args, "zeros", *out)
    want = want.int_repr()[0].numpy().transpose(1, 2, 0)
    if activation == "relu":
        want = np.maximum(want, ZEROS["out"])
    store = Store.of(weights, scale, bias, SCALES["x"], ZEROS["x"], out, activation)
    got = reference.quantized_conv2d(
        x, weights, store, ZEROS["x"], stride, padding, dilation, groups
    )
    off = np.abs(got.astype(int) - want)
    assert off.max() <= 1 and (off > 0).mean() < 0.02
