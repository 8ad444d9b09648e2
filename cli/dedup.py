"""`rvcnn dedup`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.output import write, write_json
from rvcnn.paths import path_fields, relative

if TYPE_CHECKING:
    from rvcnn.dedup.groups import Group
    from rvcnn.dedup.pictures import Picture


@click.command("dedup", cls=Command, example="rvcnn dedup photos --reference originals")
@click.argument("dirs", metavar="DIR...", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=options.PATH,
    metavar="DIR",
    help="A folder that is never touched (repeatable): what it has, too, is the duplicate.",
)
@options.min_similarity
@options.json
@options.quiet
def command(dirs, references, min_similarity, as_json, quiet) -> None:
    """List near-duplicates in groups, the one to keep first.

    Looks at what DIRs' indexes hold. To keep is the picture of the most pixels, else the largest
    file, else the oldest; the others of its group each resemble it. A line is `keep`, `same` (byte
    by byte) or the cosine, then tab, path.
    """
    from rvcnn.dedup.folders import duplicates_below
    from rvcnn.place import open_places

    places, kept = open_places(dirs), [*open_places(references)] if references else []
    groups = duplicates_below(places, kept, min_similarity)
    write_groups(groups, as_json)
    if not quiet:
        note(summary(groups))


def write_groups(groups: Sequence["Group"], as_json: bool) -> None:
    """Write groups to stdout: an empty line between them, or an object each."""
    if as_json:
        write_json(*map(_json_group, groups))
        return
    lines: list[bytes] = []
    for group in groups:
        lines += [b""] if lines else []
        lines.append(b"keep\t" + _name(group.keeper))
        for picture, score, same in group.duplicates:
            lines.append((b"same" if same else b"%.3f" % score) + b"\t" + _name(picture))
    write(lines)


def summary(groups: Sequence["Group"]) -> str:
    """Say how many duplicates there are, and of how many bytes."""
    files = [duplicate.picture.item.size or 0 for g in groups for duplicate in g.duplicates]
    return f"{len(groups)} groups, {len(files)} duplicates of {size_of(sum(files))}"


def size_of(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def _name(picture: "Picture") -> bytes:
    return os.fsencode(relative(picture.path))


def _json_group(group: "Group") -> dict[str, Any]:
    return {
        "keep": json_picture(group.keeper),
        "duplicates": [
            {**json_picture(picture), "score": score, "same": same}
            for picture, score, same in group.duplicates
        ],
    }


def json_picture(picture: "Picture") -> dict[str, Any]:
    """Return what JSON says of a picture."""
    item = picture.item
    return {
        **path_fields(relative(picture.path)),
        "width": item.width,
        "height": item.height,
        "size": item.size,
        "reference": picture.reference,
    }
