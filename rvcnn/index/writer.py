"""The writer of an index: one at a time, each commit all or nothing."""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rvcnn.errors import ShapeError, UsageError
from rvcnn.index.files import Home, damaged, told
from rvcnn.index.formats import encode
from rvcnn.index.items import (
    COLUMNS,
    FACTS,
    Item,
    Status,
    decode_id,
    encode_id,
    encode_ids,
    encode_metadata,
    fact_sum,
    facts,
    from_record,
)
from rvcnn.index.manifest import Manifest
from rvcnn.index.store import Store
from rvcnn.index.vectors import checked

_CHUNK = 4096
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM items"
_UPSERT = (
    f"INSERT INTO items ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in COLUMNS[1:])}"
)
_METADATA = FACTS.index("metadata")
CHANGES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]] = {
    "merge": lambda old, new: {**old, **new},
    "replace": lambda old, new: dict(new),
    "remove": lambda old, new: {k: v for k, v in old.items() if k not in new},
}
"""The ways in which new metadata may change the old."""
_BURY = "INSERT INTO dead SELECT row, vector_sum FROM items WHERE id = ? AND row IS NOT NULL"


class Known(NamedTuple):
    """What tells whether a file is as it was when the index saw it."""

    status: str
    size: int | None
    mtime_ns: int | None
    tried: str | None
    error: str | None


