"""`rvcnn tag`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note

SKIPPED = 3
MOST_SHOWN = 20


@click.command("tag", cls=Command, example="rvcnn tag photos species.csv")
@click.argument("dir", type=options.PATH)
@click.argument("file", type=options.PATH)
@click.option("--replace", is_flag=True, help="In place of what the images have.")
@click.option(
    "--remove",
    is_flag=True,
    help="Take the columns of FILE away from its images; all metadata, where it only has paths.",
)
@click.option(
    "--path-column",
    metavar="NAME",
    help="The column of paths; by default path, file_name, filename or file.",
)
@click.option("--strict", is_flag=True, help="Change nothing, and exit 3, if a line is skipped.")
@options.wait
@options.quiet
@click.pass_context
def command(ctx, dir, file, replace, remove, path_column, strict, wait, quiet) -> None:
    """Attach the metadata in FILE to the images of DIR's index.

    FILE is .csv, .tsv or .jsonl, a line an image, with its path, absolute or relative to DIR. What
    the images have already stays, but where FILE says otherwise. Cells that are numbers, true,
    false or null are that, others text; empty ones change nothing. `rvcnn search --where` filters
    by it.
    """
    from rvcnn.tag import tag

    if replace and remove:
        raise click.UsageError("--replace does not go with --remove")
    how = "replace" if replace else "remove" if remove else "merge"
    skipped = []

    def skip(what: str, reason: str) -> None:
        skipped.append(what)
        if len(skipped) <= MOST_SHOWN:
            note(f"skipping {what}: {reason}")

    report = tag(dir, file, how, path_column, strict, wait, skip)
    if len(skipped) > MOST_SHOWN:
        note(f"... and {len(skipped) - MOST_SHOWN} more")
    undone = strict and skipped
    if not quiet or undone:
        counts = [
            f"{len(report.ids)} image{'s' * (len(report.ids) != 1)} tagged",
            *([f"{report.unknown} not in the index"] if report.unknown else []),
            *([f"{report.bad} bad line{'s' * (report.bad != 1)}"] if report.bad else []),
        ]
        nothing = "; nothing was changed, as --strict asks" if undone else ""
        note(f"{dir}: {', '.join(counts[1:] if undone else counts)}{nothing}")
    if undone:
        ctx.exit(SKIPPED)
