"""Fill the disk cache of compiled kernels before anybody waits for it."""

from . import kernels
from .kernels import vector
from .kernels.resize import resize_kernel


def _needed(embedder):
    walk = kernels.FAMILIES["walk"]()
    return [walk, resize_kernel(), *embedder.backend.kernels(), *vector.dot_kernels()]


def is_compiled(embedder):
    """Whether the cache holds every kernel that embedding and searching need."""
    return all(kernel.is_cached() for kernel in _needed(embedder))


def warmup(embedder, progress=lambda done, total: None):
    """Compile, or load from the cache, every kernel that embedding and searching need.

    Parameters
    ----------
    embedder : Embedder
    progress : callable
        Told how many kernels of how many are ready.

    Returns
    -------
    int
        How many kernels there are.
    """
    needed = _needed(embedder)
    for done, kernel in enumerate(needed):
        progress(done, len(needed))
        kernel.load()
    progress(len(needed), len(needed))
    return len(needed)
