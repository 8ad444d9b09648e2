"""What holds of operators by themselves: forms of older operator sets, accuracy, refusals."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rvcnn.errors import ShapeError, WeightsError
from rvcnn.onnx.operators import OPERATORS
from rvcnn.onnx.operators.activations import LARGE

SAME_BEFORE = [
    ("Squeeze", (1, 3, 1, 2), dict(axes=[2]), [np.array([2])]),
    ("Unsqueeze", (3, 2), dict(axes=[0, 3]), [np.array([0, 3])]),
    ("Clip", (4, 5), dict(min=-0.5, max=0.25), [np.float32(-0.5), np.float32(0.25)]),
    ("Pad", (2, 3), dict(pads=[0, 1, 2, 0], value=1.5), [np.array([0, 1, 2, 0]), np.float32(1.5)]),
    ("Slice", (5, 6), dict(starts=[1, -3], ends=[4, 9]), [np.array([1, -3]), np.array([4, 9])]),
    ("Split", (6, 2), dict(split=[1, 5], axis=0), [np.array([1, 5])]),
    ("TopK", (3, 7), dict(k=4), [np.array([4])]),
    ("ReduceSum", (3, 7), dict(axes=[1]), [np.array([1])]),
    ("ReduceMax", (3, 7), dict(axes=[0]), [np.array([0])]),
]


@pytest.mark.parametrize("op, shape, attributes, inputs", SAME_BEFORE)
def test_attributes_that_became_inputs(op, shape, attributes, inputs):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    outputs = 2 if op in ("Split", "TopK") else 1
    before = OPERATORS[op].run(attributes, 7, x, outputs=outputs)
    kept = {"axis": 0} if op == "Split" else {}
    after = OPERATORS[op].run(kept, 18, x, *map(np.asarray, inputs), outputs=outputs)
    assert len(before) == len(after) == outputs
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype and a.size


def test_erf():
    x = np.concatenate([np.linspace(-6, 6, 50001), [np.inf, -np.inf, 1e-30, 0]])
    for kind, bound in ((np.float32, 1e-7), (np.float64, 1e-15)):
        at = x.astype(kind)
        (got,) = OPERATORS["Erf"].run({}, 13, at)
        want = np.array([math.erf(v) for v in at.astype(np.float64)])
        assert got.dtype == kind
        assert np.abs(got - want).max() <= bound
    assert np.isnan(OPERATORS["Erf"].run({}, 13, np.array([np.nan], np.float32))[0]).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize(
    "op, shape, others, want",
    [
        ("ReduceMean", (2, 0, 3), [np.array([1])], (2, 1, 3)),
        ("ReduceMean", (2, 0, 3), [np.array([2])], (2, 0, 1)),
        ("GlobalAveragePool", (2, 3, 0, 4), [], (2, 3, 1, 1)),
        ("LayerNormalization", (2, 0), [np.ones(0)], (2, 0)),
        ("InstanceNormalization", (2, 3, 0), [np.ones(3), np.ones(3)], (2, 3, 0)),
        ("RMSNormalization", (2, 0), [np.ones(0)], (2, 0)),
    ],
)
def test_a_mean_of_nothing_is_nan_and_nobody_is_warned(op, shape, others, want, kind):
    if kind is np.int32 and op != "ReduceMean":
        pytest.skip("of floats alone")
    others = [x.astype(kind) if x.dtype.kind == "f" else x for x in others]
    (got,) = OPERATORS[op].run({}, 24, np.empty(shape, kind), *others)
    assert got.shape == want and got.dtype == kind
    assert kind is np.int32 or np.isnan(got).all()


LISTED = """
    Conv ConvTranspose Gemm MatMul Einsum BatchNormalization Relu Clip LeakyRelu PRelu Sigmoid
    HardSigmoid HardSwish Elu Selu Softplus Mish Softmax LogSoftmax Tanh Erf Gelu LRN
    LayerNormalization InstanceNormalization GroupNormalization Add Sub Mul Div Mod Pow Sqrt Exp Log
    Neg Abs Reciprocal Floor Ceil Round Sign Sum Mean Min Max ReduceL1 ReduceL2 ReduceLogSum
    ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare MaxPool
    AveragePool GlobalAveragePool GlobalMaxPool Concat Split Slice Gather GatherElements GatherND
    ScatterND Pad Reshape Flatten Squeeze Unsqueeze Transpose Expand Tile Resize Upsample
    DepthToSpace SpaceToDepth Shape Size Range Constant ConstantOfShape Cast CastLike Identity
    Dropout ArgMax ArgMin TopK Where Equal Greater GreaterOrEqual Less LessOrEqual And Or Xor Not
    NonMaxSuppression GridSample LSTM GRU QuantizeLinear DequantizeLinear DynamicQuantizeLinear
    QLinearConv QLinearMatMul ConvInteger MatMulInteger
