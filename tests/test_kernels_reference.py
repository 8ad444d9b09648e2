"""The NumPy references, held to numbers worked by hand, plain loops, each other and PyTorch."""

import numpy as np
import pytest

from rvcnn.kernels import reference as ref

CONVOLUTIONS = {
    # name: (H, W, Cin, Cout, kh, kw, stride, padding, dilation, groups)
    "pointwise": (5, 4, 8, 16, 1, 1, (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    "3x3": (7, 7, 3, 8, 3, 3, (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "stem_same": (8, 6, 3, 16, 3, 3, (2, 2), ((0, 1), (0, 1)), (1, 1), 1),
    "5x3_lopsided": (9, 8, 4, 6, 5, 3, (1, 2), ((2, 0), (0, 3)), (1, 1), 1),
    "groups": (6, 7, 8, 12, 3, 3, (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
    "dilated": (11, 9, 2, 3, 3, 3, (2, 1), ((2, 2), (3, 3)), (2, 3), 1),
    "depthwise": (8, 9, 6, 6, 3, 3, (2, 2), ((1, 1), (1, 1)), (1, 1), 6),
}


def problem(name, seed=0):
    h, w, c_in, c_out, kh, kw, stride, padding, dilation, groups = CONVOLUTIONS[name]
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((h, w, c_in))
    weights = rng.standard_normal((c_out, kh, kw, c_in // groups))
    bias = rng.standard_normal(c_out)
    return x, weights, bias, stride, padding, dilation, groups


def conv2d_by_loops(x, w, bias, stride, padding, dilation, groups):
    (top, bottom), (left, right) = padding
    c_out, kh, kw, c_group = w.shape
    h_out = (x.shape[0] + top + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    w_out = (x.shape[1] + left + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    out = np.zeros((h_out, w_out, c_out))
    for y, z, o in np.ndindex(out.shape):
        first = o // (c_out // groups) * c_group
        total = bias[o]
        for i, j, c in np.ndindex(kh, kw, c_group):
            row = y * stride[0] + i * dilation[0] - top
            column = z * stride[1] + j * dilation[1] - left
            if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
                total += x[row, column, first + c] * w[o, i, j, c]
        out[y, z, o] = total
    return out


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d_equals_plain_loops(name):
    args = problem(name)
    np.testing.assert_allclose(ref.conv2d(*args), conv2d_by_loops(*args), rtol=1e-12, atol=1e-12)


def test_conv2d_by_hand():
    x = np.arange(1.0, 10.0).reshape(3, 3, 1)
    w = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    got = ref.conv2d(x, w, bias=[0.5])[:, :, 0]
    # 1*1 + 2*2 + 4*3 + 5*4 = 37: correlation, the filter is not flipped
    np.testing.assert_array_equal(got, [[37.5, 47.5], [67.5, 77.5]])


def test_conv2d_refuses_channels_that_do_not_fit():
    with pytest.raises(ValueError, match="groups"):
        ref.conv2d(np.ones((3, 3, 4)), np.ones((2, 1, 1, 3)))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
def test_depthwise_is_convolution_with_a_group_a_channel(kernel, stride, dilation):
    rng = np.random.default_rng(kernel)
    x, w = rng.standard_normal((10, 13, 6)), rng.standard_normal((6, kernel, kernel))
    bias = rng.standard_normal(6)
    padding = ((2, 1), (0, 3))
    np.testing.assert_allclose(
        ref.depthwise_conv2d(x, w, bias, stride, padding, dilation=dilation),
        ref.conv2d(x, w[..., None], bias, stride, padding, dilation, groups=6),
        rtol=1e-12,
        atol=1e-12,
    )


def test_linear_is_a_pointwise_convolution_and_works_row_by_row():
    x, w, bias, *_ = problem("pointwise")
    w = w[:, 0, 0]
    flat = x.reshape(-1, x.shape[2])
    got = ref.linear(flat, w, bias)
    conv = ref.conv2d(x, w[:, None, None], bias)
    np.testing.assert_allclose(got, conv.reshape(got.shape), rtol=1e-12, atol=1e-12)
    for row, expected in zip(flat, got, strict=True):
        np.testing.assert_allclose(ref.linear(row, w, bias), expected, rtol=1e-12, atol=1e-12)


def test_linear_adds_the_residual_after_the_activation():
    x, w = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0], [-5.0, 0.0]])
    got = ref.linear(x, w, bias=[1.0, 1.0], residual=[[10.0, 1.0]], activation="relu")
    np.testing.assert_array_equal(got, [[22.0, 1.0]])


ACTIVATIONS_BY_HAND = {
    "identity": [-4.0, -1.5, 0.0, 1.5, 7.0],
    "relu": [0.0, 0.0, 0.0, 1.5, 7.0],
    "relu6": [0.0, 0.0, 0.0, 1.5, 6.0],
    "leaky_relu": [-0.04, -0.015, 0.0, 1.5, 7.0],
    "hard_sigmoid": [0.0, 0.25, 0.5, 0.75, 1.0],
    "hard_swish": [0.0, -0.375, 0.0, 1.125, 7.0],
    "sigmoid": [
        0.01798620996209156,
        0.18242552380635635,
        0.5,
        0.8175744761936437,
        0.999088948805599,
    ],
    "silu": [-0.07194483984836623, -0.2736382857095345, 0.0, 1.2263617142904655, 6.993622641639194],
    "gelu": [
        -0.0001266849673324797,
        -0.1002108019032871,
        0.0,
        1.399789198096713,
        6.999999999991041,
    ],
    "gelu_tanh": [
        -7.024594819237268e-05,
        -0.10042842301976708,
        0.0,
        1.3995715769802328,
        6.999999999999997,
    ],
    "quick_gelu": [
        -0.004414724139581061,
        -0.10833780155292343,
        0.0,
        1.3916621984470765,
        6.999953128303317,
    ],
}


@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_activation_by_hand(name):
    x = np.array([-4.0, -1.5, 0.0, 1.5, 7.0], np.float32)
    got = ref.ACTIVATIONS[name](x)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, ACTIVATIONS_BY_HAND[name], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", ref.ACTIVATIONS)
def test_activation_keeps_nan(name):
    assert np.isnan(ref.ACTIVATIONS[name](np.array([np.nan]))).all()


def test_leaky_relu_takes_its_slope():
    np.testing.assert_allclose(ref.leaky_relu([-2.0, 2.0], slope=0.1), [-0.2, 2.0])


def test_sigmoid_far_out_neither_overflows_nor_loses_the_tail():
    with np.errstate(all="raise", under="ignore"):
        got = ref.sigmoid([-1000.0, -40.0, 1000.0])
    np.testing.assert_allclose(got, [0.0, np.exp(-40.0), 1.0], rtol=1e-15)


def test_pools_by_hand():
    x = np.array([[-1.0, -2.0, -3.0], [-4.0, -5.0, -6.0], [-7.0, -8.0, -9.0]])[..., None]
    one = ((1, 0), (1, 0))
    largest = ref.max_pool(x, (2, 2), (2, 2), one)[..., 0]
    np.testing.assert_array_equal(largest, [[-1, -2], [-4, -5]])
    with_zeros = ref.avg_pool(x, (2, 2), (2, 2), one)[..., 0]
    np.testing.assert_array_equal(with_zeros, [[-0.25, -1.25], [-2.75, -7.0]])
    inside = ref.avg_pool(x, (2, 2), (2, 2), one, count_include_pad=False)[..., 0]
    np.testing.assert_array_equal(inside, [[-1.0, -2.5], [-5.5, -7.0]])
    np.testing.assert_array_equal(ref.max_pool(x, (2, 2)), [[[-1.0]]])
    np.testing.assert_array_equal(ref.global_avg_pool(x), [-5.0])
    np.testing.assert_array_equal(ref.avg_pool(x, (3, 3))[0, 0], ref.global_avg_pool(x))


def test_batch_norm_by_hand():
    got = ref.batch_norm([[5.0, 1.0]], [2.0, 3.0], [0.5, -1.0], [1.0, 1.0], [3.0, 8.0], epsilon=1.0)
    np.testing.assert_allclose(got, [[4.5, -1.0]], rtol=1e-15)


def test_squeeze_excite_by_hand():
    x = np.array([[[1.0, 10.0]], [[3.0, 30.0]]])  # means 2 and 20
    w1, b1 = np.array([[1.0, 0.0], [0.0, -1.0]]), np.array([1.0, 0.0])  # hidden 3, relu(-20) = 0
    w2, b2 = np.array([[-1.0, 5.0], [0.5, 5.0]]), np.array([1.5, 0.0])  # -1.5, 1.5
    got = ref.squeeze_excite(x, w1, b1, w2, b2)
    np.testing.assert_allclose(got, [[[0.25, 7.5]], [[0.75, 22.5]]], rtol=1e-15)


def test_l2_normalize_and_dot_products_by_hand():
    np.testing.assert_allclose(ref.l2_normalize([[3.0, 4.0], [0.0, 0.0]]), [[0.6, 0.8], [0, 0]])
    np.testing.assert_allclose(ref.l2_normalize([3.0, 4.0], smallest=10.0), [0.3, 0.4])
    got = ref.dot_products([[1.0, 2.0]], [[3.0, 4.0], [-1.0, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(got, [[11.0, 0.0, 2.0]])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def nchw(torch, x):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, 2, 0)))[None]


def hwc(tensor):
    return np.moveaxis(tensor[0].numpy(), 0, 2)


@pytest.mark.compare
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_conv2d_equals_torch(torch, name):
    x, w, bias, stride, padding, dilation, groups = problem(name)
    padded = np.pad(x, (*padding, (0, 0)))
    expected = torch.nn.functional.conv2d(
        nchw(torch, padded),
        torch.from_numpy(np.ascontiguousarray(w.transpose(0, 3, 1, 2))),
        torch.from_numpy(bias),
        stride=stride,
        dilation=dilation,
        groups=groups,
    )
    got = ref.conv2d(x, w, bias, stride, padding, dilation, groups)
    np.testing.assert_allclose(got, hwc(expected), rtol=1e-12, atol=1e-12)


TORCH_NAMES = {
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "hard_sigmoid": "hardsigmoid",
    "hard_swish": "hardswish",
    "sigmoid": "sigmoid",
    "silu": "silu",
    "gelu": "gelu",
}


@pytest.mark.compare
@pytest.mark.parametrize("name", TORCH_NAMES)
def test_activation_equals_torch(torch, name):
    x = np.random.default_rng(0).standard_normal(1000) * 5
    expected = getattr(torch.nn.functional, TORCH_NAMES[name])(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ref.ACTIVATIONS[name](x), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.compare
@pytest.mark.parametrize("kernel, stride, pad", [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2)])
def test_pools_equal_torch(torch, kernel, stride, pad):
    x = np.random.default_rng(kernel).standard_normal((11, 8, 5))
    size, step, edges = (kernel, kernel), (stride, stride), ((pad, pad), (pad, pad))
    given = nchw(torch, x)
    functional = torch.nn.functional
    expected = hwc(functional.max_pool2d(given, kernel, stride, pad))
    np.testing.assert_array_equal(ref.max_pool(x, size, step, edges), expected)
    for include in (True, False):
        expected = functional.avg_pool2d(given, kernel, stride, pad, count_include_pad=include)
        got = ref.avg_pool(x, size, step, edges, count_include_pad=include)
        np.testing.assert_allclose(got, hwc(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.compare
def test_batch_norm_and_l2_normalize_equal_torch(torch):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 7))
    gamma, beta, mean = rng.standard_normal((3, 7))
    var = rng.random(7)
    given = [torch.from_numpy(a) for a in (x, mean, var, gamma, beta)]
    expected = torch.nn.functional.batch_norm(*given, training=False, eps=1e-3).numpy()
    got = ref.batch_norm(x, gamma, beta, mean, var, 1e-3)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    expected = torch.nn.functional.normalize(given[0], dim=1).numpy()
    np.testing.assert_allclose(ref.l2_normalize(x), expected, rtol=1e-12)
