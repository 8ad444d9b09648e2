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
    from rvcnn.dedup.plan import Action, Plan, Refusal

SKIPPED = 3
MOST_NAMED = 5


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
@click.option(
    "--delete",
    "how",
    type=click.Choice(["trash", "hardlink"]),
    help="Print what would become of the duplicates: a place in the trash or, for equal bytes, "
    "a hard link to the one that is kept.",
)
@click.option("--apply", "do_it", is_flag=True, help="Do what --delete says, after a question.")
@click.option("--yes", is_flag=True, help="With --apply: do not ask.")
@options.wait
@options.json
@options.strict
@options.quiet
@click.pass_context
def command(
    ctx, dirs, references, min_similarity, how, do_it, yes, wait, as_json, strict, quiet
) -> None:
    """List near-duplicates in groups, the one to keep first.

    Looks at what DIRs' indexes hold. To keep is the picture of the most pixels, else the largest
    file, else the oldest; the others of its group each resemble it. A line is `keep`, `same` (byte
    by byte) or the cosine, then tab, path. With --delete it is `trash` or `hardlink`, tab, path,
    tab, the path that is kept.
    """
    from rvcnn.dedup.folders import duplicates_below
    from rvcnn.dedup.groups import same_bytes, upright
    from rvcnn.dedup.plan import HARDLINK, make_plan
    from rvcnn.place import open_places

    if how is None and do_it:
        raise click.UsageError("--apply goes with --delete trash or --delete hardlink")
    if yes and not do_it:
        raise click.UsageError("--yes answers the question of --apply, which is not given")
    places, kept = open_places(dirs), open_places(references) if references else []
    if how == HARDLINK:
        groups = duplicates_below(places, kept, 1.0, same_bytes)
    else:
        groups = duplicates_below(places, kept, min_similarity, upright)
    if not quiet:
        note(summary(groups))
    if how is None:
        write_groups(groups, as_json)
        return
    plan = make_plan(groups, how, dirs)
    left = plan.refused if not do_it else [*plan.refused, *_apply(plan, yes, wait, as_json, quiet)]
    if not do_it:
        write_actions(plan.actions, as_json)
    tell_left(left)
    if not do_it and not quiet:
        note(f"{told(plan.actions, 'to be ')}; nothing was touched: --apply does it")
    if strict and left:
        ctx.exit(SKIPPED)


def _apply(plan: "Plan", yes: bool, wait: float, as_json: bool, quiet: bool) -> list["Refusal"]:
    """Ask, unless told not to; carry out a plan; what was left as it is."""
    from rvcnn.dedup.apply import apply

    if not plan.actions:
        return []
    if not yes:
        for action in plan.actions:
            note(
                f"{action.how} {relative(action.picture.path)}, keep {relative(action.keeper.path)}"
            )
        try:
            sure = click.confirm(f"{told(plan.actions, 'to be ')}: do it?", err=True)
        except click.Abort:
            sure = False
        if not sure:
            note("nothing was touched")
            raise click.exceptions.Exit(1)
    applied = apply(plan, wait, progress=lambda action: write_actions([action], as_json))
    if not quiet:
        note(told(applied.done))
    return applied.refused


def tell_left(left: Sequence["Refusal"]) -> None:
    """Say what is left as it is, and why; of many with one reason, only how many."""
    reasons: dict[str, list[Picture]] = {}
    for picture, reason in left:
        reasons.setdefault(reason, []).append(picture)
    for reason, pictures in reasons.items():
        for picture in pictures if len(pictures) <= MOST_NAMED else ():
            note(f"leaving {relative(picture.path)}: {reason}")
        if len(pictures) > MOST_NAMED:
            note(f"leaving {len(pictures)} files: {reason}")


def told(actions: Sequence["Action"], when: str = "") -> str:
    """Say what is done with how many files."""
    what = {"trash": "moved to the trash", "hardlink": "replaced by hard links"}
    size = size_of(sum(action.picture.item.size or 0 for action in actions))
    how = what[actions[0].how] if actions else "touched"
    return f"{len(actions)} files of {size} {when}{how}"


def write_actions(actions: Sequence["Action"], as_json: bool) -> None:
    """Write actions to stdout, one a line."""
    if as_json:
        write_json(
            *(
                {
                    "action": how,
                    **json_picture(picture),
                    "keep": path_fields(relative(keeper.path)),
                }
                for how, picture, keeper in actions
            )
        )
        return
    write(b"\t".join([how.encode(), _name(a), _name(b)]) for how, a, b in actions)


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
