"""The embedder that a command works with."""

from pathlib import Path
from typing import TYPE_CHECKING

from rvcnn.cli.console import note

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


def make_embedder(
    model: str | None = None,
    weights: Path | None = None,
    precision: str | None = None,
    workers: int = 0,
    max_image_megapixels: float = 200,
    quiet: bool = False,
) -> "Embedder":
    """Make the embedder that the options name, and say so if kernels must compile first."""
    from rvcnn import Embedder

    embedder = Embedder(
        model,
        weights=weights,
        precision=precision or "fp32",
        workers=workers,
        max_megapixels=max_image_megapixels,
    )
    compile_kernels(quiet)
    return embedder


def compile_kernels(quiet: bool) -> None:
    """Compile what is not compiled yet, after a line that says so."""
    from rvcnn import kernels

    if not kernels.is_compiled():
        if not quiet:
            note("compiling kernels for this CPU (once; about 20 s)")
        kernels.warmup()
