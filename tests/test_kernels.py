"""Every kernel against its float64 reference, on every problem of the list."""

import numpy as np
import pytest
from kernels_checks import assert_within, outside
from kernels_list import PROBLEMS

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
