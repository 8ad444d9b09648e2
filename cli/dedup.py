"""`rvcnn dedup`."""

from functools import partial
from typing import TYPE_CHECKING

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.duplicates import (
    calibration_line,
    summary,
    tell_left,
    told,
    write_actions,
    write_groups,
)
from rvcnn.cli.engine import compile_pairs, make_embedder
from rvcnn.cli.places import open_places
from rvcnn.cli.progress import BLOCKS, Progress
from rvcnn.paths import relative

if TYPE_CHECKING:
    from rvcnn.dedup.groups import Group
    from rvcnn.dedup.plan import Plan, Refusal

SKIPPED = 3


@click.command("dedup", cls=Command, example="rvcnn dedup photos --reference originals")
@click.argument("dirs", metavar="DIR...", nargs=-1, required=True, type=options.PATH)
@click.option(
    "--reference",
    "references",
    multiple=True,
    type=options.PATH,
    metavar="DIR",
    help="A folder that is never touched (repeatable): duplicates are what resembles its pictures.",
)
@options.min_similarity
@click.option(
    "--fpr",
    "rate",
    type=options.Number(0, 1, min_open=True, max_open=True),
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

    Looks at what DIRs' indexes hold. The picture to keep has the most pixels, or else is the
    largest file, or else the oldest; the others of its group each resemble it. A line is `keep`,
    `same` (byte by byte) or the cosine, then tab, path. With --delete it is `trash` or `hardlink`,
    tab, path, tab, the path that is kept.
    """
    from rvcnn.dedup.plan import make_plan

    if how is None and do_it:
        raise click.UsageError("--apply goes with --delete trash or --delete hardlink")
    if yes and not do_it:
        raise click.UsageError("--yes answers the question of --apply, which is not given")
    if rate is not None and min_similarity is not None:
        raise click.UsageError("--fpr finds what --min-similarity would say: give one of them")
    if how == "hardlink" and (invariant or (rate, min_similarity) != (None, None)):
        raise click.UsageError(
            "--delete hardlink is for files of equal bytes: no --min-similarity, --fpr, --invariant"
        )
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
    if not plan.actions and not quiet:
        note("there is nothing to do")
    elif not do_it and not quiet:
        note(f"{told(plan.actions, 'to be ')}; nothing was touched: --apply does it")
    if strict and left:
        ctx.exit(SKIPPED)


def _groups(places, kept, how, threshold, rate, invariant, engine, quiet) -> list["Group"]:
    """Find the groups: by equal bytes for hard links, else at a threshold, given or calibrated."""
    from rvcnn.dedup.folders import duplicates_below
    from rvcnn.dedup.groups import same_bytes, upright

    if how == "hardlink":
        return duplicates_below(places, kept, 1.0, same_bytes)
    workers = engine["workers"]
    if rate is None and not invariant:
        compile_pairs(quiet)
        with Progress(quiet, BLOCKS) as progress:
            finder = partial(upright, workers=workers, progress=progress.reach)
            return duplicates_below(places, kept, threshold, finder)
    embedder = make_embedder(**engine, quiet=quiet, places=(*places, *kept))
    compile_pairs(quiet)
    if rate is not None:
        threshold = _calibrated(places, embedder, rate, invariant, workers, quiet)
    if not invariant:
        return duplicates_below(places, kept, threshold, partial(upright, workers=workers))
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
