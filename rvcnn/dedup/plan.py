"""What would be done with duplicates; nothing here touches a file."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rvcnn.dedup.groups import Group
from rvcnn.dedup.pictures import Picture, is_below

TRASH, HARDLINK = "trash", "hardlink"


class Action(NamedTuple):
    """A file to be moved to the trash, or to become a hard link to the keeper's.

    Attributes
    ----------
    how
        ``trash`` or ``hardlink``.
    picture, keeper
        The duplicate and what it is a duplicate of.
    """

    how: str
    picture: Picture
    keeper: Picture


class Refusal(NamedTuple):
    """A duplicate that is left as it is, and why."""

    picture: Picture
    reason: str


class Plan(NamedTuple):
    """What is to be done, in order, and what is not."""

    actions: list[Action]
    refused: list[Refusal]


def make_plan(groups: Iterable[Group], how: str, folders: Sequence[str | os.PathLike[str]]) -> Plan:
    """Plan to remove the duplicates of groups.

    Parameters
    ----------
    groups
        As `rvcnn.dedup.groups.find_groups` returns.
    how
        ``trash``, or ``hardlink``, which is for duplicates of equal bytes only.
    folders
        Where files may be touched: what a link leads to outside of them may not.
    """
    inside = [os.path.realpath(folder) for folder in folders]
    plan = Plan([], [])
    for group in groups:
        for picture, _, same in group.duplicates:
            action = Action(how, picture, group.keeper)
            reason = _refusal(action, same, inside)
            if reason:
                plan.refused.append(Refusal(picture, reason))
            else:
                plan.actions.append(action)
    return plan


def _refusal(action: Action, same: bool, inside: Sequence[str]) -> str | None:
    """Return why a file is not to be touched, as far as can be seen now."""
    path, keeper = action.picture.path, action.keeper.path
    if action.picture.reference:
        return "it is in a reference folder"
    if action.picture.item.sha256 is None or action.keeper.item.sha256 is None:
        return "the index does not know the content of the file"
    if path.is_symlink():
        return "it is a symbolic link"
    if not is_below(os.path.realpath(path.parent), inside):
        return "a link leads to it, out of the folder"
    if action.how == HARDLINK and not same:
        return "its bytes are not those of the one that is kept: only equal files become hard links"
    try:
        own, kept = os.stat(path), os.stat(keeper)
    except OSError as error:
        return f"{error.strerror}: {error.filename}"
    if (own.st_dev, own.st_ino) == (kept.st_dev, kept.st_ino):
        return "it is the same file as the one that is kept, by another name"
    if action.how == HARDLINK and own.st_dev != kept.st_dev:
        return "it is on another disk than the one that is kept"
    return None
