"""The index that a folder's images go to: found, made, or refused because it is another model's."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rvcnn.errors import IndexDamagedError, IndexMismatchError, UsageError
from rvcnn.index import Writer, find_index
from rvcnn.index.create import create_index, replace_index
from rvcnn.index.files import Home
from rvcnn.index.locate import existing_home
from rvcnn.index.manifest import Manifest, identity, make
from rvcnn.made_by import mismatch, told_by
from rvcnn.paths import quoted

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder

METRIC = "cosine"
NEW_DTYPE = "float32"
"""How an index holds vectors where nobody says."""


def existing_folder(root: str | os.PathLike[str]) -> Path:
    """Return a folder as it is on the disk, links resolved."""
    if os.path.isdir(root):
        return Path(os.path.realpath(root))
    what = "it is a file" if os.path.exists(root) else "there is none"
    raise UsageError(f"no folder at {os.fspath(root)}: {what}")


def home_for(folder: Path, embedder: "Embedder", wait: float, dtype: str | None = None) -> Home:
    """Return where the index at or above a folder is; without one, make it in the folder."""
    root = find_index(folder)
    if root is not None:
        return existing_home(root)
    new = embedder.dim, METRIC, told_by(embedder)
    return create_index(folder, *new, wait, exist_ok=True, dtype=dtype or NEW_DTYPE)


def open_writer(
    home: Home, embedder: "Embedder", rebuild: bool, wait: float, dtype: str | None = None
) -> Writer:
    """Open an index for this embedder and, unless `dtype` is None, for vectors held in this way.

    With `rebuild`, one that is damaged or newer is replaced; one of another model is left to be
    reset.

    Raises
    ------
    IndexMismatchError
        It is another model's, or holds its vectors in another way.
    """
    try:
        writer = Writer(home, wait)
    except (IndexDamagedError, IndexMismatchError):
        if not rebuild:
            raise
        new = make(embedder.dim, METRIC, told_by(embedder), dtype=dtype or NEW_DTYPE)
        replace_index(home, new, wait)
        writer = Writer(home, wait)
    try:
        if not rebuild:
            _refuse_another(home, writer.manifest, embedder, dtype)
    except BaseException:
        writer.close()
        raise
    return writer


def _refuse_another(home: Home, have: Manifest, embedder: "Embedder", dtype: str | None) -> None:
    """Raise IndexMismatchError unless an index is of this embedder's vectors, held in this way."""
    if not is_of(have, embedder):
        want = manifest_of(have, embedder)
        raise mismatch(home.root, *({**m.description, **_compared(m)} for m in (have, want)))
    if dtype not in (None, have.dtype):
        raise IndexMismatchError(
            f"the index of {home.root} holds {have.dtype} vectors, not {dtype}: leave --vectors "
            f"out, or make the index anew with `rvcnn embed --rebuild --vectors {dtype} "
            f"{quoted(home.root)}`"
        )


def _compared(manifest: Manifest) -> dict[str, Any]:
    return {"dimension": manifest.dimension, "metric": manifest.metric}


def manifest_of(old: Manifest, embedder: "Embedder", dtype: str | None = None) -> Manifest:
    """Return the manifest for this embedder's vectors in the place of `old`."""
    new = make(embedder.dim, METRIC, told_by(embedder), dtype=dtype or old.dtype)
    return replace(new, root=old.root)


def is_of(manifest: Manifest, embedder: "Embedder") -> bool:
    """Whether a manifest is that of this embedder's vectors, wherever its weights lie."""
    both = manifest, manifest_of(manifest, embedder)
    mine, yours = (replace(m, description=identity(m.description)) for m in both)
    return mine == yours
