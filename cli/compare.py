"""`rvcnn compare`."""

from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.engine import make_embedder
from rvcnn.cli.output import write_text


@click.command(
    "compare", cls=Command, failure=2, example="rvcnn compare a.jpg b.jpg --min-similarity 0.9"
)
@click.argument("a", type=options.PATH)
@click.argument("b", type=options.PATH)
@options.min_similarity
@options.engine
@click.pass_context
def command(ctx, a: Path, b: Path, min_similarity: float | None, engine: dict) -> None:
    """Print the cosine of two images.

    It is 1 for the same image, about 0 for unrelated ones. With --min-similarity the exit code is
    0 when it is at least X, 1 when it is less, and 2 on an error, as grep's.
    """
    from rvcnn.search import cosine

    similarity = cosine(make_embedder(**engine), a, b)
    write_text(f"{similarity:.6f}")
    if min_similarity is not None and similarity < min_similarity:
        ctx.exit(1)
