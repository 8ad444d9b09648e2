"""`rvcnn warmup`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import compile_pairs, make_embedder
from rvcnn.errors import RvcnnError


@click.command("warmup", cls=Command, example="rvcnn warmup")
@options.engine
@options.quiet
def command(engine: dict, quiet: bool) -> None:
    """Compile the kernels for this CPU now.

    The next command then starts at once.
    """
    from rvcnn.kernels import cache_dir
    from rvcnn.warmup import cache_problem

    problem = cache_problem()
    if problem is not None:
        raise RvcnnError(f"nothing was compiled: {problem}")
    make_embedder(**engine, quiet=quiet)
    compile_pairs(quiet)
    if not quiet:
        note(f"kernels are compiled, in {cache_dir()}")
