"""The scripts of benchmarks/ still run, and write what compare.py reads."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
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


def test_calibrations(tmp_path):
    rows = measured("calibrations.py", "--calibrations", "minmax", folder=tmp_path)
    figures = {(r["engine"], r["mode"]): float(r["median"]) for r in rows if "embed" in r["case"]}
    assert figures["minmax", "cosine"] > 85
    assert figures["minmax", "error of maps"] < 20
    assert figures["largest value", "error of the weights"] < 2


def test_winograd(tmp_path):
    rows = measured("winograd.py", folder=tmp_path)
    assert {row["engine"] for row in rows} == {"direct", "F(2x2)", "F(4x4)"}
    assert {row["mode"] for row in rows} == {"warm", "cold"}
    assert all(float(row["ratio"]) == 1 for row in rows if row["engine"] == "direct")


@pytest.mark.compare
def test_imported(tmp_path):
    pytest.importorskip("onnx", reason="the extra `onnx`")
    rows = measured("imported.py", folder=tmp_path)
    assert [row["engine"] for row in rows] == ["built in", "imported"]


@pytest.mark.compare
def test_imported_from_others(tmp_path):
    for name in ("torch", "onnxruntime"):
        pytest.importorskip(name, reason="the extra `compare`")
    names = "--exported", "keywords_dscnn", "--quantised", "mobilenetv3_small"
    rows = measured("imported.py", *names, folder=tmp_path)
    assert [row["engine"] for row in rows] == ["onnxruntime", "rvcnn"] * 2


def test_filters(tmp_path):
    rows = measured("filters.py", folder=tmp_path)
    shares = [float(row["median"]) for row in rows if row["mode"] == "as brute force"]
    assert shares == [1] * 4
    names = [row["engine"] for row in rows if row["mode"] == "search"]
    assert names == ["no filter", "all", "half", "hundredth", "tenthousandth"]
    assert sum(row["mode"] == "first" for row in rows) == 2


def test_scan(tmp_path):
    rows = measured("scan.py", folder=tmp_path)
    kinds = [(row["engine"], row["unit"], row["threads"]) for row in rows]
    assert kinds == [
        *((dtype, "ms", n) for dtype in ("float32", "int8") for n in "12"),
        ("int8", "share", ""),
        ("int8, upper bytes alone", "share", ""),
    ]
    assert float(rows[4]["median"]) > 0.99


def test_dedup(tmp_path):
    rows = measured("dedup.py", folder=tmp_path)
    pairs = {(row["engine"], row["threads"]) for row in rows if row["mode"] == "all pairs"}
    assert {("rvcnn float32", "2"), ("rvcnn int8", "2")} <= pairs
    equal = [row["case"] for row in rows if row["mode"] == "equal to the whole matrix"]
    assert len(equal) == 2
    assert {"as it is", "in eight orientations"} <= {row["engine"] for row in rows}


def test_dedup_thresholds(data, tmp_path, monkeypatch):
    monkeypatch.setenv("RVCNN_TEST_DATA", str(data))
    rows = measured("dedup.py", "--only", "edits", folder=tmp_path)
    share = {row["mode"]: float(row["median"]) for row in rows if row["unit"] == "share"}
    assert len(share) == 12
    assert share["recall, mirror"] > 0.5
    (highest,) = [float(row["median"]) for row in rows if row["mode"] == "at most"]
    assert 0.1 < highest < 0.85  # of different photographs: README's default threshold is above


def test_engines_alone(tmp_path):
    rows = measured("engines.py", "--engines", "rvcnn", folder=tmp_path)
    kinds = [(row["engine"], row["mode"], row["threads"]) for row in rows]
    modes = [("rvcnn fp32", m, n) for m in ("latency", "stream") for n in "12"]
    assert kinds == [*modes, ("peak", "stream", "1"), ("peak", "stream", "2")]


def test_engines_in_int8(tmp_path):
    rows = measured(
        "engines.py", "--engines", "rvcnn", "rvcnn-int8", "--threads", 1, folder=tmp_path
    )
    engines = [row["engine"] for row in rows]
    assert engines == ["rvcnn fp32", "rvcnn-int8 int8"] * 2 + ["peak"]
    assert not any(row["ratio"] for row in rows)


def beside(peer, folder):
    """Measure a peer beside rvcnn; those of one group are compared."""
    rows = measured("engines.py", "--engines", "rvcnn", peer, "--threads", 1, folder=folder)
    engines = [row["engine"].split()[0] for row in rows]
    assert engines == ["rvcnn", peer, "rvcnn", peer, "peak"]
    int8 = "int8" in peer
    assert rows[1]["engine"].endswith(" int8") == int8
    held = not int8 and peer != "openvino-default"
    assert [bool(row["ratio"]) for row in rows[:2]] == [held, held or int8]


@pytest.mark.compare
def test_engines_beside_pytorch(tmp_path):
    pytest.importorskip("torch")
    beside("pytorch", tmp_path)


@pytest.mark.compare
@pytest.mark.parametrize("peer", ["onnxruntime", "onnxruntime-int8"])
def test_engines_beside_onnx_runtime(peer, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    beside(peer, tmp_path)


@pytest.mark.parametrize(
    "peer", ["openvino", "openvino-default", "openvino-int8", "openvino-int8-mixed"]
)
def test_engines_beside_openvino(peer, tmp_path):
    for package in ("onnx", "openvino", "nncf"):
        pytest.importorskip(package)
    beside(peer, tmp_path)


@pytest.mark.compare
def test_engines_that_disagree_are_not_timed(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    for seed in (0, 1):
        run_in(
            tmp_path, f"networks.write_random_weights('mobilenetv3_small', Path('{seed}'), {seed})"
        )
    run_in(tmp_path, "cases.write_onnx('1', 'logits', 64, True, Path())")
    files = ("--weights", "0", "--onnx", "1.logits.onnx")
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
    code = f"import cases, networks; from pathlib import Path; {code}"
    environment = os.environ | {"PYTHONPATH": str(BENCHMARKS)}
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, check=True)


@pytest.mark.parametrize("size", [[], ["--large"]], ids=["small", "large"])
def test_folder(size, tmp_path):
    rows = measured("folder.py", *size, folder=tmp_path)
    ours = ["rvcnn", "rvcnn, index", "rvcnn int8", "rvcnn int8, index"]
    assert [row["engine"] for row in rows][:4] == ours
    assert len(rows) in (4, 7)


def test_startup(tmp_path):
    rows = measured("startup.py", folder=tmp_path)
    assert [row["case"] for row in rows][:2] == ["embed of one image", "--help"]
    assert len(rows) == (4 if hasattr(os, "wait4") else 2)


def test_quality(tmp_path):
    rows = measured("quality.py", "--engines", "rvcnn", "rvcnn-int8", folder=tmp_path)
    engines = {"rvcnn fp32", "rvcnn-int8 int8", "rvcnn-int8, shipped int8"}
    assert {row["engine"] for row in rows} == engines
    assert {row["unit"] for row in rows} == {"%"}
    shares = {(row["engine"], row["mode"]): float(row["median"]) for row in rows}
    for mode, least in (("recall@10", 50), ("cosine", 80), ("cosine, not calibrated on", 80)):
        assert shares["rvcnn fp32", mode] == pytest.approx(100)
        assert least < shares["rvcnn-int8 int8", mode] < 99.999


@pytest.mark.compare
def test_quality_of_onnx_runtime(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    rows = measured("quality.py", "--engines", "rvcnn", "onnxruntime-int8", folder=tmp_path)
    theirs = [row for row in rows if row["engine"] == "onnxruntime-int8 int8"]
    cosines = [float(row["median"]) for row in theirs if row["mode"] == "cosine"]
    assert cosines and all(30 < c < 99.99 for c in cosines)


@pytest.fixture
def quality(monkeypatch):
    """The script's measures."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import quality

    return quality


