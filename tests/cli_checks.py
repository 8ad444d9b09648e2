"""What tests of commands share: pictures, and ways to run a command."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from rvcnn.cli import app

posix = pytest.mark.skipif(os.name == "nt", reason="file names are text there")


def picture(seed: int) -> Image.Image:
    """Return stripes of two colours, 96 x 80; their angle and width differ with the seed."""
    y, x = np.mgrid[:80, :96]
    wave = np.sin((x * np.cos(seed) + y * np.sin(seed)) / (1 + seed % 4))[..., None]
    colours = np.random.default_rng(seed).integers(0, 256, (2, 3))
    return Image.fromarray(np.where(wave > 0, *colours).astype(np.uint8))


def run(*args: str | Path) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [os.fspath(a) for a in args])


def run_ok(*args: str | Path) -> str:
    """Run a command that must succeed; return its stdout."""
    result = run(*args)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def run_child(*args: str | Path, **kwargs) -> subprocess.CompletedProcess:
    """Run a command in a process of its own; its output is bytes."""
    command = [sys.executable, "-m", "rvcnn", *args]
    return subprocess.run(command, capture_output=True, **kwargs)


def make_photos(folder: Path) -> None:
    """Write six pictures below `folder`; a, b and sub/c are alike."""
    (folder / "sub").mkdir(parents=True)
    picture(1).save(folder / "a.png")
    picture(1).save(folder / "b.jpg", quality=60)
    picture(1).save(folder / "sub" / "c.webp", quality=90)
    for seed in (2, 3, 4):
        picture(seed).save(folder / f"other{seed}.png")
