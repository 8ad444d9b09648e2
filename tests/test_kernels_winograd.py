"""Winograd's convolution: its matrices, its error, when it is chosen, and maps of any layout."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernels_assembly import TARGETS
from kernels_checks import assert_within, nonzero
from kernels_list import ACTIVATIONS
from kernels_winograd import winograd

from rvcnn import kernels
from rvcnn.kernels import (
    BARRIER,
    At,
    Map,
    Window,
    WinogradFilterCache,
    assembly,
    conv,
    functional,
    reference,
    run,
    winograd_transforms,
)
from rvcnn.kernels import winograd as algorithm
from rvcnn.kernels.activation import applied
from rvcnn.kernels.winograd_filters import MATRICES

PADDED = Window((3, 3), padding=((1, 1), (1, 1)))
CHOSEN = (28, 28, 40, 24)
"""Rows, columns, channels and outputs of a convolution for which Winograd is chosen."""


def layer(rng, height, width, channels, outputs):
    """A map, weights and a bias as in a trained network: non-negative inputs, He's weights."""
    x = np.maximum(rng.standard_normal((height, width, channels)), 0)
    weights = rng.standard_normal((outputs, 3, 3, channels)) * np.sqrt(2 / 9 / channels)
    return [a.astype(np.float32) for a in (x, weights, rng.standard_normal(outputs))]


def recorded(monkeypatch, function, *args, **options):
    """Names of the kernels that a function runs, and its result."""
    names = []

    def run_and_record(calls):
        names.extend(call.kernel.family.name for call in calls if call is not BARRIER)
        run(calls)

    with monkeypatch.context() as patch:
        patch.setattr(functional, "run", run_and_record)
        result = function(*args, **options)
    return set(names), result


@pytest.mark.parametrize("m", MATRICES)
def test_the_matrices_give_a_correlation(m):
    rng = np.random.default_rng(m)
    data, taps = rng.standard_normal(m + 2), rng.standard_normal(3)
    window, filters, outputs = MATRICES[m]
    got = outputs @ ((filters @ taps) * (window @ data))
    np.testing.assert_allclose(got, np.correlate(data, taps), rtol=0, atol=1e-13)


@pytest.mark.parametrize("m", MATRICES)
def test_a_bound_from_the_norms_alone(m):
    """What the documentation says of the largest possible error is true of the matrices."""
    window, filters, outputs = map(np.abs, MATRICES[m])
    growth = (outputs @ (filters * window.sum(1)[:, None])).max() ** 2
    assert growth <= {2: 16, 4: 158}[m] < 1.01 * growth


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    tile=st.sampled_from([2, 4]),
    size=st.tuples(st.integers(1, 22), st.integers(1, 22)),
    channels=st.integers(1, 40),
    outputs=st.integers(1, 70),
    padding=st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2),
    activation=st.sampled_from(ACTIVATIONS),
    residual=st.booleans(),
)
def test_any_size_channels_and_padding(
    tile, size, channels, outputs, padding, activation, residual
):
    padding = tuple((a, max(b, 3 - n - a)) for n, (a, b) in zip(size, padding, strict=True))
    options = {"padding": padding, "activation": activation, "residual": residual}
    problem = winograd(tile, size, channels, outputs, **options)
    assert_within(problem.got(), problem.want(), problem.bound(), problem.name)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("channels", [16, 64, 256])
def test_the_error_is_a_small_multiple_of_the_direct_convolutions(tile, channels):
    """On values as networks have them: 0.7 and 2.7 times its root mean square are documented."""
    rng = np.random.default_rng(channels)
    x, weights, bias = layer(rng, 14, 14, channels, 16)
    want = reference.conv2d(x, weights, bias, padding=1)
    out = np.empty(want.shape, np.float32)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    inner = Map.of(padded)._replace(offset=Map.of(padded).at(1, 1).offset, height=14, width=14)
    run(conv.convolution(Map.of(out), inner, weights.transpose(0, 3, 1, 2), bias, PADDED))
    got = kernels.conv_3x3_winograd(x, WinogradFilterCache(weights, tile), 1, bias)
    direct, ours = (np.sqrt(np.mean((a - want) ** 2)) for a in (out, got))
    assert ours < {2: 1.3, 4: 3.5}[tile] * direct
    assert ours < 2e-6 * np.sqrt(np.mean(want**2))


