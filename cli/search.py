"""`rvcnn search`."""

import functools
from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command, boundary
from rvcnn.cli.console import note
from rvcnn.cli.engine import make_embedder
from rvcnn.cli.output import Form, write_hits, write_seen
from rvcnn.cli.places import open_places

OF_SEEN = "--seen asks for each QUERY alone: it goes with neither --not, --vector nor --crop"


@click.command("search", cls=Command, example="rvcnn search query.jpg --in photos -k 5")
@click.argument("queries", metavar="QUERY...", nargs=-1, type=options.PATH)
@click.option(
    "--in",
    "folders",
    multiple=True,
    type=options.PATH,
    metavar="DIR",
    help="Search below DIR (repeatable); the default is the index found from here.",
)
@options.query
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
@click.option(
    "--seen",
    is_flag=True,
    help="Say where each QUERY is already, and since when; exit 0 if all are somewhere, else 1.",
)
@options.min_similarity
@options.wanted
@options.form
@options.engine
@options.quiet
@click.pass_context
def command(ctx, queries, folders, query, seen, min_similarity, wanted, form, **others) -> None:
    """List the images most like the QUERY images, best first.

    Prints score, tab, path. Several queries are averaged. With --seen, `same` stands for the score
    where a file has the very bytes of QUERY, which alone are listed then, and the line ends with
    the time it came into the index.
    """
    from rvcnn.where.options import condition_of

    form = Form.of(**form)
    if not queries and query["vector"] is None:
        raise click.UsageError("nothing to search for: give a QUERY or --vector")
    if query["vector"] is None and query["row"] is not None:
        raise click.UsageError("--row says which row of --vector, which is not given")
    if not seen:
        condition = condition_of(**wanted)
        _search(queries, folders, query, min_similarity, condition, form, **others)
        return
    if not queries or any(query[key] for key in ("away", "vector", "crop")):
        raise click.UsageError(OF_SEEN)
    with boundary(failure=2):
        everywhere = _seen(queries, folders, min_similarity, condition_of(**wanted), form, **others)
    ctx.exit(0 if everywhere else 1)


def _search(
    queries, folders, query, min_similarity, where, form, top, exclude_query, engine, quiet
) -> None:
    from rvcnn import place, search

    search.check_images((*queries, *query["away"]))
    places = open_places(folders)
    place.check_alike(places)
    make = functools.partial(make_embedder, **engine, quiet=quiet, places=places)
    vector = _vector(places, queries, query, make)
    leave_out = queries if exclude_query else ()
    workers = engine["workers"]
    found = search.nearest(
        places, vector, top, min_similarity, leave_out, workers, where, query["exact"]
    )
    if found.gone:
        note(
            f"{found.gone} left out: the files are gone (`rvcnn embed` brings the index up to date)"
        )
    if where is not None and not found.hits:
        _say_what_is_unknown(places, where)
    names = [str(name) for name in (*queries, query["vector"]) if name is not None]
    write_hits(found.hits, names if len(names) > 1 else names[0], form)


def _say_what_is_unknown(places, where) -> None:
    """A name that is misspelt is no error, as images may yet get such metadata."""
    for key in sorted(set.intersection(*(set(place.unknown(where)) for place in places))):
        note(f"no image has the metadata {key}")


def _vector(places, queries, query, make):
    """The vector of all that is searched for."""
    from rvcnn.crop import Crop
    from rvcnn.queries import query_vector
    from rvcnn.vector_files import read_vector

    crop = None if query["crop"] is None else Crop.parse(query["crop"])
    if crop is not None and len(queries) != 1:
        raise click.UsageError("--crop goes with one QUERY image")
    given, file = None, query["vector"]
    if file is not None:
        source = click.get_binary_stream("stdin") if str(file) == "-" else file
        given = read_vector(source, query["row"] or 0)
    return query_vector(places[0].index, make, queries, query["away"], given, crop)


def _seen(queries, folders, min_similarity, where, form, top, exclude_query, engine, quiet) -> bool:
    """Say of each query where it was seen; whether all were."""
    from rvcnn import place, search
    from rvcnn.seen import seen_file

    search.check_images(queries)
    places = open_places(folders)
    place.check_alike(places)
    make = functools.partial(make_embedder, **engine, quiet=quiet, places=places)
    embedder = functools.cache(make)

    def vector_of(path: Path):
        return search.embed_files(embedder(), [path])[0]

    everywhere = True
    for query in queries:
        found = seen_file(
            places,
            query,
            vector_of,
            min_similarity,
            top,
            queries if exclude_query else (),
            where,
            engine["max_image_megapixels"],
        )
        write_seen(found, str(query), form, alone=len(queries) == 1)
        everywhere = everywhere and bool(found.hits)
    return everywhere
