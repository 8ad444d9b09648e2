"""What a weights file is, as plain values."""

from collections import Counter
from typing import Any

from rvcnn.models.imported import from_text

from .load import open_weights

STATISTICS = (".running_mean", ".running_var")


def describe(path, entry=None) -> dict[str, Any]:
    """Return what a weights file holds, without converting a number of it.

    Parameters
    ----------
    path : path-like
    entry : str, optional
        See :func:`load_weights`.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, or asks for anything to be run.
    """
    file = open_weights(path, entry)
    kinds = Counter(tensor.dtype for tensor in file.tensors.values())
    return {
        "file": file.source,
        "format": file.format,
        "layout": file.layout or file.metadata.get("key_layout", "not translated"),
        "tensors": len(file.tensors),
        "parameters": sum(
            tensor.size for key, tensor in file.tensors.items() if not key.endswith(STATISTICS)
        ),
        "dtypes": dict(kinds),
        "sha256": file.sha256,
        "metadata": {key: _short(file.metadata, key) for key in sorted(file.metadata)},
        "notes": list(file.notes),
    }


def _short(metadata, key):
    """A value of the metadata; of a network's graph only its size."""
    if key != "graph":
        return metadata[key]
    return f"{len(from_text(metadata[key]).nodes)} layers"
