"""The scripts of benchmarks/ still run, and write what compare.py reads."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
SERIES = "benchmark engine case threads mode unit target".split()


def run(script, *arguments, folder, code=0):
    """Run a script to its end, and return it."""
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    return done


def measured(script, *arguments, folder):
    """Rows that a script writes in its quick mode; each has sane figures."""
    file = folder / "results.csv"
    run(script, "--quick", "-o", file, *arguments, folder=folder)
    with open(file, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        figures = [float(row[name]) for name in ("min", "p10", "median", "p90")]
        assert 0 < figures[0] and figures == sorted(figures)
        assert row["machine"] and row["date"] and int(row["cores"]) >= 1
    assert len({tuple(row[name] for name in SERIES) for row in rows}) == len(rows)
    return rows


def test_peak(tmp_path):
    rows = measured("peak.py", folder=tmp_path)
    assert {row["unit"] for row in rows} == {"GFLOP/s", "GB/s"}


def test_kernels(tmp_path):
    rows = measured("kernels.py", folder=tmp_path)
    assert {row["mode"] for row in rows} == {"product", "convolution", "one row", "memory"}
    assert all(float(row["ratio"]) > 0 for row in rows)


def test_winograd(tmp_path):
    rows = measured("winograd.py", folder=tmp_path)
    assert {row["engine"] for row in rows} == {"direct", "F(2x2)", "F(4x4)"}
    assert {row["mode"] for row in rows} == {"warm", "cold"}
    assert all(float(row["ratio"]) == 1 for row in rows if row["engine"] == "direct")


def test_scan(tmp_path):
    rows = measured("scan.py", folder=tmp_path)
    kinds = [(row["engine"], row["unit"], row["threads"]) for row in rows]
    assert kinds == [
        *((dtype, "ms", n) for dtype in ("float32", "int8") for n in "12"),
        ("int8", "share", ""),
        ("int8, upper bytes alone", "share", ""),
    ]
    assert float(rows[4]["median"]) > 0.99


def test_engines_alone(tmp_path):
    rows = measured("engines.py", "--engines", "rvcnn", folder=tmp_path)
    kinds = [(row["engine"], row["mode"], row["threads"]) for row in rows]
    modes = [("rvcnn fp32", m, n) for m in ("latency", "stream") for n in "12"]
    assert kinds == [*modes, ("peak", "stream", "1"), ("peak", "stream", "2")]


def beside(peer, folder):
    rows = measured("engines.py", "--engines", "rvcnn", peer, "--threads", 1, folder=folder)
    engines = [row["engine"].split()[0] for row in rows]
    assert engines == ["rvcnn", peer, "rvcnn", peer, "peak"]
    assert [bool(row["ratio"]) for row in rows[:2]] == [peer != "openvino-default"] * 2


@pytest.mark.compare
def test_engines_beside_pytorch(tmp_path):
    pytest.importorskip("torch")
    beside("pytorch", tmp_path)


@pytest.mark.parametrize("peer", ["onnxruntime", "openvino", "openvino-default"])
def test_engines_beside(peer, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip(peer.split("-")[0])
    beside(peer, tmp_path)


def test_engines_that_disagree_are_not_timed(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    for seed in (0, 1):
        run_in(
            tmp_path, f"networks.write_random_weights('mobilenetv3_small', Path('{seed}'), {seed})"
        )
    run("export_onnx.py", "1", "other.onnx", "--input-size", 64, folder=tmp_path)
    files = ("--weights", "0", "--onnx", "other.onnx")
    done = run(
        "engines.py",
        "--quick",
        *files,
        "--engines",
        "rvcnn",
        "onnxruntime",
        folder=tmp_path,
        code=1,
    )
    assert "onnxruntime (latency, 1 threads) is off by" in done.stderr
    assert done.stdout == ""


def run_in(folder, code):
    """Run a statement that knows the benchmarks' modules."""
    code = f"import networks; from pathlib import Path; {code}"
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)


@pytest.mark.parametrize("size", [[], ["--large"]], ids=["small", "large"])
def test_folder(size, tmp_path):
    rows = measured("folder.py", *size, folder=tmp_path)
    assert [row["engine"] for row in rows][:2] == ["rvcnn", "rvcnn, index"]
    assert len(rows) in (2, 5)


def test_startup(tmp_path):
    rows = measured("startup.py", folder=tmp_path)
    assert [row["case"] for row in rows][:2] == ["embed of one image", "--help"]
    assert len(rows) == (4 if hasattr(os, "wait4") else 2)


def results(file, **medians):
    """A results file with a series for each keyword, ``unit_noise`` to its median."""
    lines = ["benchmark,engine,case,threads,mode,unit,target,machine,median,noise"]
    for name, median in medians.items():
        unit, _, noise = name.partition("_")
        unit = {"rate": "images/s"}.get(unit, unit)
        lines.append(f"engines,rvcnn,{name},1,latency,{unit},x,m,{median},{noise}")
    file.write_text("\n".join(lines))
    return file


def test_compare_flags_what_is_beyond_the_noise(tmp_path):
    before = results(tmp_path / "a", ms_0=10, ms_5=10, ms_1=10, rate_1=100, s_0=1)
    after = results(tmp_path / "b", ms_0=10.2, ms_5=11.4, ms_1=11, rate_1=120, MB_0=9)
    done = run("compare.py", before, after, folder=tmp_path, code=1)
    worse, better = done.stdout.splitlines()
    assert "10.0 % worse" in worse and "ms_1" in worse
    assert "20.0 % better" in better and "rate_1" in better
    assert done.stderr.startswith("4 series in both files, 2 differ")
    same = run("compare.py", before, before, folder=tmp_path)
    assert same.stdout == ""
    assert "rate_1" in run("compare.py", after, before, folder=tmp_path, code=1).stdout
