"""`rvcnn bench` and what it measures with."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from rvcnn import bench, create_model
from rvcnn.cli import app
from rvcnn.errors import ShapeError
from rvcnn.kernels import FAMILIES, Program, lanes, limits
from rvcnn.passes import optimise
from rvcnn.peak import Peak, ReadBandwidth
from rvcnn.plan import Plan

PRODUCTS = ("Conv2d", "Linear")


@pytest.fixture(scope="module")
def small():
    return create_model("mobilenetv3_small", weights="random", num_classes=10)


@pytest.fixture(scope="module")
def parts(small):
    plan = Plan(optimise(small.graph), (48, 64, 3), bench.PIXELS)
    return plan, bench.layers(plan)


def test_layers_are_the_nodes_of_the_optimised_graph(small, parts):
    names = [node.name for node in optimise(small.graph).nodes]
    assert [layer.name for layer in parts[1]] == ["input", *names]


def test_layers_run_one_by_one_give_the_plans_result(parts):
    plan, layers = parts
    image = np.random.default_rng(0).integers(0, 256, plan.input_shape, np.uint8)
    clock = bench.LayerClock(plan, layers, image)
    for program in clock.programs:
        program.run()
    (want,) = plan.run(image)
    assert np.array_equal(clock._workspace._map(plan.outputs[0]), want)
    assert len(clock.sample()) == len(layers)


def test_flops_and_bytes_of_layers(parts):
    layers = {layer.name: layer for layer in parts[1]}
    stem = layers["features.0.2"]  # 3x3, stride 2, 3 to 16 channels
    assert stem.flops == 2 * (24 * 32) * 16 * 27
    assert stem.map_bytes == 4 * (48 * 64 * 3 + 24 * 32 * 16)
    assert stem.weight_bytes == 4 * 16 * 27
    depthwise = layers["features.1.block.0.2"]  # 3x3, stride 2, 16 channels
    assert depthwise.flops == 2 * (12 * 16) * 16 * 9
    assert layers["classifier.3"].flops == 2 * 1024 * 10
    assert layers["input"].map_bytes == 48 * 64 * 3 * (1 + 4)
    assert layers["pooled"].flops == layers["pooled"].weight_bytes == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_measure(small, threads):
    report = bench.measure(small, size=32, threads=threads, seconds=0)
    assert report.model == "mobilenetv3_small" and report.input_size == 32
    for layer, microseconds, gflops, percent in report.layers:
        assert microseconds > 0
        if layer.kind in PRODUCTS:
            assert gflops == pytest.approx(layer.flops / microseconds / 1e3)
            assert percent == pytest.approx(100 * gflops / report.peak_gflops)
        else:
            assert gflops is None and percent is None
    whole = (report.image_ms, report.image_ms_threads, report.images_per_second)
    assert min(*whole, report.peak_gflops, report.peak_gflops_threads) > 0


def test_measure_refuses_what_the_model_refuses(small):
    with pytest.raises(ShapeError, match="from 32 pixels up"):
        bench.measure(small, size=16)


@pytest.mark.parametrize("chains", limits.CHAINS)
def test_peak_loop_computes(chains):
    out = np.full(chains * lanes(), np.nan, np.float32)
    a_and_b = np.repeat(np.array([0.5, 3], np.float32), lanes())
    Program([limits.multiply_adds(out, a_and_b, chains, 3)]).run()
    start = np.repeat(np.arange(chains), lanes())
    assert np.array_equal(out, ((start * 0.5 + 3) * 0.5 + 3) * 0.5 + 3)


def test_read_loop_reads_every_value():
    x = np.random.default_rng(0).integers(-9, 9, 3 * limits.STREAMS * lanes()).astype(np.float32)
    out = np.full(limits.STREAMS * lanes(), np.nan, np.float32)
    Program([limits.read(out, x, 2)]).run()
    assert np.array_equal(out, 2 * x.reshape(3, -1).sum(0))


def test_limits_are_no_kernels_of_the_networks():
    assert {"f32_multiply_adds", "f32_read"}.isdisjoint(FAMILIES)


def test_samples_are_positive():
    assert Peak().sample() > 0
    assert Peak(threads=2).sample() > 0
    assert Peak("int8").sample() > 0
    assert ReadBandwidth(100).sample() > 0


def test_command_prints_a_line_a_layer():
    result = CliRunner().invoke(app, ["bench", "--input-size", "32"])
    assert result.exit_code == 0, result.stderr
    table, summary = result.stdout.split("\n\n")
    heading, *lines = table.splitlines()
    assert heading.split()[:2] == ["layer", "output"]
    assert lines[0].startswith("input") and lines[-1].startswith("normalized")
    assert "f32_igemm" in table and summary.startswith("one thread: ")


def test_command_as_json_of_a_model_without_weights():
    args = ["bench", "--json", "--input-size", "32", "-m", "mobilenetv3_large", "--threads", "2"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 0, result.stderr
    *layers, whole = map(json.loads, result.stdout.splitlines())
    assert whole["model"] == "mobilenetv3_large" and whole["threads"] == 2
    assert layers[0] | {"us": 0} == {
        "layer": "input",
        "output": [32, 32, 3],
        "us": 0,
        "gflops": None,
        "percent_of_peak": None,
        "kernels": layers[0]["kernels"],
    }


def test_command_names_what_is_wrong():
    result = CliRunner().invoke(app, ["bench", "--input-size", "8"])
    assert result.exit_code != 0
    assert result.stderr.splitlines()[-1].startswith("rvcnn: mobilenetv3_small takes images from")
