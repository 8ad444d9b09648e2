"""`rvcnn embed`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note, printable
from rvcnn.cli.engine import build_graph, make_embedder, quiet_libraries
from rvcnn.cli.progress import Progress
from rvcnn.cli.report import show_timings, summary

SKIPPED = 3
OF_AN_INDEX = ("rebuild", "prune", "vectors")


@click.command("embed", cls=Command, example="rvcnn embed photos --exclude '*_thumb.jpg'")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=options.PATH)
@options.output_file("Also write the vectors to FILE: .npz .npy .csv .jsonl .parquet.")
@click.option(
    "--ann",
    is_flag=True,
    help="Also build the graph by which a search need not look at every image. What is added later "
    "is searched exactly until this is run again.",
)
@click.option("--no-index", is_flag=True, help="Only write FILE; PATH may be an image then.")
@options.scan
@options.update
@click.option(
    "--min-recall",
    type=options.Number(0, 1),
    default=0.9,
    show_default=True,
    metavar="X",
    help="With --precision auto: how many of the ten nearest images int8 must keep, as a share.",
)
@options.engine
@options.strict
@options.timings
@options.quiet
@click.pass_context
def command(
    ctx, paths, output, ann, no_index, filters, changes, min_recall, engine, strict, timings, quiet
) -> None:
    """Embed the images below each PATH into its index.

    Only what is new or changed is opened. The index is the nearest one at or above PATH, else a
    new one in PATH.
    """
    from rvcnn import export, folder, loose, place

    if no_index and (output is None or ann or any(changes[key] for key in OF_AN_INDEX)):
        raise click.UsageError(
            "--no-index needs -o FILE, and no --ann, --rebuild, --prune or --vectors"
        )
    if output is not None:
        export.check_target(output)
    place.check_paths(paths, folders_only=not no_index)
    filters["recursive"] = not filters.pop("not_recursive")
    if engine["precision"] == "auto":
        made = {} if no_index else place.made_with(paths)
        anew = changes["rebuild"] or not made
        engine["precision"] = _chosen(paths, made, anew, min_recall, engine, filters, quiet)
    folders = None if no_index else paths
    if changes["rebuild"] and not (engine["weights"] or engine["model"]):
        lost = place.lost_weights(paths)
        if lost is not None:
            note(f"{lost}, which made the index, is gone: rvcnn's own model takes its place")
    places = () if no_index or changes["rebuild"] else place.existing_places(paths)
    embedder = make_embedder(**engine, quiet=quiet, folders=folders, places=places, search=False)
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
    for path in paths if ann else ():
        build_graph(path, engine["workers"], changes["wait"], quiet)
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


def _chosen(paths, made, anew, min_recall, engine, filters, quiet) -> str | None:
    """The precision for an index that is new or made anew, or None for one that stays."""
    from rvcnn.precision import choose
    from rvcnn.quantization.sample import list_images

    network = engine | made if anew else engine
    if network["model"] or network["weights"] or network["embedding"]:
        raise click.UsageError(
            "--precision auto compares rvcnn's own embedding; for others, `rvcnn quantize` tells"
        )
    if not anew:
        return None

    def skipping(name, reason):
        if not quiet:
            note(f"skipping {printable(name)}: {reason}")

    quiet_libraries()
    choice = choose(list_images(paths, skipping, **filters), min_recall, workers=engine["workers"])
    if not quiet:
        note(f"--precision {choice.precision}: {choice.reason}")
    return choice.precision
