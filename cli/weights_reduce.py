"""`rvcnn weights reduce`."""

from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import quiet_libraries
from rvcnn.cli.output import write_json, write_text
from rvcnn.cli.progress import Progress


@click.command(
    "reduce", cls=Command, example="rvcnn weights reduce photos --dim 128 -o mine.safetensors"
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--dim",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="How many values a vector shall have.",
)
@options.output_file("The safetensors file to write.", required=True)
@options.model
@options.weights
@options.embedding
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Images to fit on; as many others are compared.",
)
@options.scan
@options.workers("that embed images")
@options.json
@options.quiet
def reduce(
    paths: tuple[Path, ...],
    dim: int,
    output: Path,
    filters: dict,
    as_json: bool,
    quiet: bool,
    **choices,
) -> None:
    """Shorten a network's vectors to what tells images apart.

    The vectors are projected on the principal axes of images below each PATH, by a layer of the
    network itself: use the file with --weights. Prints how many of the ten nearest images stay the
    ten nearest, on images that were not fitted on where there are enough.
    """
    quiet_libraries()
    from rvcnn.reduction import reduce as fit

    filters["recursive"] = not filters.pop("not_recursive")
    if not quiet:
        note("kernels that are not in the cache are compiled first")
    with Progress(quiet) as progress:
        made = fit(paths, output, dim, progress, filters, **choices)
    if as_json:
        write_json({**made._asdict(), "dim": list(made.dim)})
        return
    which = "others" if made.held_out else "the same"
    write_text(
        f"fitted on {made.fitted_on} images, compared on {made.compared_on} {which}",
        f"values      {made.dim[0]} to {made.dim[1]}",
        f"recall@10   {made.recall_at_10:.3f}",
        f"kept        {100 * made.kept:.1f} % of the vectors' squared length",
    )
