"""`rvcnn quantize`."""

from typing import TYPE_CHECKING

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import quiet_libraries
from rvcnn.cli.output import write_json, write_text
from rvcnn.cli.progress import Progress

if TYPE_CHECKING:
    from rvcnn.quantization.make import Made

CALIBRATIONS = ("mse", "percentile", "minmax", "pi")


@click.command("quantize", cls=Command, example="rvcnn quantize photos -o mine.int8.safetensors")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=options.PATH)
@options.output_file("The safetensors file to write.", required=True)
@options.model
@options.weights
@options.embedding
@click.option(
    "--calibration",
    type=click.Choice(CALIBRATIONS),
    default=CALIBRATIONS[0],
    show_default=True,
    help="How each layer's range is chosen: by least squared error, 99.99 % of the values, all, or "
    "all and pi's share.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    metavar="N",
    help="Images to calibrate on; as many others are compared.",
)
@click.option(
    "--min-recall",
    type=options.Number(0, 1),
    metavar="X",
    help="Write nothing, and exit 1, if recall@10 is less.",
)
@click.option(
    "--labels",
    type=options.PATH,
    metavar="FILE",
    help="Lines of a file's name and its class's number, for top-1 of a classifier.",
)
@options.scan
@options.workers("that read images")
@options.json
@options.quiet
@click.pass_context
def command(ctx, paths, output, min_recall, as_json, quiet, filters, **choices) -> None:
    """Calibrate an int8 network on images below each PATH.

    Use it with `--weights FILE --precision int8`. Prints what it costs in quality (the ten nearest
    images that stay the ten nearest, and the cosine of each vector with float32's, on images that
    were not calibrated on where there are enough) and what it buys in time and size.
    """
    quiet_libraries()
    from rvcnn.quantization.make import make

    filters["recursive"] = not filters.pop("not_recursive")
    if not quiet:
        note("kernels that are not in the cache are compiled first")
    with Progress(quiet) as progress:
        made = make(paths, output, min_recall, progress, filters, **choices)
    if as_json:
        write_json(made.facts())
    else:
        write_text(*_table(made))
    if not made.written:
        note(f"recall@10 is below {min_recall}: {output} was not written")
        ctx.exit(1)


def _table(made: "Made") -> list[str]:
    trial = made.trial
    rows = [
        ("", "float32", "int8"),
        ("recall@10", "1.000", f"{trial.quality.recall:.3f}"),
        ("cosine", "1.000", f"{trial.quality.cosine:.4f}"),
        ("least cosine", "1.000", f"{trial.quality.smallest_cosine:.4f}"),
        ("ms an image", *(f"{ms:.2f}" for ms in trial.milliseconds)),
        ("bytes", *(str(size) for size in made.bytes)),
    ]
    if trial.top1:
        rows.append(("top-1", *(f"{100 * share:.1f} %" for share in trial.top1)))
    which = "others" if made.held_out else "the same"
    return [
        f"calibrated on {made.calibrated} images, compared on {trial.images} {which}",
        *(f"{name:<14}{before:>10}{after:>10}" for name, before, after in rows),
    ]
