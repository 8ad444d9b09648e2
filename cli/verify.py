"""`rvcnn verify`."""

from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note, printable
from rvcnn.cli.engine import make_embedder
from rvcnn.cli.output import write_text
from rvcnn.cli.progress import Progress
from rvcnn.cli.report import summary
from rvcnn.paths import quoted


@click.command("verify", cls=Command, example="rvcnn verify photos --repair")
@click.argument("dir", type=options.PATH)
@click.option("--repair", is_flag=True, help="Keep what is sound, embed the rest again.")
@options.wait
@options.engine
@options.quiet
@click.pass_context
def command(ctx, dir: Path, repair: bool, wait: float, engine: dict, quiet: bool) -> None:
    """Check every vector, row and checksum of DIR's index.

    Prints what is wrong. Exit code 1 if something is wrong and was not repaired.
    """
    from rvcnn.index import verify
    from rvcnn.mend import mend, stale_images
    from rvcnn.place import find_place

    root = find_place(dir)
    problems = verify(root)
    write_text(*(printable(problem) for problem in problems))
    if repair and (problems or stale_images(root)):
        embedder = make_embedder(**engine, quiet=quiet, folders=[dir])
        limit = engine["max_image_megapixels"]
        with Progress(quiet) as progress:
            report = mend(root, embedder, wait=wait, max_megapixels=limit, progress=progress.event)
        if not quiet:
            note(summary("repaired", report))
        if not (report.unchanged or report.indexed or report.skipped):
            note(
                f"nothing tells any more which images it had: "
                f"`rvcnn embed {quoted(root)}` brings them back"
            )
        problems = verify(root)
        write_text(*(printable(f"still: {problem}") for problem in problems))
    if problems:
        ctx.exit(1)
    if not quiet:
        note(f"{root}: nothing wrong")
