"""The manifest: what an index holds, in a small JSON file beside it.

The database holds the same text and is what counts; the file is for people, for other tools, for a
version of rvcnn that cannot read the database, and for mending one that is damaged.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rvcnn.errors import IndexDamagedError, IndexMismatchError, UsageError
from rvcnn.index.arguments import whole_number
from rvcnn.index.files import Home, told, write_whole
from rvcnn.index.formats import FORMATS
from rvcnn.paths import quoted

NAME = "manifest.json"
FORMAT = "rvcnn index"
FORMAT_VERSION = 2
"""Of an index that is not of float32 vectors; those have version 1, as before there were others."""
LONGEST_INT8 = 1 << 16
METRICS = ("cosine", "euclidean", "dot")
WEIGHTS_FILE = "weights_file"
"""Key of a description that says where to look for the model, not which one it is."""


def identity(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a description that decides the vectors."""
    return {key: value for key, value in description.items() if key != WEIGHTS_FILE}


@dataclass(frozen=True)
class Manifest:
    """Dimension, metric and type of the vectors, and a description of what made them (plain JSON).

    `root` is the folder the index belongs to, where that is not the folder it lies in.
    """

    dimension: int
    metric: str = "cosine"
    description: Mapping[str, Any] = field(default_factory=dict)
    root: str | None = None
    dtype: str = "float32"

    def to_text(self) -> str:
        typed = {} if self.dtype == "float32" else {"dtype": self.dtype}
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION if typed else 1,
            **typed,
            "dimension": self.dimension,
            "metric": self.metric,
            "description": dict(self.description),
        }
        if self.root is not None:
            content["root"] = self.root
        return json.dumps(content, indent=2, sort_keys=True) + "\n"


def make(
    dim: int,
    metric: str,
    description: Mapping[str, Any] | None,
    root: str | None = None,
    dtype: str = "float32",
) -> Manifest:
    """Return a checked manifest."""
    dim = whole_number("dim", dim)
    if metric not in METRICS:
        raise UsageError(f"unknown metric {metric!r}: one of {', '.join(METRICS)}")
    if dtype not in FORMATS:
        raise UsageError(f"unknown dtype {dtype!r}: one of {', '.join(FORMATS)}")
    if dtype == "int8" and dim > LONGEST_INT8:
        raise UsageError(f"int8 vectors have at most {LONGEST_INT8} values, not {dim}")
    return Manifest(dim, metric, plain_json(description or {}), root, dtype)


def at_home(manifest: Manifest, home: Home) -> Manifest:
    """Return a manifest that names its folder if it lies elsewhere."""
    elsewhere = home.location.parent != home.root
    return replace(manifest, root=str(home.root) if elsewhere else None)


def refuse_newer(home: Home) -> None:
    """Raise IndexMismatchError if the index has a newer format than this rvcnn reads."""
    with told(home):
        text = read_text(home.location)
    # The database holds the manifest too: of a damaged file, `verify` tells.
    with suppress(IndexDamagedError):
        if text is not None:
            parse(text, home)


def plain_json(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description as it comes back from the file (tuples as lists)."""
    try:
        return json.loads(json.dumps(dict(description), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the description of an index must be plain JSON: {error}") from None


def parse(text: str, home: Home) -> Manifest:
    """Read a manifest's text.

    Raises
    ------
    IndexMismatchError
        Its format is newer than this version of rvcnn knows.
    IndexDamagedError
        It is no manifest.
    """
    try:
        content = json.loads(text)
        version = content["format_version"]
        if content["format"] == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
            raise IndexMismatchError(
                f"the index of {home.root} has format {version}, this rvcnn reads formats up to "
                f"{FORMAT_VERSION}: install a newer rvcnn, or make the index anew with "
                f"`rvcnn embed --rebuild {quoted(home.root)}`"
            )
        if content["format"] != FORMAT or version not in range(1, FORMAT_VERSION + 1):
            raise ValueError("not the manifest of an index")
        return make(
            content["dimension"],
            content["metric"],
            content["description"],
            content.get("root"),
            content["dtype"] if version > 1 else "float32",
        )
    except IndexMismatchError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IndexDamagedError(
            f"the manifest of the index of {home.root} cannot be read ({error}): "
            f"`rvcnn verify --repair {quoted(home.root)}` mends it"
        ) from None


def read_text(location: Path) -> str | None:
    """Return the manifest file's text; None where there is none."""
    try:
        return (location / NAME).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return None


def write(location: Path, manifest: Manifest) -> None:
    write_whole(location / NAME, manifest.to_text().encode("ascii"))
