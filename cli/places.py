"""The indexes that a command looks into."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rvcnn.cli.console import note
from rvcnn.paths import quoted, relative

if TYPE_CHECKING:
    from rvcnn.place import Place


def open_places(folders: Sequence[Path] = ()) -> list["Place"]:
    """Open them, and say of each how many of its images cannot be found."""
    from rvcnn import place

    places = place.open_places(folders)
    for one in places:
        if count := one.stale():
            images = "1 image has" if count == 1 else f"{count} images have"
            note(
                f"{images} no vector now, and will not be found: "
                f"`rvcnn embed {quoted(relative(one.folder))}` ends a rebuild or mends damage"
            )
    return places
