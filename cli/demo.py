"""`rvcnn demo`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.engine import make_embedder
from rvcnn.cli.output import write_text
from rvcnn.cli.progress import Progress


@click.command("demo", cls=Command, example="rvcnn demo")
@options.quiet
def command(quiet: bool) -> None:
    """Embed, search and pair images that every install has.

    They are crops and edits of two photographs, in a temporary folder that is removed afterwards.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from rvcnn import demo

    with TemporaryDirectory(prefix="rvcnn-demo-") as folder, Progress(quiet) as progress:
        embedder = make_embedder(quiet=quiet)
        result = demo.run(Path(folder), embedder, progress.event)
    write_text(*story(result))


def story(result) -> list[str]:
    """Tell what the demo did, with the commands that do the same."""
    return [
        f"{result.images} images: crops and edits of two photographs.",
        "",
        f"1. Each image became a vector of {result.dimension} numbers.   $ rvcnn embed photos",
        "",
        f"2. The images most like {result.query}:   $ rvcnn search {result.query} --in photos",
        *(f"     {score:.3f}  {path}" for score, path in result.matches),
        "",
        "3. The closest pairs (1 is the same vector, about 0 unrelated):",
        *(f"     {p.score:.3f}  {p.first}  {p.second}" for p in result.pairs),
        "",
        "Now with your own: rvcnn embed FOLDER, then rvcnn search IMAGE --in FOLDER",
    ]