"""


def test_operators_of_classifiers_detectors_and_readers_are_there():
    assert set(LISTED.split()) <= OPERATORS.keys()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    st.lists(st.integers(-3, 3).filter(bool), min_size=2, max_size=2),
)
def test_slice(starts, ends, steps):
    """Place by place, as the specification clamps them."""
    x = np.arange(30).reshape(5, 6)
    places = []
    for n, start, end, step in zip(x.shape, starts, ends, steps, strict=True):
        start, end = (v + n if v < 0 else v for v in (start, end))
        at = min(max(start, 0), n - 1 if step < 0 else n)
        stop = min(max(end, -1 if step < 0 else 0), n)
        found = []
        while (at < stop) if step > 0 else (at > stop):
            found.append(at)
            at += step
        places.append(found)
    inputs = [np.array(v) for v in (starts, ends, [0, 1], steps)]
    (got,) = OPERATORS["Slice"].run({}, 13, x, *inputs)
    np.testing.assert_array_equal(got, x[np.ix_(*places)])


sides = st.fixed_dictionaries(
    {
        "n": st.integers(1, 9),
        "kernel": st.integers(1, 4),
        "stride": st.integers(1, 3),
        "dilation": st.integers(1, 2),
        "begin": st.integers(0, 2),
        "end": st.integers(0, 2),
    }
)


def taps_of(side, ceil_mode):
    """Places of each window's taps along a side, and how far padding reaches."""
    n, kernel, stride, dilation = (side[k] for k in ("n", "kernel", "stride", "dilation"))
    room = n + side["begin"] + side["end"] - dilation * (kernel - 1) - 1
    count = (math.ceil if ceil_mode else math.floor)(room / stride) + 1
    starts = [i * stride - side["begin"] for i in range(count)]
    starts = [start for start in starts if start < n or not ceil_mode]
    return [[start + i * dilation for i in range(kernel)] for start in starts]


@settings(max_examples=100, deadline=None)
@given(
    sides,
    sides,
    st.booleans(),
    st.booleans(),
    st.sampled_from(["MaxPool", "AveragePool"]),
    st.data(),
)
def test_pool_window_by_window(rows, columns, ceil_mode, include, op, data):
    """Maxima and means of the values that each window holds, in float32 and float64."""
    for side in (rows, columns):
        assume(max(side["begin"], side["end"]) <= side["dilation"] * (side["kernel"] - 1))
        assume(taps_of(side, ceil_mode))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    x = np.random.default_rng(0).standard_normal((2, 3, rows["n"], columns["n"])).astype(dtype)
    attributes = dict(
        kernel_shape=(rows["kernel"], columns["kernel"]),
        strides=(rows["stride"], columns["stride"]),
        dilations=(rows["dilation"], columns["dilation"]),
        pads=(rows["begin"], columns["begin"], rows["end"], columns["end"]),
        ceil_mode=int(ceil_mode),
    )
    if op == "AveragePool":
        attributes["count_include_pad"] = int(include)
    want = []
    for i in taps_of(rows, ceil_mode):
        for j in taps_of(columns, ceil_mode):
            held = x[:, :, [v for v in i if 0 <= v < rows["n"]]]
            held = held[..., [v for v in j if 0 <= v < columns["n"]]].reshape(2, 3, -1)
            if op == "MaxPool":
                want.append(held.max(-1, initial=-np.inf))
                continue
            padded = [
                sum(v < side["n"] + side["end"] for v in taps)
                for side, taps in ((rows, i), (columns, j))
            ]
            count = math.prod(padded) if include else held.shape[-1]
            assume(count)
            want.append(held.sum(-1, dtype=np.float64) / count)
    shape = (2, 3, len(taps_of(rows, ceil_mode)), len(taps_of(columns, ceil_mode)))
    (got,) = OPERATORS[op].run(attributes, 19, x)
    assert (got.dtype, got.shape) == (x.dtype, shape)
    want = np.stack(want, -1).reshape(shape)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


HALVES = [
    ("Add", 2, np.add),
    ("Div", 2, np.divide),
    ("Sqrt", 1, lambda a: np.sqrt(np.abs(a))),
    ("ReduceSum", 1, lambda a: a.sum(keepdims=True)),
    ("MatMul", 2, np.matmul),
]