class Writer:
    """Changes an index. Made by `Index.writer`; its methods may be called from any thread.

    What is added or removed is seen by readers, and survives a crash, from the next `commit` on. A
    call that fails changes nothing. Used as a context manager the writer commits at the end, or,
    after an exception, forgets what was not committed.
    """

    def __init__(self, home: Home, wait: float = 10.0):
        """Take the writer's lock and open the index.

        Raises
        ------
        IndexLockedError
            Another writer was at work for `wait` seconds.
        """
        self._store = Store(home, wait)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.close()

    def commit(self) -> None:
        """Make all changes visible and lasting at once.

        Raises
        ------
        RvcnnError
            The disk is full, say: none of the changes since the last commit was made.
        """
        self._store.commit()

    def close(self) -> None:
        """Forget what was not committed, put the files in order, and let the next writer in."""
        self._store.close()

    @property
    def manifest(self) -> Manifest:
        """What the index holds."""
        return self._store.manifest

    def add(
        self,
        vectors: Any,
        ids: Iterable[str | os.PathLike[str]],
        metadata: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Add vectors, or replace those whose ids are there already.

        Parameters
        ----------
        vectors
            (N, D), finite; scaled to unit length where the metric is cosine.
        ids
            N different strings or paths.
        metadata
            N dictionaries, or None, of what JSON can hold. An id that is there already keeps its
            own where none is given.

        Raises
        ------
        UsageError, ShapeError
            Anything of that is not so; nothing was added then.
        """
        encoded = encode_ids(ids)
        rows = checked(vectors, self.manifest.dimension, self.manifest.metric, encoded)
        tags = [None] * len(encoded) if metadata is None else list(metadata)
        if len(tags) != len(encoded):
            raise ShapeError(f"{len(encoded)} ids and {len(tags)} metadata")
        now = int(time.time())
        with self._store.changing():
            for start in range(0, len(encoded), _CHUNK):
                part = slice(start, start + _CHUNK)
                items = [
                    Item(os.fsdecode(i), added_at=now, metadata=tag)
                    for i, tag in zip(encoded[part], tags[part], strict=True)
                ]
                self._put(items, rows[part])

    def put(self, item: Item, vector: np.ndarray | None) -> None:
        """Store an item as it is given, in place of any other with its id.

        Its vector (D,), or None for one without, is checked as by `add`. The item's `row` is not
        looked at; metadata of None keeps what is there.
        """
        if (vector is None) == (item.status == Status.OK):
            raise UsageError("an item has a vector exactly if its status is ok")
        rows = None
        if vector is not None:
            rows = checked(vector, self.manifest.dimension, self.manifest.metric, [item.id])
        with self._store.changing():
            self._put([item], rows)

    def _put(self, items: Sequence[Item], rows: np.ndarray | None) -> None:
        connection = self._store.connection
        ids = [encode_id(item.id) for item in items]
        connection.executemany(_BURY, [(i,) for i in ids])
        held = None if rows is None else encode(rows, self.manifest.dtype)
        first = None if held is None else self._store.file.append(held)
        records = []
        for n, item in enumerate(items):
            digest = None if held is None else held.sum_of(n)
            known = facts(item, digest)
            if item.metadata is None:
                known = (*known[:-2], self._metadata_of(ids[n]), digest)
            records.append((*known, None if first is None else first + n, fact_sum(*known)))
        connection.executemany(_UPSERT, records)

    def _metadata_of(self, encoded: bytes) -> str | None:
        found = self._store.connection.execute(
            "SELECT metadata FROM items WHERE id = ?", (encoded,)
        )
        return next((tag for (tag,) in found), None)

    def since(self, identity: str, sha256: bytes | None) -> int | None:
        """Return when this content of an id came into the index; None where it is new."""
        with self._store.guard, told(self._store.home):
            found = self._store.connection.execute(
                "SELECT added_at FROM items WHERE id = ? AND sha256 = ?",
                (encode_id(identity), sha256),
            ).fetchone()
        return found[0] if found and isinstance(found[0], int) else None

    def remove(self, ids: Iterable[str | os.PathLike[str]]) -> int:
        """Remove ids; how many of them were there."""
        encoded = [(i,) for i in encode_ids(ids)]
        with self._store.changing():
            connection = self._store.connection
            connection.executemany(_BURY, encoded)
            deleted = connection.executemany("DELETE FROM items WHERE id = ?", encoded)
            return max(0, deleted.rowcount)

    def rename(self, old: str, item: Item) -> None:
        """Let the item `old` become `item`, with the vector, metadata and date that it has.

        The id may stay the same. Another item that has the new one goes.
        """
        with self._store.changing():
            connection = self._store.connection
            if item.id != old:
                self.remove([item.id])
            record = connection.execute(f"{_SELECT} WHERE id = ?", (encode_id(old),)).fetchone()
            *known, tag, digest, row, _ = record
            moved = facts(replace(item, added_at=known[FACTS.index("added_at")]), digest)
            moved = (*moved[:-2], tag, digest)
            connection.execute("DELETE FROM items WHERE id = ?", (encode_id(old),))
            connection.execute(_UPSERT, (*moved, row, fact_sum(*moved)))

    def tag(self, identity: str, metadata: Mapping[str, Any], how: str = "merge") -> bool:
        """Change the metadata of an id; whether the index has it.

        Parameters
        ----------
        identity
            The id, of an item with a vector or without.
        metadata
            What JSON can hold.
        how
            ``merge`` into what is there, ``replace`` that, or ``remove`` its keys from it. What is
            left empty becomes None.
        """
        if how not in CHANGES:
            raise UsageError(f"unknown change of metadata {how!r}: one of {', '.join(CHANGES)}")
        with self._store.changing():
            found = self._store.connection.execute(
                f"SELECT {', '.join(FACTS)}, checksum FROM items WHERE id = ?",
                (encode_id(identity),),
            )
            record = found.fetchone()
            if record is None:
                return False
            *known, checksum = record
            if fact_sum(*known) != checksum:
                raise damaged(self._store.home, f"what is stored about {identity!r} has changed")
            text = known[_METADATA]
            changed = CHANGES[how](json.loads(text) if text else {}, metadata)
            known[_METADATA] = encode_metadata(changed or None)
            self._store.connection.execute(
                "UPDATE items SET metadata = ?, checksum = ? WHERE id = ?",
                (known[_METADATA], fact_sum(*known), known[0]),
            )
            return True

    def find_content(self, sha256: bytes) -> tuple[Item, np.ndarray] | None:
        """Return an item whose file had this content, with its vector (D,), or None.

        A vector that is not as it was written is not returned.
        """
        with self._store.guard, told(self._store.home):
            for record in self._store.connection.execute(
                f"{_SELECT} WHERE sha256 = ? AND row IS NOT NULL", (sha256,)
            ):
                item = from_record(record, self._store.file.rows)
                held = self._store.file.read(item.row)
                if held.sum_of(0) == record[COLUMNS.index("vector_sum")]:
                    return item, held.decode()[0]
            return None

    def known(self, below: str = "") -> dict[str, Known]:
        """Return what is known of the ids that begin with `below` (empty, or ending in ``/``)."""
        condition, bounds = "", ()
        if below:
            first = os.fsencode(below)
            condition, bounds = "WHERE id >= ? AND id < ?", (first, first[:-1] + b"0")
        with self._store.guard, told(self._store.home):
            rows = self._store.connection.execute(
                f"SELECT id, {', '.join(Known._fields)} FROM items {condition}", bounds
            )
            return {decode_id(identity): Known(*rest) for identity, *rest in rows}

    def contents(self, ids: Iterable[str]) -> dict[bytes, list[str]]:
        """Return the ids among `ids` that have a vector, by their files' sha256."""
        found: dict[bytes, list[str]] = {}
        with self._store.guard, told(self._store.home):
            for identity in ids:
                for (sha256,) in self._store.connection.execute(
                    "SELECT sha256 FROM items WHERE id = ? AND row IS NOT NULL AND sha256 NOT NULL",
                    (encode_id(identity),),
                ):
                    found.setdefault(sha256, []).append(identity)
        return found

    def count(self) -> int:
        """Return how many items have a vector or are to get one again."""
        with self._store.guard, told(self._store.home):
            found = self._store.connection.execute(
                "SELECT count(*) FROM items WHERE status != ?", (Status.FAILED,)
            )
            return found.fetchone()[0]

    def reset(self, manifest: Manifest) -> None:
        """Commit that no item has a vector any more, and what the new ones are going to be.

        Items keep their ids and metadata and become stale. What was not committed is forgotten.
        """
        self._store.reset(manifest)
