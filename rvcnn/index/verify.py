"""Whether an index is as it was written: every vector, row, checksum and file."""

import os
import sqlite3
import time
from collections.abc import Iterator
from itertools import islice

import numpy as np

from rvcnn.errors import IndexDamagedError
from rvcnn.index import manifest, seal
from rvcnn.index.ann import faults_of_graphs
from rvcnn.index.database import State
from rvcnn.index.files import DATABASE, Home
from rvcnn.index.items import COLUMNS, FACTS, Status, fact_sum
from rvcnn.index.locate import existing_home
from rvcnn.index.snapshot import Snapshot, Source
from rvcnn.index.vectors import UNIT_SLACK

_CHUNK = 2048
_MOST_OF_A_KIND = 100
_PAUSE = 0.05


def verify(dir: str | os.PathLike[str]) -> list[str]:
    """Check the index of a folder, damaged as it may be.

    Checked are the manifest, the digest and the structure of the database, that each row of the
    vectors file belongs to exactly one item or to none any more, and of each item its checksum and
    its vector's: finite, and of unit length where the metric is cosine; and that the graph is as it
    was written and of these vectors.

    Returns
    -------
    One line for each thing that is wrong; nothing wrong, no lines.

    Raises
    ------
    IndexMissingError
        The folder has no index.
    IndexMismatchError
        Its format is newer than this rvcnn knows.
    """
    home = existing_home(dir)
    problems = _problems(home)
    if problems:
        # A writer at work does one thing after another: what is wrong is so a moment later, too.
        time.sleep(_PAUSE)
        lasting = set(_problems(home))
        problems = [problem for problem in problems if problem in lasting]
    return problems


def _problems(home: Home) -> list[str]:
    """Look once."""
    problems = []
    source = Source(home)
    try:
        with source.snapshot() as now:
            problems += check_manifest(home, now.state)
            problems += check_database(home, now)
            problems += check_rows(now)
            problems += faults_of_graphs(home, now.all_vectors, now.state.generation)
    except IndexDamagedError as error:
        problems.append(str(error))
    except sqlite3.Error as error:
        problems.append(f"{DATABASE} cannot be read further: {error}")
    finally:
        source.close()
    return problems


def check_manifest(home: Home, state: State) -> list[str]:
    """Compare the manifest's file with the text in the database."""
    text = manifest.read_text(home.location)
    if text is None:
        return [f"{manifest.NAME} is missing"]
    return [] if text == state.manifest else [f"{manifest.NAME} is not as it was written"]


def check_database(home: Home, now: Snapshot) -> list[str]:
    """Check the digest of the database and its structure."""
    problems = []
    if not seal.holds(home.location):
        problems.append(f"{DATABASE} is not as it was written: its digest is another one")
    found = [line for (line,) in now.execute("PRAGMA integrity_check(100)")]
    if found != ["ok"]:
        problems += [f"{DATABASE}: {' '.join(line.split())}" for line in found]
    return problems


def check_rows(now: Snapshot) -> list[str]:
    """Check each item and each dead row, and that together they are all rows."""
    owners = np.zeros(now.state.rows, np.int64)
    faults = [*_capped(_faults_of_items(now, owners)), *_capped(_faults_of_dead(now, owners))]
    for wrong, what in ((owners == 0, "belongs to nothing"), (owners > 1, "belongs to several")):
        rows = np.flatnonzero(wrong)
        faults += _capped(f"row {row} of the vectors {what}" for row in rows)
    return faults


def _capped(lines: Iterator[str]) -> list[str]:
    shown = list(islice(lines, _MOST_OF_A_KIND))
    more = sum(1 for _ in lines)
    return shown + ([f"... and {more} more of this kind"] if more else [])


def _faults_of_items(now: Snapshot, owners: np.ndarray) -> Iterator[str]:
    cursor = now.execute(f"SELECT {', '.join(COLUMNS)} FROM items ORDER BY row")
    while records := cursor.fetchmany(_CHUNK):
        for record in records:
            what = fault_of_item(now, record, owners)
            if what:
                yield f"{name_of(record)}: {what}"


def fault_of_item(now: Snapshot, record: tuple, owners: np.ndarray) -> str | None:
    """Return what is wrong with a record of `COLUMNS`, and count its row's owners."""
    *known, row, checksum = record
    is_there = isinstance(row, int) and 0 <= row < len(owners)
    if is_there:
        owners[row] += 1
    if fact_sum(*known) != checksum:
        return "what is stored about it has changed: its checksum is another one"
    if (row is None) == (known[FACTS.index("status")] == Status.OK):
        return "its status and its row do not agree"
    if row is None:
        return None
    if not is_there:
        return f"its row {row} is not there"
    if now.all_vectors.sum_of(row) != known[FACTS.index("vector_sum")]:
        return "its vector has changed: its checksum is another one"
    vector = now.all_vectors.decode(slice(row, row + 1))[0]
    length = float(np.sqrt(np.square(vector, dtype=np.float64).sum()))
    if not np.isfinite(length):
        return "its vector is not finite"
    if now.manifest.metric == "cosine" and abs(length - 1) > 2 * UNIT_SLACK:
        return f"its vector is not of unit length but {length:.6g}"
    return None


def name_of(record: tuple) -> str:
    """Return an item's id for a message, on one line."""
    identity = record[0]
    if not isinstance(identity, bytes):
        return f"an item with the id {identity!r}"
    text = os.fsdecode(identity)
    return text if text.isprintable() else ascii(text)


def _faults_of_dead(now: Snapshot, owners: np.ndarray) -> Iterator[str]:
    for row, digest in now.execute("SELECT row, vector_sum FROM dead ORDER BY row"):
        if not 0 <= row < len(owners):
            yield f"the dead row {row} is not there"
            continue
        owners[row] += 1
        if now.all_vectors.sum_of(row) != digest:
            yield f"the dead row {row} has changed: its checksum is another one"
