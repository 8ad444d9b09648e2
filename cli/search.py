"""`rvcnn search`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import make_embedder
from rvcnn.cli.output import Form, write_hits


@click.command("search", cls=Command, example="rvcnn search query.jpg --in photos -k 5")
@click.argument("queries", metavar="QUERY...", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=options.PATH,
    metavar="DIR",
    help="Search below DIR (repeatable); the default is the index found from here.",
)
@click.option(
    "--not",
    "away",
    multiple=True,
    type=options.PATH,
    metavar="IMAGE",
    help="Push results away from IMAGE (repeatable).",
)
@click.option(
    "-k",
    "--top",
    type=click.IntRange(min=1),
    default=10,
    metavar="N",
    show_default=True,
    help="How many results.",
)
@click.option("--exclude-query", is_flag=True, help="Leave the query images themselves out.")
@options.min_similarity
@options.form
@options.engine
@options.quiet
def command(
    queries, folders, away, top, exclude_query, min_similarity, form, engine, quiet
) -> None:
    """List the images most like the QUERY images, best first.

    Prints score, tab, path. Several queries are averaged.
    """
    from rvcnn import place, search

    form = Form.of(**form)
    search.check_images((*queries, *away))
    places = place.open_places(folders)
    embedder = make_embedder(**engine, quiet=quiet, folders=folders)
    for searched in places:
        searched.check_made_by(embedder)
    vector = search.query_vector(embedder, queries, away)
    leave_out = queries if exclude_query else ()
    found = search.nearest(places, vector, top, min_similarity, leave_out, engine["workers"])
    if found.gone:
        note(
            f"{found.gone} left out: the files are gone (`rvcnn embed` brings the index up to date)"
        )
    names = [str(query) for query in queries]
    write_hits(found.hits, names if len(names) > 1 else names[0], form)
