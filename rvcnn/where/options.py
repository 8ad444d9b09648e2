"""The filter that the options of a command are together."""

import os
from collections.abc import Sequence

from rvcnn.where.moments import moment
from rvcnn.where.parse import parse
from rvcnn.where.terms import Condition, Field, Match, Or, all_of, compare


def condition_of(
    where: Sequence[str] = (),
    newer: str | None = None,
    older: str | None = None,
    path_glob: Sequence[str] = (),
    min_width: int | None = None,
    min_height: int | None = None,
) -> Condition | None:
    """Return the condition that all of these hold; None where nothing is asked.

    Parameters
    ----------
    where
        Filters.
    newer, older
        The file was changed after, or before, a moment as `rvcnn.where.moments.moment` takes it.
    path_glob
        Globs, of which one must match: one without ``/`` the file's name, one with ``/`` its path
        relative to the index's folder.
    min_width, min_height
        Of the upright image, in pixels.

    Raises
    ------
    UsageError
        A filter or a moment that is none.
    """
    globs = tuple(map(_glob, path_glob))
    return all_of(
        *map(parse, where),
        None if newer is None else compare("modified", ">=", moment(newer)),
        None if older is None else compare("modified", "<", moment(older)),
        Or(globs) if globs else None,
        None if min_width is None else compare("width", ">=", min_width),
        None if min_height is None else compare("height", ">=", min_height),
    )


def _glob(glob: str) -> Match:
    glob = glob.replace(os.sep, "/").removeprefix("./")
    column = "path" if "/" in glob.removeprefix("**/") else "name"
    return Match("glob", Field(column), glob.removeprefix("**/").removeprefix("/"))
