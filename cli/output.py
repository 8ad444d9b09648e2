"""What goes to stdout: lines of text, tab-separated lines with raw paths, JSON lines."""

import json
import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from rvcnn.errors import RvcnnError
from rvcnn.paths import as_text, path_fields, relative

if TYPE_CHECKING:
    from rvcnn.search import Hit
    from rvcnn.seen import Seen


class Form(NamedTuple):
    """How search results are printed, as the options say."""

    paths_only: bool = False
    null: bool = False
    json: bool = False

    @classmethod
    def of(cls, filepath_only: bool, null: bool, as_json: bool) -> "Form":
        """Make a form of options; two that contradict each other are a usage error."""
        if as_json and (filepath_only or null):
            raise click.UsageError("--json goes with neither --filepath-only nor --null")
        return cls(filepath_only, null, as_json)


def write(lines: Iterable[bytes], end: bytes = b"\n") -> None:
    """Write lines to stdout."""
    if sys.stdout is None:
        raise RvcnnError("the standard output is closed: there is nowhere to write to")
    stream = sys.stdout.buffer
    stream.write(b"".join(line + end for line in lines))
    stream.flush()


def write_text(*lines: str) -> None:
    """Write lines of text to stdout."""
    write(line.encode("utf-8", "surrogateescape") for line in lines)


def write_json(*objects: dict[str, Any]) -> None:
    """Write objects to stdout, one a line."""
    write(json.dumps(o, ensure_ascii=False).encode("utf-8", "replace") for o in objects)


def write_hits(hits: Iterable["Hit"], query: str | list[str], form: Form) -> None:
    """Write search results; paths are relative to the current folder."""
    if form.json:
        shown = as_text(query) if isinstance(query, str) else [as_text(name) for name in query]
        write_json(*(_json_hit(hit, rank, shown) for rank, hit in enumerate(hits, 1)))
        return
    lines = []
    for hit in hits:
        path = os.fsencode(relative(hit.path))
        lines.append(path if form.paths_only else b"%.3f\t%b" % (hit.score, path))
    write(lines, b"\0" if form.null else b"\n")


def write_seen(seen: "Seen", query: str, form: Form, alone: bool) -> None:
    """Write where one query was seen; where it is not `alone`, lines begin with it."""
    if form.json:
        matches = [{"same": seen.same, **_json_image(hit)} for hit in seen.hits]
        write_json({"query": as_text(query), "seen": bool(matches), "matches": matches})
        return
    lines = []
    for hit in seen.hits:
        path = os.fsencode(relative(hit.path))
        score = b"same" if seen.same else b"%.3f" % hit.score
        columns = (path,) if form.paths_only else (score, path, _date(hit.item.added_at))
        lines.append(b"\t".join(columns if alone else (os.fsencode(query), *columns)))
    write(lines, b"\0" if form.null else b"\n")


def _date(seconds: int | None) -> bytes:
    if seconds is None:
        return b"-"
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _json_hit(hit: "Hit", rank: int, query: str | list[str]) -> dict[str, Any]:
    return {"query": query, "rank": rank, **_json_image(hit)}


def _json_image(hit: "Hit") -> dict[str, Any]:
    item = hit.item
    return {
        "score": hit.score,
        **path_fields(relative(hit.path)),
        "width": item.width,
        "height": item.height,
        "added_at": item.added_at,
        "metadata": item.metadata or {},
    }
