"""Shapes nobody thought of: products, pools and activations on problems drawn by Hypothesis."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernels_checks import assert_within
from kernels_list import ACTIVATIONS
from kernels_problems import activation, conv2d, depthwise, linear, simple

from rvcnn import kernels

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True)
side = st.integers(1, 20)
small = st.integers(1, 5)
pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
gap = st.tuples(st.integers(0, 4), st.integers(0, 4))


def check(problem):
    assert_within(problem.got(), problem.want(), problem.bound(), problem.name)


def fits(size, kernel, padding, dilation=(1, 1)):
    return all(
        n + sum(p) >= d * (k - 1) + 1
        for n, k, p, d in zip(size, kernel, padding, dilation, strict=True)
    )


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
    name=st.sampled_from(ACTIVATIONS),
    residual=st.booleans(),
)
def test_convolution(
    size, group_channels, group_outputs, groups, kernel, stride, padding, dilation, name, residual
):
    assume(fits(size, kernel, padding, dilation))
    channels, outputs = groups * group_channels, groups * group_outputs
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    check(conv2d(size, channels, outputs, kernel, residual, activation=name, **options))


@SETTINGS
@given(
    size=st.tuples(side, side),
    channels=st.integers(1, 50),
    kernel=st.sampled_from([3, 5]),
    stride=st.sampled_from([1, 2]),
    padding=st.tuples(gap, gap),
    name=st.sampled_from(ACTIVATIONS),
)
def test_depthwise(size, channels, kernel, stride, padding, name):
    kernel = (kernel, kernel)
    assume(fits(size, kernel, padding))
    check(depthwise(size, channels, kernel, stride=stride, padding=padding, activation=name))


@SETTINGS
@given(st.integers(1, 40), st.integers(1, 700), st.integers(1, 140), st.sampled_from(ACTIVATIONS))
def test_linear(rows, inputs, outputs, name):
    check(linear(rows, inputs, outputs, activation=name))


@SETTINGS
@given(
    size=st.tuples(side, side),
    channels=st.integers(1, 40),
    kernel=st.tuples(small, small),
    stride=pair,
    data=st.data(),
)
def test_pools(size, channels, kernel, stride, data):
    padding = tuple((data.draw(st.integers(0, k // 2)),) * 2 for k in kernel)
    assume(fits(size, kernel, padding))
    shape = (*size, channels)
    check(simple("max_pool", shape, constants=(kernel, stride, padding)))
    for include in (True, False):
        constants = (kernel, stride, padding, include)
        check(simple("avg_pool", shape, constants=constants))


@SETTINGS
@given(st.integers(1, 300), st.sampled_from(ACTIVATIONS))
def test_activation(n, name):
    check(activation(n, name))


@SETTINGS
@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 700))
def test_dot_products(queries, vectors, dim):
    check(simple("dot_products", (queries, dim), (vectors, dim)))


def test_dot_products_depend_on_their_two_vectors_alone():
    rng = np.random.default_rng(3)
    queries, vectors = rng.standard_normal((2, 11, 77)).astype(np.float32)
    all_at_once = kernels.dot_products(queries, vectors)
    for q, n in np.ndindex(all_at_once.shape):
        one = kernels.dot_products(queries[q : q + 1], vectors[n : n + 1])
        assert one[0, 0].tobytes() == all_at_once[q, n].tobytes()


ACROSS = np.linspace(-120, 120, 48_001, dtype=np.float32)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_over_its_whole_range(name):
    """Far out too, where exponentials overflow, and at both zeros."""
    x = np.concatenate([ACROSS, np.float32([-0.0, 0.0, 1e-38, -1e-38, 3e38, -3e38, np.inf])])
    problem = activation(len(x), name)._replace(args=(x, name))
    with np.errstate(over="ignore"):
        check(problem)
