"""What the engines run: weights, the same network as ONNX, and both in int8."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import common
import networks
import numpy as np
import peers

from rvcnn.images import Preprocess, decode

QUANTISE = str(Path(__file__).with_name("quantise.py"))


class Case(NamedTuple):
    """A network in all the files that engines read.

    Attributes
    ----------
    name : str
    weights : str
        safetensors file.
    onnx : str
        Empty where no engine needs it.
    int8 : dict of str to str
        For each engine that computes in int8, its own file.
    """

    name: str
    weights: str
    onnx: str
    int8: dict[str, str]

    def job(self, engine: str, output: str, size: int, threads: int, mode: str) -> peers.Job:
        """What an engine is told to run."""
        files = {"weights": self.weights, "onnx": self.onnx}
        if engine in self.int8:
            files["onnx" if peers.ENGINES[engine].needs_onnx else "weights"] = self.int8[engine]
        return peers.Job(**files, output=output, size=size, threads=threads, mode=mode)


def write_onnx(weights: str, output: str, size: int, fold: bool, folder: Path) -> str:
    """Export a network next to the other files of a run."""
    import onnx

    from rvcnn.onnx.export.graph import to_onnx
    from rvcnn.passes.fold_batch_norm import fold_batch_norm

    file = folder / f"{Path(weights).stem}.{output}.onnx"
    graph = networks.load(weights, output).graph
    graph = fold_batch_norm(graph) if fold else graph
    onnx.save(to_onnx(graph, (size, size, 3), batch=1, output=output), file)
    return str(file)


def preprocess(weights: str, size: int) -> Preprocess:
    """A weights file's preprocessing, for another size by enlarging both of its sides."""
    stated = Preprocess.from_metadata(networks.metadata(weights))
    return Preprocess.from_metadata(
        networks.metadata(weights), resize=stated.resize * size // stated.crop, crop=size
    )


def pixels(weights: str, size: int, files: Iterable[Path]) -> np.ndarray:
    """Photographs as a network sees them before it normalises: (N, size, size, 3) bytes."""
    shape = preprocess(weights, size)
    return np.stack([shape.pixels(decode(file).image) for file in files])


def quantise(
    engines: Iterable[str],
    case: Case,
    output: str,
    pixels: np.ndarray,
    folder: Path,
) -> Case:
    """A case with the files of each engine that computes in int8.

    Each is written by a process of its own, which calibrates on ``pixels``, (N, H, W, 3) bytes.
    """
    shape = preprocess(case.weights, pixels.shape[1])
    mean, std = (",".join(map(str, values)) for values in (shape.mean, shape.std))
    np.save(folder / "calibration.npy", pixels)
    files = {}
    for engine in engines:
        entry = peers.ENGINES[engine]
        if not entry.int8_suffix:
            continue
        network = case.onnx if entry.needs_onnx else case.weights
        file = str(folder / f"{case.name}.{output}.{engine}{entry.int8_suffix}")
        common.note(f"{engine}: calibrates on {len(pixels)} images")
        command = [sys.executable, QUANTISE, engine, network, str(folder / "calibration.npy"), file]
        settings = [f"--output={output}", f"--mean={mean}", f"--std={std}"]
        done = subprocess.run([*command, *settings], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{engine} cannot quantise {network}:\n{done.stderr}")
        files[engine] = file
    return case._replace(int8=files)
