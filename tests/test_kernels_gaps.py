"""Elementwise operations on maps whose pixels lie apart, as a slice of channels does."""

import numpy as np
import pytest

from rvcnn.kernels import Map, elementwise, reference, run

SHAPE = (3, 5, 7)
CALLS = {
    "copy": lambda out, a, b: elementwise.copy(out, a),
    "add": lambda out, a, b: elementwise.add(out, a, b),
    "relu": lambda out, a, b: elementwise.activate(out, a, "relu"),
    "silu": lambda out, a, b: elementwise.activate(out, a, "silu"),
    "leaky_relu": lambda out, a, b: elementwise.activate(out, a, "leaky_relu"),
}
WANT = {
    "copy": lambda a, b: a,
    "add": lambda a, b: a + b,
    "relu": lambda a, b: reference.relu(a),
    "silu": lambda a, b: reference.silu(a),
    "leaky_relu": lambda a, b: reference.leaky_relu(a),
}


def slice_of(array, first, shape):
    """The map of channels from ``first`` on in a (H, W, C) array."""
    whole = Map.of(array)
    height, width, channels = shape
    return whole._replace(offset=first, height=height, width=width, channels=channels)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("gaps", [(0, 4, 2), (4, 0, 0), (9, 9, 9)])
def test_only_the_maps_own_channels(name, gaps):
    rng = np.random.default_rng(5)
    height, width, channels = SHAPE
    a, b, out = (
        rng.standard_normal((height, width, channels + 2 * gap)).astype(np.float32) for gap in gaps
    )
    before = out.copy()
    maps = [slice_of(m, g, SHAPE) for m, g in zip((a, b, out), gaps, strict=True)]
    run(CALLS[name](maps[2], maps[0], maps[1]))
    inside = [np.s_[:, :, g : g + channels] for g in gaps]
    want = WANT[name](a[inside[0]].astype(np.float64), b[inside[1]].astype(np.float64))
    np.testing.assert_allclose(out[inside[2]], want, rtol=1e-5, atol=1e-6)
    out[inside[2]] = before[inside[2]]
    np.testing.assert_array_equal(out, before)
