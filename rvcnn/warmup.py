"""Fill the disk cache of compiled kernels before anybody waits for it."""

from . import kernels
from .kernels import dot_rows, neighbours, pruning, vector
from .kernels.resize import resize_kernel

TEMPORARY_CACHE = "rvcnn-kernels-"  # how the folder begins that stands in for the user's cache


def _needed(embedder, search):
    embedding = [kernels.FAMILIES["walk"](), resize_kernel(), *embedder.backend.kernels()]
    if not search:
        return embedding
    graph = [neighbours.search_kernel(), *dot_rows.kernels(), pruning.prune_kernel()]
    return [*embedding, *vector.dot_kernels(), *graph]


def cache_problem():
    """What is wrong with the cache folder where nothing in it outlives the process, else None."""
    if not kernels.cache_dir().name.startswith(TEMPORARY_CACHE):
        return None
    return (
        "the cache folder cannot be written, so every process compiles anew: "
        "set RVCNN_CACHE_DIR to a folder that can"
    )


def is_compiled(embedder, search=True):
    """Whether the cache holds every kernel that embedding and, unless not asked, search need."""
    return all(kernel.is_cached() for kernel in _needed(embedder, search))


def warmup(embedder, progress=lambda done, total: None, search=True):
    """Compile, or load from the cache, every kernel that embedding and search need.

    Parameters
    ----------
    embedder : Embedder
    progress : callable
        Told how many kernels of how many are ready.
    search : bool
        Whether those of search are wanted, which compile in some seconds.

    Returns
    -------
    int
        How many kernels there are.
    """
    needed = _needed(embedder, search)
    for done, kernel in enumerate(needed):
        progress(done, len(needed))
        kernel.load()
    progress(len(needed), len(needed))
    return len(needed)
