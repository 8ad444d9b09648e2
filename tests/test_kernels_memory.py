"""Kernels touch their own arrays and nothing else, wherever their maps lie."""

import os
import subprocess
import sys
from pathlib import Path

import kernels_list_u8
import numpy as np
import pytest
from kernels_checks import assert_within, nonzero, rounding_bound
from kernels_list import PROBLEMS, calls_of_plans
from kernels_memory import run_guarded
from kernels_resizes import CASES

from rvcnn.kernels import (
    FAMILIES,
    At,
    Call,
    Map,
    Window,
    conv,
    elementwise,
    functional,
    pool,
    reference,
    run,
    vector,
)

HERE = Path(__file__).parent


SCRATCH = {"u8_resize", "s8_graph_search", "s8_prune"}
"""Kernels that write to more than ``out``, and have tests of their own."""


def test_every_kernel_writes_to_its_first_parameter_alone():
    """By its name; that it is true is what the guard bands and fences show."""
    for name, family in FAMILIES.items():
        if not name.startswith("walk") and name not in SCRATCH:
            assert list(family.template.__annotations__)[0] == "out", name


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_guard_bands_and_inputs_stay_as_they_are(problem, monkeypatch):
    want = problem.got()
    monkeypatch.setattr(functional, "run", run_guarded)
    assert problem.got().tobytes() == want.tobytes()


@pytest.mark.parametrize("name", calls_of_plans())
def test_guard_bands_of_calls_that_plans_make(name):
    run_guarded(calls_of_plans()[name])


