"""`rvcnn warmup`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note


@click.command("warmup", cls=Command, example="rvcnn warmup")
@options.quiet
def command(quiet: bool) -> None:
    """Compile the kernels for this CPU now, so that the next command starts at once."""
    from time import perf_counter

    from rvcnn import kernels

    started = perf_counter()
    kernels.warmup()
    if not quiet:
        note(f"kernels ready in {perf_counter() - started:.1f} s, kept in {kernels.cache_dir()}")