def test_recall_is_the_share_of_neighbours_kept(quality):
    angles = np.deg2rad([0, 1, 3, 90, 91, 93])
    fine = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert quality.recalls(fine, 7 * fine, nearest=2).tolist() == [1] * 6
    swapped = fine[[0, 1, 3, 2, 4, 5]]
    # 0 and 1 keep each other; 2 has gone to the other end, and 3 to theirs.
    assert quality.recalls(swapped, fine, nearest=2).tolist() == [0.5, 0.5, 0, 0, 0.5, 0.5]
    assert quality.cosines(swapped, fine)[2:4] == pytest.approx(np.cos(np.deg2rad([87, 87])))


def test_top1_knows_the_classes_of_the_photographs(quality):
    logits = np.zeros((4, 10))
    logits[np.arange(4), [0, 2, 5, 6]] = 1
    assert quality.top1(logits) == 0.75


def test_seed_table(tmp_path):
    rows = measured("seed_table.py", folder=tmp_path)
    cases = {row["case"] for row in rows}
    ways = {case: {r["engine"] for r in rows if r["case"] == case} for case in cases}
    assert all({"rvcnn", "loops", "numpy"} <= found for found in ways.values())
    assert len(cases) >= 18
    assert {row["unit"] for row in rows} == {"us", "%"}


