"""Graph rewrites, one file each, in the order they run: the whole optimiser on one screen."""

from .fold_batch_norm import fold_batch_norm
from .fuse_activation import fuse_activation
from .fuse_crop import fuse_crop
from .fuse_interleave import fuse_interleave
from .fuse_quantize import fuse_quantize
from .fuse_residual import fuse_residual
from .fuse_shuffle import fuse_shuffle
from .quantise import quantise

__all__ = ["PASSES", "finish", "fuse_quantize", "optimise", "quantise"]

PASSES = (
    *(fuse_crop, fold_batch_norm, fuse_activation, fuse_crop),
    *(fuse_residual, fuse_activation, fuse_shuffle),
)


def optimise(graph):
    """The graph after all passes: the same function to float rounding, in fewer nodes."""
    for rewrite in PASSES:
        graph = rewrite(graph)
    return graph


def finish(graph):
    """The optimised, perhaps quantised graph as a plan runs it, with what only kernels join."""
    return fuse_interleave(graph)
