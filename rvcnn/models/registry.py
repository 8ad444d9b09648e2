"""Architectures by name."""

from collections.abc import Callable
from dataclasses import dataclass

from rvcnn.graph import Graph

from .mobilenetv3 import MobileNetConfig, mobilenetv3


@dataclass(frozen=True)
class Architecture:
    """A network by name.

    Attributes
    ----------
    name : str
        As weights files and the command line spell it.
    build : callable
        Gives the graph for ``padding``, ``bn_eps``, ``num_classes`` and ``embedding_dim``.
    input_size : int
        Pixels of a side it was designed for.
    smallest_input : int
        Pixels of the shortest side it accepts.
    """

    name: str
    build: Callable[..., Graph]
    input_size: int = 224
    smallest_input: int = 32


def _mobilenetv3(variant):
    return lambda **options: mobilenetv3(MobileNetConfig(variant, **options))


ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture("mobilenetv3_small", _mobilenetv3("small")),
        Architecture("mobilenetv3_large", _mobilenetv3("large")),
    )
}
