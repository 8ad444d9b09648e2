"""`rvcnn search`."""


import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import embedder_for
from rvcnn.cli.output import Form, write_hits


@click.command("search", cls=Command, example="rvcnn search query.jpg --in photos -k 5")
@click.argument("queries", metavar="QUERY...", nargs=-1, required=True, type=options.PATH)
@click.option("--in", "folders", multiple=True, type=options.PATH, metavar="DIR",
              help="Search below DIR (repeatable); the default is the index found from here.")
@click.option("--not", "away", multiple=True, type=options.PATH, metavar="IMAGE",
              help="Push results away from IMAGE (repeatable).")
@click.option("-k", "--top", type=click.IntRange(min=1), default=10, metavar="N",
              show_default=True, help="How many results.")
@click.option("--exclude-query", is_flag=True, help="Leave the query images themselves out.")
@options.min_similarity
@options.form
@options.model
@options.max_image_megapixels
@options.quiet
def command(queries, folders, away, top, exclude_query, min_similarity, filepath_only, null,
            as_json, quiet, **engine) -> None:
    """List the images most like the QUERY images, best first.

    Prints score, tab, path. Several queries are averaged.
    """
    from rvcnn import search

    form = Form.of(filepath_only, null, as_json)
    search.check_images((*queries, *away))
    places = search.open_places(folders)
    embedder = embedder_for(places, quiet=quiet, **engine)
    vector = search.query_vector(embedder, queries, away)
    leave_out = (*queries, *away) if exclude_query else ()
    found = search.nearest(places, vector, top, min_similarity, leave_out)
    if found.gone:
        note(f"{found.gone} matches left out: their files are gone (`rvcnn embed` forgets them)")
    write_hits(found.hits, [str(q) for q in queries], form)
