"""How the kernel tests judge a result: error bounds, and failures that say where."""

import numpy as np

EPS = float(np.finfo(np.float32).eps)


def rounding_bound(magnitude, terms):
    """Bound the error of sums of products computed in float32, output by output.

    Adding K products and a few terms more in any order, each step rounded, is off by at most about
    ``eps * (K + 2) * sum of |terms|`` (Higham, "Accuracy and Stability of Numerical Algorithms",
    section 3.1). The magnitude is the reference itself, run on absolute values.
    """
    return EPS * (terms + 2) * np.asarray(magnitude, np.float64)


def ulps(got, want):
    """Count the float32 values between got and want, NaN where either is NaN."""
    ordered = []
    for a in (got, want):
        bits = np.asarray(a, np.float32).view(np.int32).astype(np.int64)
        ordered.append(np.where(bits < 0, -(bits & 0x7FFFFFFF), bits))
    distance = np.abs(ordered[0] - ordered[1]).astype(np.float64)
    return np.where(np.isnan(got) | np.isnan(want), np.nan, distance)


def outside(got, want, bound):
    """Mark the outputs that are further than bound from want, or NaN on one side alone."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    with np.errstate(invalid="ignore"):
        near = np.abs(got - want) <= bound
    return ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))


def assert_within(got, want, bound, name=""):
    """Fail unless ``|got - want| <= bound`` everywhere; say where not, and by how much."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{name}: shape {got.shape}, not {want.shape}"
    wrong = outside(got, want, bound)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        bound = np.broadcast_to(bound, got.shape)
        distance = ulps(got, want)
        largest = np.nan if np.isnan(distance).all() else np.nanmax(distance)
        raise AssertionError(
            f"{name}: {wrong.sum()} of {wrong.size} outputs are off; first at {at}: got {got[at]}, "
            f"want {want[at]}, bound {bound[at]:.3g}; max ULP {largest:.0f}"
        )


def read_only(array):
    """Return the array as a kernel's input: float32, contiguous, not writable."""
    out = np.array(array, np.float32, order="C")
    out.flags.writeable = False
    return out


def nonzero(rng, *shape):
    """Draw float32 values that are neither zero nor small, of either sign, read-only."""
    values = rng.uniform(0.25, 2.0, shape) * rng.choice([-1.0, 1.0], shape)
    return read_only(values)
