"""Hostile weights files: each loads or gives one clear error; nothing runs, hangs or grows."""

import ast
import io
import subprocess
import sys
from pathlib import Path

import checkpoints as c
import hostile_weights
import numpy as np
import pytest
from safetensors.numpy import save

from rvcnn.errors import WeightsError
from rvcnn.weights import load_weights

CHILD = Path(__file__).with_name("weights_child.py")
SLOWEST = 20.0  # seconds, on a machine that others use too


def outcomes(folder, *kind):
    """Read every file of a folder in a child process; return what became of each by its name."""
    work = folder.with_name("-".join((folder.name, *kind, "work")))
    work.mkdir()
    command = [sys.executable, str(CHILD), str(folder), *kind]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr == "" and list(work.iterdir()) == []
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == sorted(path.name for path in folder.iterdir())
    return {name: (float(seconds), result) for name, seconds, result in lines}


def write(folder, files):
    """Write files under numbers; return the numbers' names."""
    folder.mkdir()
    names = {}
    for i, (name, content) in enumerate(files):
        number = f"{i:05d}"
        (folder / number).write_bytes(content)
        names[number] = name
    assert len(set(names.values())) == len(names)
    return names


def test_every_hostile_file_is_refused(tmp_path):
    names = write(tmp_path / "files", hostile_weights.all_files())
    wrong = {
        names[number]: (seconds, result)
        for number, (seconds, result) in outcomes(tmp_path / "files").items()
        if not result.startswith("refused ")
        or "\n" in ast.literal_eval(result.removeprefix("refused "))
        or len(result) > 400
        or seconds > SLOWEST
    }
    assert wrong == {}


@pytest.mark.parametrize("name", hostile_weights.CALLS)
@pytest.mark.parametrize("write", [c.torch_zip, c.torch_legacy])
def test_what_a_file_asks_for_is_named(tmp_path, name, write):
    checkpoint = {**hostile_weights.GOOD, "b": hostile_weights.CALLS[name]}
    storages = hostile_weights.DATA
    if write is c.torch_legacy:
        storages = {"0": hostile_weights.ONE}
    (tmp_path / "w.pth").write_bytes(write(checkpoint, storages))
    asked = name.split()[-1]
    with pytest.raises(WeightsError) as caught:
        load_weights(tmp_path / "w.pth")
    assert f"w.pth: it asks for {asked!r}" in str(caught.value)
    assert "nothing of the file was run" in str(caught.value)


def test_the_handmade_files_are_right_where_they_mean_to_be(tmp_path):
    """Else every hostile file could be refused for one common mistake."""
    for content in (
        c.torch_zip(hostile_weights.GOOD, hostile_weights.DATA),
        c.torch_legacy(hostile_weights.GOOD, {"0": hostile_weights.ONE}),
    ):
        (tmp_path / "w.pth").write_bytes(content)
        assert load_weights(tmp_path / "w.pth").tensors["a"].tolist() == [1, 1, 1, 1]


# --- mutations ----------------------------------------------------------------------------------


def originals():
    """Small files of every kind."""
    rng = np.random.default_rng(5)
    tensors = {
        f"features.{i}.weight": rng.standard_normal((2, 3)).astype(np.float32) for i in range(4)
    }
    out = {}
    for name, store in (("npz", np.savez), ("npz compressed", np.savez_compressed)):
        archive = io.BytesIO()
        store(archive, **tensors)
        out[name] = archive.getvalue()
    return [
        save(tensors, {"architecture": "mobilenetv3_small", "padding": "same"}),
        c.as_zip(tensors, lambda t: {"epoch": 1, "state_dict": t}),
        c.as_legacy(tensors),
        *out.values(),
    ]


EXTREMES = [
    0,
    1,
    127,
    128,
    255,
    2**15,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63,
    2**64 - 1,
]


def mutated(content, rng):
    """Return a file with one to four of its parts changed."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at = int(rng.integers(len(data)))
        match rng.integers(7):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.integers(256))
            case 2:
                width = int(rng.choice([1, 2, 4, 8]))
                value = EXTREMES[rng.integers(len(EXTREMES))] % (1 << 8 * width)
                data[at : at + width] = value.to_bytes(width, "little")
            case 3:
                del data[at : at + int(rng.integers(1, 40))]
            case 4:
                data[at:at] = rng.bytes(int(rng.integers(1, 20)))
            case 5:
                start = int(rng.integers(len(data)))
                data[at:at] = data[start : start + int(rng.integers(1, 80))]
            case 6 if at > 8:
                del data[at:]
    return bytes(data)


def mutations(count, seed):
    rng = np.random.default_rng(seed)
    files = originals()
    for i in range(count):
        yield f"{i}", mutated(files[i % len(files)], rng)


@pytest.mark.parametrize(
    ("count", "seed"),
    [(400, 1), *(pytest.param(2500, seed, marks=pytest.mark.slow) for seed in (2, 3, 4, 5))],
)
def test_mutations_load_or_are_refused(tmp_path, count, seed):
    write(tmp_path / "files", mutations(count, seed))
    results = outcomes(tmp_path / "files")
    wrong = {
        number: result
        for number, (seconds, result) in results.items()
        if not result.startswith(("refused ", "loaded ")) or seconds > SLOWEST
    }
    assert wrong == {}
    refused = sum(result.startswith("refused ") for _, result in results.values())
    assert 0.5 * count < refused < count
