"""What an index says of the model that made it, and the error where another one is at hand."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rvcnn.errors import IndexMismatchError
from rvcnn.index.manifest import WEIGHTS_FILE
from rvcnn.paths import quoted

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder


def told_by(embedder: "Embedder") -> dict[str, Any]:
    """Return what an index says of the embedder that made it: also where its weights lie."""
    weights = getattr(embedder, "weights", None)
    file = {} if weights is None else {WEIGHTS_FILE: os.path.abspath(weights)}
    return {**embedder.describe(), **file}


def mismatch(
    folder: str | os.PathLike[str], made: Mapping[str, Any], wanted: Mapping[str, Any]
) -> IndexMismatchError:
    """Return the error for a folder's index that is not of the model at hand.

    Parameters
    ----------
    folder
        What the index belongs to.
    made, wanted
        What the index and the model at hand say of themselves, and the dimension.
    """
    return IndexMismatchError(
        f"the index of {folder} was made by {_name(made, wanted)}, which is not "
        f"{_name(wanted, made)}{_lost(made, wanted)}: use that model, or make the index anew with "
        f"`rvcnn embed --rebuild {quoted(folder)}{_options(wanted, made)}`"
    )


def _lost(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say what became of the weights file that an index remembers, if that is the reason."""
    file = made.get(WEIGHTS_FILE)
    if not isinstance(file, str):
        return ""
    if not os.path.isfile(file):
        return f"; {file} is gone"
    return f"; {file} has changed since" if wanted.get(WEIGHTS_FILE) == file else ""


def _options(description: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the options that ask for what a description says, where another has its own."""
    options = {"weights": WEIGHTS_FILE, "precision": "precision", "embedding": "embedding"}
    asked = ""
    for option, key in options.items():
        mine = description.get(key)
        asked += f" --{option} {quoted(mine)}" if mine and mine != other.get(key) else ""
    return asked


def _name(description: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Name what made an index: the model, and in what else it differs from another one."""
    different = ", ".join(
        f"{key.replace('_', ' ')} {_short(value)}"
        for key, value in description.items()
        if key != "model" and value != other.get(key)
    )
    model = description.get("model", "an unnamed model")
    return f"{model} ({different})" if different else str(model)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={_short(inner)}" for key, inner in value.items())
    text = str(value)
    return text[:12] if len(text) == 64 else text
