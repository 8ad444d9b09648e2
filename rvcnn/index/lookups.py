"""Questions to a snapshot about contents and metadata."""

import json
import os
from typing import Any

from rvcnn.index.items import Item, Status, decode_id, decode_metadata
from rvcnn.index.snapshot import Snapshot


def with_content(now: Snapshot, sha256: bytes) -> list[Item]:
    """Return the items with a vector whose files had this content."""
    return list(now.items("WHERE sha256 = ? AND row IS NOT NULL ORDER BY id", sha256))


def stale(now: Snapshot, below: str = "") -> int:
    """Count the items that lost their vectors, of those whose ids begin with `below`."""
    start = os.fsencode(below)
    # Of items without a row there are few, and an index of them: it is asked before each search.
    (count,) = now.execute(
        "SELECT count(*) FROM items WHERE row IS NULL AND status = ? AND substr(id, 1, ?) = ?",
        Status.STALE,
        len(start),
        start,
    ).fetchone()
    return count


def metadata(now: Snapshot) -> dict[str, dict[str, Any]]:
    """Return the metadata of all items that have some, by id."""
    found = now.execute("SELECT id, metadata FROM items WHERE metadata IS NOT NULL")
    return {decode_id(identity): decode_metadata(text) for identity, text in found}


def has_key(now: Snapshot, key: str) -> bool:
    """Whether any item's metadata has a key, or an object in it has."""
    name = json.dumps(key) + ":"  # of a text, a colon never follows: its quotes have backslashes
    found = now.execute("SELECT 1 FROM items WHERE instr(metadata, ?) > 0 LIMIT 1", name)
    return found.fetchone() is not None
