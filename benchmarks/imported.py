"""What it costs that a network comes as ONNX: its time beside the built-in one's, in one process.

A network with random weights is written as ONNX, its activations spelt out in primitive operators
as other exporters do, imported again, and run by turns with the one that was written. The other
options hold ONNX files against ONNX Runtime instead: networks of `exported_nets.py` that PyTorch
exports, built-in ones that ONNX Runtime quantises, or any files.

    python benchmarks/imported.py
    python benchmarks/imported.py --exported vit_tiny convnext_tiny
    python benchmarks/imported.py --quantised mobilenetv2 resnet18 --kind QOperator
    python benchmarks/imported.py --onnx detector.onnx --size 1 3 416 416
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import common
import networks
import numpy as np
import onnx
import quantise
from onnx import helper, numpy_helper

import rvcnn
from rvcnn.images import Preprocess

SPELT = {
    "HardSwish": "Add x three a;Clip a zero six b;Mul x b c;Div c six y",
    "HardSigmoid": "Add x three a;Clip a zero six b;Div b six y",
}
"""Operators with their inputs and output that other exporters write."""

NUMBERS = {"zero": 0, "three": 3, "six": 6}

CALIBRATION = 20
"""Images that a quantiser sees."""

MIDDLE = Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3)
"""Brings pixels to [-1, 1]."""

STEPS = 0.1
"""How far apart results of bytes may be: a byte that is rounded otherwise is one step, and every
layer may add some."""


def spell_out(path: Path) -> None:
    """Replace activations by primitive operators, as PaddlePaddle's exporter writes them."""
    model = onnx.load(path)
    graph, nodes = model.graph, list(model.graph.node)
    graph.initializer.extend(
        numpy_helper.from_array(np.float32(value), name) for name, value in NUMBERS.items()
    )
    del graph.node[:]
    for node in nodes:
        if node.op_type not in SPELT:
            graph.node.append(node)
            continue
        names = {"x": node.input[0], "y": node.output[0]} | {name: name for name in NUMBERS}
        for line in SPELT[node.op_type].split(";"):
            kind, *inputs, output = line.split()
            inner = [names.setdefault(n, f"{node.output[0]}/{n}") for n in (*inputs, output)]
            graph.node.append(helper.make_node(kind, inner[:-1], inner[-1:]))
    onnx.save(model, path)


def built_in(name: str, folder: Path, given) -> dict[str, Callable]:
    """A network as it is built in and as it comes back from ONNX, on the same image."""
    weights, path = folder / f"{name}.safetensors", folder / f"{name}.onnx"
    networks.write_random_weights(name, weights, given.seed)
    own = networks.load(weights, "embedding")
    rvcnn.export_onnx(own, path, size=given.input_size)
    spell_out(path)
    other = rvcnn.create_model(weights=path)
    size, x = (given.input_size,) * 2, networks.images(1, given.input_size, given.seed)[0]
    runs = {"built in": own.plan(size).run, "imported": other.plan(size).run}
    check(runs["imported"](x)[0], runs["built in"](x)[0], name)
    return {engine: lambda run=run: run(x) for engine, run in runs.items()}


def exported(name: str, folder: Path, given) -> dict[str, Callable]:
    """A network that PyTorch exports."""
    import exported_nets

    path = folder / f"{name}.onnx"
    return foreign(path, exported_nets.export(name, path, given.seed), given)


def quantised(name: str, folder: Path, given) -> dict[str, Callable]:
    """A built-in network that ONNX Runtime quantised."""
    weights, path = folder / f"{name}.safetensors", folder / f"{name}.onnx"
    networks.write_random_weights(name, weights, given.seed)
    size = given.input_size
    rvcnn.export_onnx(networks.load(weights, "logits"), path, size=size)
    count = 2 if given.quick else CALIBRATION
    images = quantise.Images(networks.pictures(count, size, given.seed), MIDDLE)
    other = folder / f"{name}.int8.onnx"
    quantise.by_onnxruntime(str(path), images, str(other), "logits", given.kind)
    return foreign(other, (1, 3, size, size), given, within=STEPS)


def foreign(path: Path, shape, given, within=1e-3) -> dict[str, Callable]:
    """A model in rvcnn and in ONNX Runtime, on one thread each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    runtime = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session, name = rvcnn.onnx.load(path), runtime.get_inputs()[0].name
    x = np.random.default_rng(given.seed).uniform(-1, 1, shape).astype(np.float32)
    for got, want in zip(session.run(x), runtime.run(None, {name: x}), strict=True):
        check(got, want, path.name, within)
    return {"onnxruntime": lambda: runtime.run(None, {name: x}), "rvcnn": lambda: session.run(x)}


def check(got, want, name: str, within=1e-3) -> None:
    """Stop unless two results agree to a share of the largest value."""
    off = np.abs(got - want).max() / np.abs(want).max()
    if not off <= within:
        raise SystemExit(f"{name}: results are {off:.1e} apart")


def measure(case: str, runs: dict[str, Callable], given) -> list[dict]:
    """Time two ways by turns, print a line, and return its rows."""
    rng, blocks = random.Random(given.seed), {engine: [] for engine in runs}
    for _ in common.counted(given.rounds):
        for engine in rng.sample(list(runs), len(runs)):
            block, end = [], perf_counter() + given.seconds
            runs[engine]()
            while perf_counter() < end or not block:
                start = perf_counter()
                runs[engine]()
                block.append((perf_counter() - start) * 1e3)
            blocks[engine].append(block)
    first, second = runs
    rows = []
    for engine in runs:
        more = {"ratio": common.paired_ratio(blocks[engine], blocks[first]), "ratio_to": first}
        summary = common.summarise(blocks[engine])
        rows.append(common.row("imported", engine, case, "ms", summary, threads=1) | more)
    text = "  ".join(f"{row['engine']} {row['median']:.3f} ms" for row in rows)
    print(f"{case:24} {text}  {second} / {first} {rows[1]['ratio']:.3f}", flush=True)
    return rows


def main() -> None:
    """Measure the networks one after the other."""
    parser = common.arguments(__doc__, seconds=0.1)
    parser.add_argument("--networks", nargs="+", default=["mobilenetv3_small"])
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--exported", nargs="+", default=[], help="networks of exported_nets.py")
    parser.add_argument("--quantised", nargs="+", default=[], help="built-in networks, in int8")
    parser.add_argument("--kind", choices=["QDQ", "QOperator", "dynamic"], default="QDQ")
    parser.add_argument("--onnx", nargs="+", type=Path, default=[], help="files")
    parser.add_argument("--size", nargs="+", type=int, default=[1, 3, 224, 224], help="their input")
    given = parser.parse_args()
    if given.quick:
        given.input_size, given.rounds, given.seconds = 32, 2, 0.001
    rows = []
    for path in given.onnx:
        rows += measure(path.name, foreign(path, given.size, given), given)
    kinds = {exported: given.exported, quantised: given.quantised}
    words = {built_in: "", exported: "exported", quantised: f"quantised {given.kind}"}
    if not (given.onnx or given.exported or given.quantised):
        kinds = {built_in: given.networks}
    with tempfile.TemporaryDirectory() as folder:
        for kind, names in kinds.items():
            for name in names:
                case = f"{name} {words[kind]}".strip()
                rows += measure(case, kind(name, Path(folder), given), given)
    common.write_rows(given.csv, rows)


if __name__ == "__main__":
    main()
