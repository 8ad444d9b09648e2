"""Latencies are kept after a measurement, for the machine that was measured; none is made up."""

import json

import pytest
from cli_checks import run_ok

from rvcnn import __version__, measured
from rvcnn.bench import Report


def report(model="resnet18", precision="fp32", size=224, ms=12.3456):
    return Report(model, precision, size, [], ms, 100.0, 1, ms, 80.0, 100.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(measured, "user_cache", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def test_nothing_is_shown_before_a_measurement(cache):
    assert measured.measured_here() == [] and not cache.exists()
    assert "ms an image" not in run_ok("models")


def test_the_latest_of_a_kind_is_kept_with_its_day_and_version(cache):
    for ms, options in ((1.0, {}), (2.0, {"precision": "int8"}), (3.0, {"size": 64}), (4.5678, {})):
        measured.remember(report(ms=ms, **options))
    rows = {(r.precision, r.input_size): r for r in measured.measured_here()}
    assert {key: row.image_ms for key, row in rows.items()} == {
        ("int8", 224): 2.0,
        ("fp32", 64): 3.0,
        ("fp32", 224): 4.568,
    }
    row = rows["fp32", 224]
    assert row.version == __version__ and len(row.date.split("-")) == 3
    lines = run_ok("models").splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("resnet18"))
    shown = f"  4.57 ms an image of 224 x 224 in fp32, one thread of this machine ({row.date}, "
    assert lines[place + 2] == f"{shown}rvcnn {__version__})"
    models = [json.loads(line) for line in run_ok("models", "--json").splitlines()]
    found = {model["model"]: model["measured"] for model in models}
    assert [r["image_ms"] for r in found["resnet18"]] == [3.0, 4.568, 2.0]
    assert found["resnet50"] == []


def test_another_machines_are_kept_but_not_shown(monkeypatch):
    measured.remember(report(ms=1.0))
    monkeypatch.setattr(measured.platform, "node", lambda: "another")
    assert measured.measured_here() == []
    measured.remember(report(ms=2.0))
    assert [row.image_ms for row in measured.measured_here()] == [2.0]
    monkeypatch.undo()


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "3", '[{"model": "resnet18"}]', "[3]", "[" * 100_000, '{"a": 1}'],
    ids=lambda text: text[:10],
)
def test_a_damaged_file_tells_nothing_and_is_replaced(cache, text):
    cache.mkdir()
    measured.measurements_file().write_text(text)
    assert measured.measured_here() == []
    measured.remember(report())
    assert len(measured.measured_here()) == 1


def test_values_of_other_types_are_left_out(cache):
    measured.remember(report())
    (row,) = json.loads(measured.measurements_file().read_text())
    measured.measurements_file().write_text(json.dumps([row | {"image_ms": "fast"}, row]))
    assert len(measured.measured_here()) == 1


def test_a_cache_that_cannot_be_written_is_no_error(cache):
    cache.write_text("a file where the folder should be")
    measured.remember(report())
    assert measured.measured_here() == []


def test_bench_remembers(compiled):
    run_ok("bench", "--input-size", "64")
    (row,) = measured.measured_here()
    assert (row.model, row.precision, row.input_size) == ("mobilenetv3_small", "fp32", 64)
    assert row.image_ms > 0
