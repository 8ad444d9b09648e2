"""`rvcnn dedup`."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.engine import compile_pairs, make_embedder
from rvcnn.cli.output import write, write_json
from rvcnn.cli.progress import Progress
from rvcnn.paths import path_fields, relative

if TYPE_CHECKING:
    from rvcnn.dedup.calibrate import Calibration
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
    "--fpr",
    "rate",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="P",
    help="Find the least cosine that a share P of pairs of different pictures reaches, from edits "
    "of DIRs' own, and say what it finds of each kind of edit.",
)
@click.option(
    "--invariant",
    is_flag=True,
    help="Also pictures that were turned or mirrored: reads and embeds every one anew.",
)
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
@options.engine
@options.strict
@options.quiet
@click.pass_context
def command(
    ctx,
    dirs,
    references,
    min_similarity,
    rate,
    invariant,
    how,
    do_it,
    yes,
    wait,
    as_json,
    engine,
    strict,
    quiet,
) -> None:
    """List near-duplicates in groups, the one to keep first.

    Looks at what DIRs' indexes hold. To keep is the picture of the most pixels, else the largest
    file, else the oldest; the others of its group each resemble it. A line is `keep`, `same` (byte
    by byte) or the cosine, then tab, path. With --delete it is `trash` or `hardlink`, tab, path,
    tab, the path that is kept.
    """
    from rvcnn.dedup.plan import make_plan
    from rvcnn.place import open_places

    if how is None and do_it:
        raise click.UsageError("--apply goes with --delete trash or --delete hardlink")
    if yes and not do_it:
        raise click.UsageError("--yes answers the question of --apply, which is not given")
    if rate is not None and min_similarity is not None:
        raise click.UsageError("--fpr finds what --min-similarity would say: give one of them")
    places, kept = open_places(dirs), open_places(references) if references else []
    groups = _groups(places, kept, how, min_similarity, rate, invariant, engine, quiet)
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


def _groups(places, kept, how, threshold, rate, invariant, engine, quiet) -> list["Group"]:
    """Find the groups: by equal bytes for hard links, else at a threshold, given or calibrated."""
    from rvcnn.dedup.folders import duplicates_below
    from rvcnn.dedup.groups import same_bytes, upright

    if how == "hardlink":
        return duplicates_below(places, kept, 1.0, same_bytes)
    compile_pairs(quiet)
    if rate is None and not invariant:
        return duplicates_below(places, kept, threshold, upright)
    embedder = make_embedder(**engine, quiet=quiet, folders=[place.folder for place in places])
    for place in (*places, *kept):
        place.check_made_by(embedder)
    workers = engine["workers"]
    if rate is not None:
        threshold = _calibrated(places, embedder, rate, invariant, workers, quiet)
    if not invariant:
        return duplicates_below(places, kept, threshold, upright)
    from rvcnn.dedup.orientations import Invariant

    with Progress(quiet) as progress:
        finder = Invariant(embedder, workers, progress.reach)
        return duplicates_below(places, kept, threshold, finder)


def _calibrated(places, embedder, rate, invariant, workers, quiet) -> float:
    """Find the threshold for a rate; say what it is worth."""
    from rvcnn.dedup.calibrate import calibrate
    from rvcnn.dedup.pictures import collect

    paths = sorted(picture.path for picture in collect(places)[0])
    with Progress(quiet) as progress:
        found = calibrate(
            embedder, paths, rate, invariant=invariant, workers=workers, progress=progress.reach
        )
    if found.extrapolated or not quiet:
        note(calibration_line(found))
    if not quiet:
        recall = ", ".join(f"{name} {share:.1%}" for name, share in found.recall.items())
        note(f"found of the edits of {found.pictures} pictures: {recall}")
        first, second, cosine = found.closest
        note(f"most alike of different ones: {relative(first)}, {relative(second)} ({cosine:.3f})")
        if found.same:
            note(f"{len(found.same)} pictures were set aside, as alike to others as edits are")
    return found.threshold


def calibration_line(found: "Calibration") -> str:
    """Say which threshold was found and how well that rate is known."""
    line = (
        f"--min-similarity {found.threshold:.3f}: {found.rate:.1e} of pairs of different pictures"
    )
    if not found.extrapolated:
        return f"{line}, counted on {found.pairs:,} pairs"
    return f"{line}, extrapolated: {found.pairs:,} pairs show rates from {found.least_rate:.1e} up"


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