def test_chosen_for_large_layers_of_stride_1_alone(monkeypatch):
    height, width, channels, outputs = CHOSEN
    rng = np.random.default_rng(1)
    x, weights, bias = layer(rng, *CHOSEN)
    residual = nonzero(rng, height, width, outputs)
    winograds = {"f32_winograd_input", "f32_winograd_product", "f32_winograd_output"}
    for activation in ("relu", "silu"):
        options = {"padding": 1, "activation": activation, "residual": residual}
        names, got = recorded(monkeypatch, kernels.conv2d, x, weights, bias, **options)
        assert names == winograds
        np.testing.assert_allclose(got, reference.conv2d(x, weights, bias, **options), atol=1e-5)
    halves = nonzero(rng, outputs, 3, 3, channels // 2)
    others = [
        (x, weights, {"stride": 2, "padding": 1}),
        (x, weights, {"stride": (1, 2), "padding": 1}),
        (x, weights, {"dilation": 2}),
        (x, halves, {"groups": 2}),
        (x, nonzero(rng, outputs, 1, 3, channels), {}),
        (x, nonzero(rng, 4, 3, 3, channels), {"padding": 1}),
        (x[:6, :6], weights, {"padding": 1}),
        (x[:1], weights, {"padding": 1}),
    ]
    for map_, filters, options in others:
        names, got = recorded(monkeypatch, kernels.conv2d, map_, filters, **options)
        assert names == {"f32_igemm"}, (map_.shape, filters.shape, options)
        np.testing.assert_allclose(got, reference.conv2d(map_, filters, **options), atol=1e-4)


@pytest.mark.parametrize("tile", [2, 4])
def test_maps_with_gaps_and_scratch_of_nan(tile):
    """Nothing but the map's own channels and the window's border is read, nor anything else set."""
    rng = np.random.default_rng(tile)
    x, weights, bias = nonzero(rng, 9, 7, 20), nonzero(rng, 24, 3, 3, 20), nonzero(rng, 24)
    residual = nonzero(rng, 9, 7, 24)
    wide = [np.full((15, 16, c + 9), np.nan, np.float32) for c in (20, 24, 24)]
    inside = [np.s_[3:12, 4:11, 4 : 4 + c] for c in (20, 24, 24)]
    wide[0][2:13, 3:12, 4:24] = 0  # the border
    wide[0][inside[0]], wide[1][inside[1]] = x, residual
    source, other, out = (
        Map.of(a)._replace(offset=Map.of(a).at(3, 4, 4).offset, height=9, width=7, channels=c)
        for a, c in zip(wide, (20, 24, 24), strict=True)
    )
    scratch = np.full(algorithm.scratch_size(9, 7, 20, 24, tile) + 32, np.nan, np.float32)
    filters, place = WinogradFilterCache(weights, tile), At(scratch, 16)
    first = PADDED.first_tap(source)
    run(algorithm.convolution(out, first, filters, bias, applied("relu"), other, place))
    want = kernels.conv_3x3_winograd(x, filters, 1, bias, "relu", residual)
    assert wide[2][inside[2]].tobytes() == want.tobytes()
    wide[2][inside[2]] = np.nan
    assert np.isnan(wide[2]).all()
    assert np.isnan(scratch[:16]).all() and np.isnan(scratch[-16:]).all()


@pytest.mark.parametrize("tile", [2, 4])
def test_blocks_of_any_size_give_the_same_bytes(tile, monkeypatch):
    rng = np.random.default_rng(tile)
    x, weights, bias = layer(rng, 31, 33, 12, 20)
    filters = WinogradFilterCache(weights, tile)
    want = kernels.conv_3x3_winograd(x, filters, 1, bias).tobytes()
    for block in (1, 20_000, 100_000, 10**9):
        monkeypatch.setattr(algorithm, "BLOCK", block)
        assert kernels.conv_3x3_winograd(x, filters, 1, bias).tobytes() == want


def test_outputs_are_transformed_once_whatever_the_channels():
    for channels in (16, 64):
        filters = WinogradFilterCache(np.ones((32, 3, 3, channels)))
        x, out = (Map.of(np.ones((s, s, c), np.float32)) for s, c in ((18, channels), (16, 32)))
        scratch = At(np.empty(algorithm.scratch_size(16, 16, channels, 32), np.float32))
        bias = np.zeros(32, np.float32)
        calls = algorithm.convolution(out, x, filters, bias, applied("identity"), None, scratch)
        done = {"input": 0, "output": 0}
        for call in filter(None, calls):
            values = dict(zip(call.kernel.parameters, call.args, strict=True))
            for stage in done:
                if call.kernel.family.name.endswith(stage):
                    done[stage] += values["tiles"] * values["channels"]
        assert done == {"input": 16 * channels, "output": 16 * 32}


@pytest.mark.parametrize("family", ["f32_winograd_input", "f32_winograd_output"])
@pytest.mark.parametrize(("target", "lanes"), [("aarch64", 4), ("haswell", 8)])
def test_transforms_stay_in_registers_as_far_as_they_fit(family, target, lanes):
    """36 values wait between the two dimensions: 16 or 32 registers spill some, and no more."""
    curve = {"CURVE": ""} if family.endswith("output") else {}
    kernel = getattr(winograd_transforms, family)(M=4, LANES=lanes, **curve)
    triple, cpu = TARGETS[target]
    code = assembly(kernel.llvm_ir(), cpu, triple=triple)
    stores = re.findall(r"st[rp]\s+q\d+.*\[sp|vmovu?a?ps\s+%ymm\d+, -?\d*\(%rsp\)", code)
    arithmetic = re.findall(r"\bf(?:mla|mls|add|sub|mul)\s+v|\bv(?:f\w+|add|sub|mul)ps\s", code)
    assert len(arithmetic) > 100
    assert len(stores) < len(arithmetic) / 2


BAD_CALLS = {
    "channels": lambda f: kernels.conv_3x3_winograd(np.ones((4, 4, 3)), f),
    "size": lambda f: kernels.conv_3x3_winograd(np.ones((2, 4, 5)), f),
    "bias": lambda f: kernels.conv_3x3_winograd(np.ones((4, 4, 5)), f, 0, np.ones(5)),
    "padding": lambda f: kernels.conv_3x3_winograd(np.ones((4, 4, 5)), f, padding=-1),
    "activation": lambda f: kernels.conv_3x3_winograd(np.ones((4, 4, 5)), f, activation="sine"),
    "residual": lambda f: kernels.conv_3x3_winograd(
        np.ones((4, 4, 5)), f, residual=np.ones((4, 4, 6))
    ),
    "tile": lambda f: WinogradFilterCache(np.ones((6, 3, 3, 5)), 3),
    "kernel": lambda f: WinogradFilterCache(np.ones((6, 5, 3, 3))),
    "no channels": lambda f: WinogradFilterCache(np.ones((6, 3, 3, 0))),
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_what_does_not_fit_is_refused(name):
    filters = WinogradFilterCache(np.ones((6, 3, 3, 5)))
    with pytest.raises(ValueError):
        BAD_CALLS[name](filters)


@pytest.mark.parametrize("tile", [2, 4])
@pytest.mark.parametrize("size", [7, 8, 13, 56])
def test_equals_pytorch(torch, tile, size):
    rng = np.random.default_rng(size)
    x, weights, bias = layer(rng, size, size, 24, 40)
    got = kernels.conv_3x3_winograd(x, WinogradFilterCache(weights, tile), 1, bias)
    tensors = [
        torch.from_numpy(np.ascontiguousarray(a))
        for a in (x.transpose(2, 0, 1)[None], weights.transpose(0, 3, 1, 2), bias)
    ]
    want = torch.nn.functional.conv2d(*tensors, padding=1)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-5)
