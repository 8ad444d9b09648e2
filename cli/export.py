"""`rvcnn export`."""

from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.places import open_places


@click.command("export", cls=Command, example="rvcnn export photos -o vectors.npz")
@click.argument("dir", type=options.PATH)
@options.output_file("The file to write; its suffix is the format.", required=True)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="int8: each vector scaled so that its largest value is 127; the scales are written too.",
)
@options.quiet
def command(dir: Path, output: Path, dtype: str, quiet: bool) -> None:
    """Write the vectors of DIR's index to FILE, sorted by path.

    Paths are relative to DIR. Metadata goes with them to .csv, .jsonl and .parquet.
    """
    from rvcnn import export

    export.check_target(output)
    (place,) = open_places([dir])
    paths, vectors = place.rows()
    export.write(output, paths, vectors, dtype, place.metadata(paths))
    if not quiet:
        note(f"{len(paths)} vector{'s' * (len(paths) != 1)} written to {output}")
