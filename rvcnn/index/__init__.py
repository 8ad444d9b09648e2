"""The index: vectors on disk, found again by exact search."""

from rvcnn.index.core import Index, Match, Matches, Stats
from rvcnn.index.items import Item, Status
from rvcnn.index.locate import find_index
from rvcnn.index.repair import Repaired, repair
from rvcnn.index.verify import verify
from rvcnn.index.writer import Writer

__all__ = [
    "Index",
    "Item",
    "Match",
    "Matches",
    "Repaired",
    "Stats",
    "Status",
    "Writer",
    "find_index",
    "repair",
    "verify",
]
