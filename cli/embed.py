"""`rvcnn embed`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import make_embedder
from rvcnn.cli.progress import Progress
from rvcnn.cli.report import show_timings, summary

SKIPPED = 3
OF_AN_INDEX = ("rebuild", "prune", "vectors")


@click.command("embed", cls=Command, example="rvcnn embed photos --exclude '*_thumb.jpg'")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=options.PATH)
@options.output_file("Also write the vectors to FILE: .npz .npy .csv .jsonl .parquet.")
@click.option("--no-index", is_flag=True, help="Only write FILE; PATH may be an image then.")
@options.scan
@options.update
@options.engine
@options.strict
@options.timings
@options.quiet
@click.pass_context
def command(ctx, paths, output, no_index, filters, changes, engine, strict, timings, quiet) -> None:
    """Embed the images below each PATH into its index.

    Only what is new or changed is opened. The index is the nearest one at or above PATH, else a
    new one in PATH.
    """
    from rvcnn import export, folder, loose, place

    if no_index and (output is None or any(changes[key] for key in OF_AN_INDEX)):
        raise click.UsageError("--no-index needs -o FILE, and no --rebuild, --prune or --vectors")
    if output is not None:
        export.check_target(output)
    place.check_paths(paths, folders_only=not no_index)
    filters["recursive"] = not filters.pop("not_recursive")
    embedder = make_embedder(**engine, quiet=quiet, folders=None if no_index else paths)
    with Progress(quiet) as progress:
        filters["progress"] = progress.event
        if no_index:
            names, vectors, report = loose.embed_files(paths, embedder, **filters)
            reports = {str(output): report}
        else:
            limit = engine["max_image_megapixels"]
            reports = {
                str(p): folder.update(p, embedder, max_megapixels=limit, **filters, **changes)
                for p in paths
            }
    if output is not None:
        if not no_index:
            names, vectors = place.rows_below(paths)
        export.write(output, names, vectors)
    for label, report in reports.items():
        if not quiet:
            note(summary(label, report))
    if timings:
        note(show_timings(reports.values()))
    if strict and any(report.skipped for report in reports.values()):
        ctx.exit(SKIPPED)
