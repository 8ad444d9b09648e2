"""`doctor` says what is wrong, and `demo` shows the main job."""

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cli_checks import run, run_ok
from reference_net import ReferenceNet

import rvcnn
from rvcnn import demo, doctor


def findings() -> dict[str, doctor.Finding]:
    return {finding.subject: finding for finding in doctor.examine()}


def test_all_is_well(compiled):
    result = run("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert {"rvcnn", "python", *doctor.PACKAGES, "cpu", "lanes", "threads", "cache", "formats"} <= (
        set(lines)
    )
    assert lines["model"].startswith("mobilenetv3_small, 512 numbers, error ")
    assert "PROBLEM" not in result.stdout


def test_json(compiled):
    found = [json.loads(line) for line in run_ok("doctor", "--json").splitlines()]
    assert all(set(f) == {"subject", "value", "problem"} for f in found)
    assert [f["problem"] for f in found] == [None] * len(found)


def test_reference_numbers_are_those_of_a_float64_network():
    file = Path(rvcnn.__file__).parent / "data" / "mobilenetv3_small_rvcnn.safetensors"
    network = ReferenceNet.from_file(file)
    row = network(network.normalise(doctor.pattern()[None, 16:240, 16:240]))["output"][0]
    np.testing.assert_allclose(doctor.fold_embedding(row), doctor.SELF_CHECK, rtol=0, atol=1e-6)


def test_every_number_bears_on_the_self_check():
    folds = [doctor.fold_embedding(unit) for unit in np.eye(512)]
    assert np.abs(folds).max(axis=1).min() > 10 * doctor.SELF_CHECK_TOLERANCE


def test_wrong_numbers_are_a_problem(compiled, monkeypatch):
    monkeypatch.setattr(doctor, "SELF_CHECK", tuple(np.array(doctor.SELF_CHECK) + 2e-4))
    result = run("doctor")
    assert result.exit_code == 1
    assert "PROBLEM: its numbers are wrong on this machine" in result.stdout


def test_numbers_that_are_no_numbers_are_a_problem(compiled, monkeypatch):
    monkeypatch.setattr(doctor, "fold_embedding", lambda row: np.full(8, np.nan))
    assert findings()["model"].problem


def test_a_missing_decoder_is_a_problem(compiled, monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda codec: codec != "webp")
    found = findings()["formats"]
    assert found.problem == "this Pillow cannot read WebP: reinstall pillow"
    assert "WebP" not in found.value and "JPEG" in found.value


def test_a_missing_package_is_a_problem(compiled, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    assert findings()["no-such-package"].problem == "not installed: pip install no-such-package"


def test_a_check_that_fails_is_a_finding(compiled, monkeypatch):
    def broken():
        yield doctor.Finding("first", "here")
        raise RuntimeError("the rest\nis not")

    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    result = run("doctor")
    assert result.exit_code == 1
    assert "RuntimeError: the rest\\nis not" in result.stdout


@pytest.mark.skipif(os.name == "nt", reason="permissions of another kind")
def test_a_cache_that_cannot_be_kept_is_a_problem(compiled, tmp_path):
    (tmp_path / "file").write_text("")
    script = """
from rvcnn import doctor
from rvcnn.cli.engine import _tell_compiling
print([f.problem for f in doctor.cache()])
_tell_compiling("kernels", 15)
"""
    env = {**os.environ, "RVCNN_CACHE_DIR": str(tmp_path / "file"), "TMPDIR": str(tmp_path)}
    run = partial(subprocess.run, env=env, cwd=tmp_path, capture_output=True, text=True)
    done = run([sys.executable, "-c", script])
    assert "set RVCNN_CACHE_DIR" in done.stdout, done.stderr
    assert "once" not in done.stderr and "every process compiles anew" in done.stderr
    done = run([sys.executable, "-m", "rvcnn", "warmup"])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("rvcnn: nothing was compiled: the cache folder cannot be written")


def test_demo_on_an_empty_cache_within_a_minute(tmp_path):
    env = {**os.environ, "RVCNN_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "rvcnn", "demo"]
    shown = []
    for first in (True, False):
        started = time.monotonic()
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - started < 60
        assert done.stderr.startswith("compiling kernels for this CPU (once; about ") is first
        assert done.stderr.count("\n") == first
        shown.append(done.stdout)
    assert shown[0] == shown[1]
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert "  1.000  flower_tilted.jpg\n" in shown[0]
    assert "china.jpg  china_small.jpg\n" in shown[0]


def test_demo_finds_flowers_for_a_flower(compiled, tmp_path):
    result = demo.run(tmp_path, rvcnn.Embedder())
    assert result.images == len(demo.PHOTOS) * len(demo.EDITS)
    assert result.matches[0] == (pytest.approx(1, abs=1e-6), demo.QUERY)
    assert all(path.startswith("flower") for _, path in result.matches)
    assert len({(pair.first, pair.second) for pair in result.pairs}) == 5
    for pair in result.pairs:
        assert pair.first.split("_")[0].split(".")[0] == pair.second.split("_")[0].split(".")[0]
    assert [p.score for p in result.pairs] == sorted((p.score for p in result.pairs), reverse=True)


def test_demo_without_its_photographs(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    result = run("demo")
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "rvcnn: the demo's photographs come with scikit-learn: pip install scikit-learn\n"
    )