@pytest.mark.skipif(os.name == "nt", reason="no mprotect on Windows")
@pytest.mark.parametrize("side", ["start", "end"])
def test_no_access_outside_an_array_even_to_read(side, tmp_path):
    done = subprocess.run(
        [sys.executable, HERE / "kernels_memory.py", side],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    count = len(PROBLEMS) + len(kernels_list_u8.PROBLEMS)
    assert done.returncode == 0 and lines[-1] == "done", f"{lines[-1:]}\n{done.stderr[-2000:]}"
    assert len(lines) == count + len(calls_of_plans()) + len(CASES) + 1


class Placed:
    """A map inside a larger buffer of NaN: a border of zeros, gaps between rows and pixels."""

    def __init__(self, values, border=0, row_gap=0, pixel_gap=0, first=5):
        h, w, c = values.shape
        pixel = c + pixel_gap
        row = (w + 2 * border) * pixel + row_gap
        size = first + (h + 2 * border) * row
        self.buffer = np.full(size, np.nan, np.float32)
        self.map = Map(self.buffer, first + border * (row + pixel), h, w, c, row, pixel)
        framed = Map(self.buffer, first, h + 2 * border, w + 2 * border, c, row, pixel)
        view(framed)[...] = 0
        view(self.map)[...] = values
        self.before = self.buffer.copy()

    @property
    def values(self):
        return view(self.map)

    def assert_nothing_else_written(self):
        rest = self.before.copy()
        view(self.map._replace(buffer=rest))[...] = self.values
        assert rest.tobytes() == self.buffer.tobytes(), "wrote between rows, pixels or outside"


def view(m):
    return np.lib.stride_tricks.as_strided(
        m.buffer[m.offset :], (m.height, m.width, m.channels), (4 * m.row, 4 * m.pixel, 4)
    )


def placed(rng, *shape, **gaps):
    return Placed(nonzero(rng, *shape), **gaps)


def empty(*shape, **gaps):
    return Placed(np.full(shape, np.nan, np.float32), **gaps)


def finish(calls, out, want, bound, *inputs):
    run(calls)
    assert_within(out.values, want, bound)
    out.assert_nothing_else_written()
    for given in inputs:
        assert given.before.tobytes() == given.buffer.tobytes()


GAPS = [{"row_gap": 3}, {"row_gap": 7, "pixel_gap": 2}]
PLACED_CONVOLUTIONS = [
    # kernel, stride, groups, activation, residual
    ((1, 1), (1, 1), 1, "hard_swish", True),
    ((3, 3), (1, 1), 1, "relu", False),
    ((3, 3), (2, 2), 1, "identity", True),
    ((3, 3), (1, 1), 4, "identity", True),
    ((3, 3), (1, 1), 20, "relu6", False),
    ((5, 5), (2, 2), 20, "hard_swish", False),
]


@pytest.mark.parametrize("gaps", GAPS, ids=str)
@pytest.mark.parametrize("kernel, stride, groups, activation, residual", PLACED_CONVOLUTIONS)
def test_convolution_of_maps_with_gaps(gaps, kernel, stride, groups, activation, residual):
    rng = np.random.default_rng(1)
    pad = kernel[0] // 2
    x = placed(rng, 6, 9, 20, border=pad, **gaps)
    weights = nonzero(rng, 20, 20 // groups, *kernel)
    bias = nonzero(rng, 20)
    window = Window(kernel, stride, ((pad, pad), (pad, pad)))
    size = window.out_size(6, 9)
    out = empty(*size, 20, border=1, **gaps)
    other = placed(rng, *size, 20, border=2, row_gap=1) if residual else None
    args = (x.values, weights.transpose(0, 2, 3, 1), bias, stride, pad, 1, groups)
    want = reference.conv2d(*args, activation, other and other.values)
    size = reference.conv2d(*map(np.abs, args[:3]), *args[3:]) + (residual and abs(other.values))
    calls = conv.convolution(
        out.map, x.map, weights, bias, window, groups, activation, other and other.map
    )
    bound = 2 * rounding_bound(size, weights[0].size)
    finish(calls, out, want, bound, x, *([other] if other else []))


@pytest.mark.parametrize("gaps", GAPS, ids=str)
@pytest.mark.parametrize("channels", [3, 8, 21])
def test_pools_and_scales_of_maps_with_gaps(gaps, channels):
    rng = np.random.default_rng(channels)
    x = placed(rng, 7, 5, channels, **gaps)
    scale, shift = nonzero(rng, 2, channels)
    cases = [
        (
            pool.pool,
            (Window((3, 3), (2, 2), ((1, 1), (1, 1))),),
            reference.max_pool(x.values, 3, 2, 1),
        ),
        (pool.global_avg_pool, (), reference.global_avg_pool(x.values)[None, None]),
        (elementwise.scale_shift, (scale, shift), reference.scale_shift(x.values, scale, shift)),
        (elementwise.scale_shift, (scale,), reference.scale_shift(x.values, scale)),
    ]
    for function, args, want in cases:
        out = empty(*want.shape, border=1, **gaps)
        finish(function(out.map, x.map, *args), out, want, rounding_bound(10.0, 35), x)


@pytest.mark.parametrize("channels", [3, 8, 21])
def test_elementwise_on_maps_with_borders(channels):
    """Rows lie apart, pixels side by side: how a plan lays maps out."""
    rng = np.random.default_rng(channels)
    a, b = (placed(rng, 4, 5, channels, border=i, row_gap=i + 1) for i in (0, 2))
    cases = [
        (elementwise.copy, (a,), a.values),
        (elementwise.add, (a, b), reference.add(a.values, b.values)),
        *(
            (
                lambda out, x, n=name: elementwise.activate(out, x, n),
                (a,),
                reference.activation(a.values, name),
            )
            for name in reference.ACTIVATIONS
        ),
    ]
    for function, inputs, want in cases:
        out = empty(4, 5, channels, border=2, row_gap=1)
        calls = function(out.map, *(i.map for i in inputs))
        finish(calls, out, want, rounding_bound(np.abs(want), 8), *inputs)


def test_uint8_pixels_are_normalised_into_a_bordered_map():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (7, 11, 3), dtype=np.uint8)
    pixels.flags.writeable = False
    scale, shift = np.array([0.5, -0.25, 3.0]), np.array([-1.0, 2.0, 0.125])
    out = empty(7, 11, 3, border=1)
    want = reference.scale_shift(pixels, scale, shift)
    finish(elementwise.normalise_u8(out.map, Map.of(pixels), scale, shift), out, want, 1e-4)


def test_a_border_is_zeroed_and_nothing_else():
    before, rows, length, gap, after = 13, 4, 9, 3, 7
    buffer = np.full(before + rows * (length + gap) + after + 2, np.nan, np.float32)
    buffer[[0, -1]] = 8.0
    args = (At(buffer, 1), before, rows, length, gap, after)
    run([Call(elementwise.f32_zero_border(), args)])
    want = np.full_like(buffer, np.nan)
    want[[0, -1]] = 8.0
    want[1 : 1 + before] = 0
    inside = want[1 + before : 1 + before + rows * (length + gap)].reshape(rows, -1)
    inside[:, length:] = 0
    want[-1 - after : -1] = 0
    np.testing.assert_array_equal(buffer, want)


IN_PLACE = {
    **{
        name: lambda x, name=name: elementwise.activate(Map.of(x), Map.of(x), name)
        for name in reference.ACTIVATIONS
    },
    "scale": lambda x: elementwise.scale_shift(Map.of(x), Map.of(x), SCALE),
    "scale_shift": lambda x: elementwise.scale_shift(Map.of(x), Map.of(x), SCALE, SCALE),
    "add": lambda x: elementwise.add(Map.of(x), Map.of(x), Map.of(x)),
    "l2_normalize": lambda x: vector.l2_normalize(At(x), At(x), x.size),
}
"""Calls of which the documentation says that ``out`` may be ``x``."""
SCALE = nonzero(np.random.default_rng(2), 37)


def written_elsewhere(call, array):
    """Return the call with another array for its output."""
    arguments = zip(call.args, call.kernel.parameters, strict=True)
    return call._replace(
        args=tuple(a._replace(buffer=array) if p == "out" else a for a, p in arguments)
    )


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("channels", [1, 7, 16, 37])
def test_in_place_gives_the_same_bytes(name, channels):
    x = np.array(nonzero(np.random.default_rng(channels), 3, 2, channels))
    calls, apart = IN_PLACE[name](x), np.empty_like(x)
    run([written_elsewhere(call, apart) for call in calls])
    run(calls)
    assert x.tobytes() == apart.tobytes()
