"""One row of the index: an image's path with all that is known about it, and its checksum."""

import functools
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from rvcnn.errors import UsageError

SUM_BYTES = 8


class Status:
    """What an item's ``status`` may be."""

    OK = "ok"  # has a vector
    FAILED = "failed"  # could not be read as an image; `error` says why
    STALE = "stale"  # lost its vector to damage or a rebuild; the next update embeds it


# The columns of the table `items`, in its order, and what each may hold. A checksum covers FACTS:
# all but where the vector lies, which a compaction changes; that the vector is the right one, its
# own checksum tells.
_MAYBE = type(None)
_KINDS = {
    "id": (bytes,),
    "status": (str,),
    "size": (int, _MAYBE),
    "mtime_ns": (int, _MAYBE),
    "sha256": (bytes, _MAYBE),
    "width": (int, _MAYBE),
    "height": (int, _MAYBE),
    "format": (str, _MAYBE),
    "added_at": (int, _MAYBE),
    "error": (str, _MAYBE),
    "tried": (str, _MAYBE),
    "metadata": (str, _MAYBE),
    "vector_sum": (bytes, _MAYBE),
    "row": (int, _MAYBE),
    "checksum": (bytes,),
}
COLUMNS = tuple(_KINDS)
FACTS = COLUMNS[: COLUMNS.index("row")]


_LATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Item:
    """What the index knows of one id.

    Attributes
    ----------
    id
        The path relative to the index's folder, with ``/``; or whatever id `Index.add` was given.
    status
        One of `Status`. Only an item that is ``ok`` has a row and is found by searches.
    size, mtime_ns
        Of the file when it was read: bytes, nanoseconds since the epoch.
    sha256
        Of the file's bytes.
    width, height
        Pixels of the upright image as stored in the file.
    added_at
        Seconds since the epoch.
    error
        Why the file could not be read.
    tried
        What failed to read it (version, formats, limits): another one tries again.
    metadata
        The user's own, any JSON object.
    row
        Row of the vectors file. Valid until the next compaction only.
    """

    id: str
    status: str = Status.OK
    size: int | None = None
    mtime_ns: int | None = None
    sha256: bytes | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    added_at: int | None = None
    error: str | None = None
    tried: str | None = None
    metadata: Mapping[str, Any] | None = None
    row: int | None = None


def time_of(status: os.stat_result) -> int:
    """Return a file's `mtime_ns`: no further from 1970 than 292 years, which 64 bits hold."""
    return max(-_LATEST - 1, min(status.st_mtime_ns, _LATEST))


def from_record(record: tuple, rows: int) -> Item:
    """Make an item of a record with the columns `COLUMNS`, of an index with so many rows.

    Raises
    ------
    sqlite3.DatabaseError
        It holds what was never written.
    """
    _check_kinds(tuple(map(type, record)))
    identity, *facts, metadata, _vector_sum, row, _checksum = record
    item = Item(os.fsdecode(identity), *facts, decode_metadata(metadata), row)
    if (row is None) == (item.status == Status.OK) or not (row is None or 0 <= row < rows):
        raise sqlite3.DatabaseError(f"the row of {item.id!r} is not there")
    return item


@functools.cache
def _check_kinds(kinds: tuple[type, ...]) -> None:
    for kind, (name, allowed) in zip(kinds, _KINDS.items(), strict=True):
        if kind not in allowed:
            raise sqlite3.DatabaseError(f"the {name} of an item is of the type {kind.__name__}")


def decode_id(raw: Any) -> str:
    """Return an id from what is stored; DatabaseError where that is none."""
    if not isinstance(raw, bytes):
        raise sqlite3.DatabaseError(f"an item has the id {raw!r}")
    return os.fsdecode(raw)


def decode_metadata(text: Any) -> dict[str, Any] | None:
    """Return metadata from what is stored; DatabaseError where that is none."""
    if text is None:
        return None
    try:
        metadata = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise sqlite3.DatabaseError(f"the metadata of an item cannot be read: {error}") from error
    if not isinstance(metadata, dict):
        raise sqlite3.DatabaseError("the metadata of an item is no object")
    return metadata


def facts(item: Item, vector_sum: bytes | None) -> tuple:
    """Return the values of `FACTS` for an item."""
    return (
        encode_id(item.id),
        item.status,
        item.size,
        item.mtime_ns,
        item.sha256,
        item.width,
        item.height,
        plain(item.format),
        item.added_at,
        plain(item.error),
        plain(item.tried),
        encode_metadata(item.metadata),
        vector_sum,
    )


def fact_sum(*values: Any) -> bytes:
    """Return the checksum of the values of `FACTS`, from Python's integers, bytes and strings."""
    # ascii() tells every value of these types apart and is the same in every version of Python.
    return blake2b(ascii(values).encode("ascii"), digest_size=SUM_BYTES).digest()


def vector_sum(*parts: Any) -> bytes:
    """Return the checksum of one vector's bytes, those of each plane (C-contiguous arrays)."""
    digest = blake2b(digest_size=SUM_BYTES)
    for part in parts:
        digest.update(part)
    return digest.digest()


def plain(text: str | None) -> str | None:
    """Return text that SQLite can hold: what is no Unicode becomes a question mark."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")


def encode_id(identity: Any) -> bytes:
    """Return an id as it is stored: the bytes of a file name."""
    if isinstance(identity, os.PathLike):
        identity = os.fspath(identity)
    if not isinstance(identity, str) or not identity:
        raise UsageError(f"an id is a path or a non-empty string, not {identity!r}")
    try:
        return os.fsencode(identity)
    except UnicodeEncodeError:
        raise UsageError(f"the id {identity!r} cannot be a file name on this system") from None


def encode_ids(ids: Iterable[Any]) -> list[bytes]:
    """Return ids as they are stored; they must differ from each other."""
    if isinstance(ids, (str, bytes, os.PathLike)):
        raise UsageError(f"ids is a list of ids, not the single {ids!r}")
    encoded = [encode_id(i) for i in ids]
    if len(set(encoded)) < len(encoded):
        seen: set[bytes] = set()
        twice = next(i for i in encoded if i in seen or seen.add(i))
        raise UsageError(f"the id {os.fsdecode(twice)!r} is given twice")
    return encoded


def encode_metadata(metadata: Mapping[str, Any] | None) -> str | None:
    """Return metadata as JSON text."""
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise UsageError(f"metadata of an item is a dictionary or None, not {metadata!r}")
    try:
        return json.dumps(dict(metadata), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"metadata must be plain JSON: {error}") from None
