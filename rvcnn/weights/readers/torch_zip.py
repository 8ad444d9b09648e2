"""PyTorch's checkpoints since version 1.6: a zip archive of a pickle and one entry a storage."""

from rvcnn.weights.contents import Contents, Refusal

from .archive import MAGIC, STORED, Archive
from .torch_tensors import KNOWN, Storage, contents_of, storage_of
from .unpickle import Unpickler

PICKLE = "/data.pkl"
_ORDERS = {b"little": "<", b"big": ">"}


def matches(buffer: memoryview) -> bool:
    """Whether a file is a zip archive with a pickle where PyTorch puts it."""
    return buffer[:4] == MAGIC and any(name.endswith(PICKLE) for name in Archive(buffer).entries)


def read(buffer: memoryview, entry: str | None = None) -> Contents:
    """Find the tensors of a checkpoint; `entry` names where its state dict is."""
    archive = Archive(buffer)
    pickle, *more = [name for name in archive.entries if name.endswith(PICKLE)]
    if more or any(e.method != STORED for e in archive.entries.values()):
        raise Refusal("an archive that PyTorch did not write: compressed, or of several pickles")
    root = pickle[: -len(PICKLE)]
    if f"{root}/constants.pkl" in archive.entries:
        raise Refusal("a TorchScript archive, which is a program: save its state_dict() alone")
    checkpoint, _ = Unpickler(archive.read(pickle), KNOWN, storage_of).load()

    def data(storage: Storage) -> memoryview:
        return archive.read(f"{root}/data/{storage.key}")

    order = f"{root}/byteorder"
    named = bytes(archive.read(order)) if order in archive.entries else b"little"
    if named not in _ORDERS:
        raise Refusal(f"an archive of an unknown byte order, {named[:20]!r}")
    return contents_of(checkpoint, entry, data, _ORDERS[named])