@pytest.mark.parametrize("op, count, function", HALVES)
def test_half_precision_is_rounded_once(op, count, function):
    random = np.random.default_rng(0)
    inputs = [random.standard_normal((40, 40)).astype(np.float16) for _ in range(count)]
    if op == "Sqrt":
        inputs = [np.abs(x) for x in inputs]
    (got,) = OPERATORS[op].run({}, 13, *inputs)
    want = function(*(x.astype(np.float64) for x in inputs))
    assert got.dtype == np.float16
    # Half a unit of the last of 11 bits, and of float32's sums less than another.
    assert (np.abs(got - want) <= 2.0**-11 * np.abs(want) + 1e-5).all()


@pytest.mark.parametrize("op", ["Sigmoid", "Swish", "HardSwish", "LeakyRelu"])
def test_large_arrays_have_the_values_of_small_ones(op):
    """The kernels compute the same functions as NumPy, of any shape and order of the values."""
    x = np.random.default_rng(0).standard_normal((40, 30, LARGE // 1000)).astype(np.float32).T * 5
    assert x.size >= LARGE
    (large,) = OPERATORS[op].run({}, 24, x)
    small = [OPERATORS[op].run({}, 24, part)[0] for part in x]
    assert large.shape == x.shape
    np.testing.assert_allclose(large, np.stack(small), rtol=1e-6, atol=1e-6)


HUGE = np.array([1 << 20, 1 << 20, 1 << 10])
REFUSED = [
    ("ConstantOfShape", {}, [HUGE]),
    ("Expand", {}, [np.zeros((1, 1, 1), np.float32), HUGE]),
    ("Tile", {}, [np.zeros((1, 1, 1), np.float32), HUGE]),
    ("Range", {}, [np.array(0), np.array(1 << 60), np.array(1)]),
    ("Range", {}, [np.float32(0), np.float32(1), np.float32(0)]),
    ("Range", {}, [np.float32(0), np.float32(np.nan), np.float32(1)]),
    ("Pad", {}, [np.zeros(1, np.float32), np.array([1 << 40, 0])]),
    ("Resize", {}, [np.zeros((1, 1), np.float32), None, None, np.array([1 << 30, 1 << 30])]),
    ("Resize", {}, [np.zeros((1, 1), np.float32), None, np.array([1, np.inf], np.float32)]),
    ("OneHot", {}, [np.zeros(9, np.int64), np.array(1 << 50), np.array([0.0, 1.0])]),
    ("Add", {}, [np.zeros((1 << 20, 1), np.float32), np.zeros((1, 1 << 20), np.float32)]),
    ("MatMul", {}, [np.zeros((1 << 20, 1), np.float32), np.zeros((1, 1 << 20), np.float32)]),
    ("Einsum", {"equation": "i,j->ij"}, [np.zeros(1 << 20, np.float32)] * 2),
    ("Split", {"num_outputs": 1 << 60}, [np.zeros(4, np.float32)]),
    ("MaxPool", {"kernel_shape": (1 << 40,)}, [np.zeros((1, 1, 4), np.float32)]),
    ("MaxPool", {"kernel_shape": (2,), "pads": (1 << 40, 0)}, [np.zeros((1, 1, 4), np.float32)]),
    ("Conv", {"strides": (0,)}, [np.zeros((1, 1, 4), np.float32)] * 2),
    ("Conv", {}, [np.zeros((1, 3, 4), np.float32), np.zeros((1, 2, 1), np.float32)]),
    ("Gather", {}, [np.zeros(3, np.float32), np.array([3])]),
    ("GatherND", {}, [np.zeros(3, np.float32), np.array([[-4]])]),
    ("Reshape", {}, [np.zeros(3, np.float32), np.array([2, -1])]),
    ("Transpose", {"perm": (0, 0)}, [np.zeros((2, 2), np.float32)]),
    ("Relu", {}, []),
    ("Relu", {}, [None]),
    ("Relu", {}, [np.zeros(1, np.float32)] * 2),
]


@pytest.mark.parametrize("op, attributes, inputs", REFUSED)
def test_inputs_that_are_refused(op, attributes, inputs):
    inputs = [None if x is None else np.asarray(x) for x in inputs]
    with pytest.raises(ShapeError, match=f"^{op}"):
        OPERATORS[op].run(attributes, 18, *inputs)


@pytest.mark.parametrize(
    "op, attributes",
    [("Relu", {"slope": 1.0}), ("Cast", {"to": 99}), ("Gelu", {"approximate": "sin"})],
)
def test_attributes_that_are_refused(op, attributes):
    with pytest.raises(WeightsError, match=f"^{op}"):
        OPERATORS[op].run(attributes, 20, np.zeros(2, np.float32))
