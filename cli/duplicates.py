"""What `rvcnn dedup` prints: groups, a plan, what was left and why, what a threshold is worth."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rvcnn.cli.console import note
from rvcnn.cli.output import write, write_json
from rvcnn.paths import path_fields, relative

if TYPE_CHECKING:
    from rvcnn.dedup.calibrate import Calibration
    from rvcnn.dedup.groups import Group
    from rvcnn.dedup.pictures import Picture
    from rvcnn.dedup.plan import Action, Refusal

MOST_NAMED = 5


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
    return f"{_counted(len(actions), 'file')} of {size} {when}{how}"


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
    found = f"{_counted(len(groups), 'group')}, {_counted(len(files), 'duplicate')}"
    return f"{found} of {size_of(sum(files))}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


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


def calibration_line(found: "Calibration") -> str:
    """Say which threshold was found and how well that rate is known."""
    line = (
        f"--min-similarity {found.threshold:.3f}: {found.rate:.1e} of pairs of different pictures"
    )
    if not found.extrapolated:
        return f"{line}, counted on {found.pairs:,} pairs"
    return f"{line}, extrapolated: {found.pairs:,} pairs show rates from {found.least_rate:.1e} up"