@pytest.mark.compare
def test_seed_table_beside_pytorch(tmp_path):
    pytest.importorskip("torch")
    rows = measured("seed_table.py", "--rows", "ReLU", "dot products of 256", folder=tmp_path)
    mine = [row for row in rows if row["engine"] == "rvcnn" and row["unit"] == "us"]
    assert len(mine) == 3
    assert all(float(r["ratio"]) > 0 and r["ratio_to"].startswith("pytorch") for r in mine)


def results(file, **medians):
    """A results file with a series for each keyword, ``unit_noise`` to its median."""
    lines = ["benchmark,engine,case,threads,mode,unit,target,machine,median,noise"]
    for name, median in medians.items():
        unit, _, noise = name.partition("_")
        unit = {"rate": "images/s", "share": "%"}.get(unit, unit)
        lines.append(f"engines,rvcnn,{name},1,latency,{unit},x,m,{median},{noise}")
    file.write_text("\n".join(lines))
    return file


def test_compare_flags_what_is_beyond_the_noise(tmp_path):
    before = results(tmp_path / "a", ms_0=10, ms_5=10, ms_1=10, rate_1=100, s_0=1, share_0=80)
    after = results(tmp_path / "b", ms_0=10.2, ms_5=11.4, ms_1=11, rate_1=120, MB_0=9, share_0=76)
    done = run("compare.py", before, after, folder=tmp_path, code=1)
    worse, less, better = done.stdout.splitlines()
    assert "10.0 % worse" in worse and "ms_1" in worse
    assert "5.0 % worse" in less and "share_0" in less
    assert "20.0 % better" in better and "rate_1" in better
    assert done.stderr.startswith("5 series in both files, 3 differ")
    same = run("compare.py", before, before, folder=tmp_path)
    assert same.stdout == ""
    assert "rate_1" in run("compare.py", after, before, folder=tmp_path, code=1).stdout


@pytest.mark.slow
def test_ann(tmp_path):
    cache = "--cache", tmp_path / "cache"
    rows = measured("ann.py", "--engines", "rvcnn", *cache, folder=tmp_path)
    shares = [float(row["median"]) for row in rows if row["case"].endswith("recall")]
    assert len(shares) == 2 and min(shares) >= 0.95
    run("ann_plot.py", tmp_path / "results.csv", tmp_path / "plot.svg", folder=tmp_path)
    assert (tmp_path / "plot.svg").read_text().count("<polyline") == 4
