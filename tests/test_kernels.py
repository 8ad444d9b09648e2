"""Every kernel against its float64 reference, on every problem of the list."""

import numpy as np
import pytest
from kernels_checks import assert_within, outside
from kernels_list import PROBLEMS

from rvcnn import kernels
from rvcnn.kernels import reference

PRODUCTS = [p for p in PROBLEMS if p.is_product]


def by_name(problem):
    return problem.name


def test_problem_names_are_unique():
    assert len({p.name for p in PROBLEMS}) == len(PROBLEMS)


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_equals_the_reference(problem):
    got = problem.got()
    assert got.dtype == np.float32
    assert_within(got, problem.want(), problem.bound(), problem.name)


@pytest.mark.parametrize("problem", PRODUCTS, ids=by_name)
def test_the_bound_is_tight_enough_to_notice_a_missing_tap(problem):
    want, bound = problem.want(), problem.bound()
    assert (bound < 0.01 * problem.magnitude()).all()
    for tap, without in problem.without_each_tap():
        if (without != want).any():  # else the tap lies in the padding everywhere
            assert outside(without, want, bound).any(), f"tap {tap}"


@pytest.mark.parametrize("problem", PROBLEMS, ids=by_name)
def test_nan_in_gives_nan_out_where_it_should_and_nowhere_else(problem):
    poisoned, want = problem.with_a_nan()
    assert_within(poisoned.got(), want, problem.bound(), problem.name)


def test_a_vector_too_short_to_normalise_is_divided_by_the_smallest_length():
    for x in (np.zeros(40), np.full(40, 1e-20), np.full(33, -1e-14)):
        x = x.astype(np.float32)
        want = reference.l2_normalize(x)
        assert_within(kernels.l2_normalize(x), want, 1e-5 * np.abs(want))
    x = np.float32([3.0, 4.0])
    assert_within(kernels.l2_normalize(x, smallest=10.0), [0.3, 0.4], 1e-7)


def test_inputs_of_any_layout_and_dtype():
    """Strided, reversed, float64, integer and Fortran-ordered arrays mean their values."""
    rng = np.random.default_rng(0)
    x, weights = rng.integers(-9, 9, (6, 7, 16)), rng.integers(-9, 9, (10, 3, 3, 8))
    want = reference.conv2d(x[::2, ::-1, ::2], weights)
    for convert in (np.asarray, np.asfortranarray, lambda a: a.astype(np.float64)):
        got = kernels.conv2d(convert(x)[::2, ::-1, ::2], convert(weights))
        np.testing.assert_array_equal(got, want)


BAD_CALLS = {
    "channels": lambda: kernels.conv2d(np.ones((4, 4, 3)), np.ones((8, 1, 1, 4))),
    "groups": lambda: kernels.conv2d(np.ones((4, 4, 4)), np.ones((6, 1, 1, 1)), groups=4),
    "no groups": lambda: kernels.conv2d(np.ones((4, 4, 4)), np.ones((6, 1, 1, 4)), groups=0),
    "too small": lambda: kernels.conv2d(np.ones((2, 4, 4)), np.ones((6, 3, 3, 4))),
    "bias": lambda: kernels.linear(np.ones((2, 4)), np.ones((6, 4)), np.ones(5)),
    "residual": lambda: kernels.linear(np.ones((2, 4)), np.ones((6, 4)), residual=np.ones((6, 2))),
    "dimensions": lambda: kernels.conv2d(np.ones((1, 4, 4, 4)), np.ones((6, 1, 1, 4))),
    "stride": lambda: kernels.max_pool(np.ones((4, 4, 1)), 2, 0),
    "padding": lambda: kernels.conv2d(np.ones((4, 4, 1)), np.ones((1, 1, 1, 1)), padding=-1),
    "maps": lambda: kernels.add(np.ones((2, 3, 4)), np.ones((2, 4, 3))),
    "scale": lambda: kernels.scale_shift(np.ones((2, 3, 4)), np.ones(3)),
    "squeeze": lambda: kernels.squeeze_excite(
        np.ones((2, 2, 4)), np.ones((3, 4)), np.ones(3), np.ones((5, 3)), np.ones(5)
    ),
    "no outputs": lambda: kernels.conv2d(np.ones((4, 4, 3)), np.ones((0, 1, 1, 3))),
    "no channels": lambda: kernels.max_pool(np.ones((4, 4, 0)), 2),
    "name": lambda: kernels.activation(np.ones(4), "nope"),
    "fused name": lambda: kernels.linear(np.ones((2, 4)), np.ones((6, 4)), activation="nope"),
    "vectors": lambda: kernels.dot_products(np.ones((2, 4)), np.ones((2, 5))),
    "out": lambda: kernels.dot_products(
        np.ones((2, 4)), np.ones((3, 4)), out=np.ones((2, 2), np.float32)
    ),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_arrays_that_do_not_fit_are_refused_before_anything_is_read(name):
    with pytest.raises((ValueError, TypeError)):
        BAD_CALLS[name]()


def test_no_rows_give_no_rows():
    assert kernels.linear(np.ones((0, 4)), np.ones((6, 4))).shape == (0, 6)
