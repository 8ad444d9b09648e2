"""What an update of a folder tells while it runs, and what it reports at its end."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Scanned:
    """The folder was listed: `total` images are to be read, `unchanged` ones are not."""

    total: int
    unchanged: int


@dataclass(frozen=True)
class Done:
    """An image has its vector; `reused`: one that was there already, as after a rename."""

    path: str
    reused: bool


@dataclass(frozen=True)
class Skipped:
    """A file or a folder was left out.

    `known`: it failed in an earlier run and has not changed since, so it was not opened and is not
    among the `Scanned.total`. Neither are folders: of all that is counted in the total, each ends
    in one `Done` or one `Skipped` with `counted`.
    """

    path: str
    reason: str
    known: bool = False
    counted: bool = True


@dataclass(frozen=True)
class Removed:
    """`count` images left the index because their files are gone."""

    count: int


Event = Scanned | Done | Skipped | Removed


@dataclass
class Report:
    """What an update did.

    Attributes
    ----------
    root
        Folder of the index.
    indexed, reused, unchanged, skipped, removed
        Images that were embedded; that got a vector which was there already; that were not opened;
        files and folders that were left out; images that left the index.
    seconds
        Where the time went: ``scan``, ``read`` (and hash), ``decode``, ``resize``, ``network`` and
        ``index``, summed over all threads, and ``total`` by the clock.
    """

    root: Path
    indexed: int = 0
    reused: int = 0
    unchanged: int = 0
    skipped: int = 0
    removed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
