"""Elementwise operations on maps whose pixels lie apart, as a slice of channels does."""

import numpy as np
import pytest

from rvcnn.kernels import Map, elementwise, elementwise_u8, reference, reference_u8, run

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


@pytest.mark.parametrize("channels", [1, 7, 24, 58])
@pytest.mark.parametrize("gaps", [(5, 2), (0, 9), (3, 0)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_bytes_of_the_maps_own_channels(channels, gaps, per_channel):
    rng = np.random.default_rng(channels)
    shape = (3, 5, channels)
    count = channels if per_channel else 1
    scale, zero = rng.uniform(0.01, 0.03, count).astype(np.float32), rng.integers(90, 160, count)
    real, held, back = (np.s_[:, :, g : g + channels] for g in (*gaps, gaps[0]))
    x = rng.uniform(-2, 2, (3, 5, channels + 2 * gaps[0])).astype(np.float32)
    q = rng.integers(0, 256, (3, 5, channels + 2 * gaps[1]), dtype=np.uint8)
    before, out = q.copy(), x.copy()
    pair = [slice_of(m, g, shape) for m, g in zip((q, x), reversed(gaps), strict=True)]
    run(elementwise_u8.quantize(*pair, scale, zero))
    np.testing.assert_array_equal(q[held], reference_u8.quantize(x[real], scale, zero))
    run(elementwise_u8.dequantize(slice_of(out, gaps[0], shape), pair[0], scale, zero))
    want = reference_u8.dequantize(q[held], scale, zero)
    np.testing.assert_allclose(out[back], want, rtol=1e-6)
    q[held], out[back] = before[held], x[back]
    np.testing.assert_array_equal(q, before)
    np.testing.assert_array_equal(out, x)
