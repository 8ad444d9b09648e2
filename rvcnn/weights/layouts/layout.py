"""A layout: how to know it, and the table of its names."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field


def no_facts(keys: Collection[str]) -> dict[str, str]:
    """Nothing is implied."""
    return {}


@dataclass(frozen=True)
class Layout:
    """A project's way to name a family's tensors.

    Attributes
    ----------
    name : str
        As messages spell it.
    signs : tuple of str
        Keys that a file in this layout has, all of them, and a file in any other has not.
    rename : callable
        Gives rvcnn's key for each of a file's keys that it knows.
    facts : callable
        Gives the metadata that a file's keys imply.
    dimensions : mapping of str to int
        Dimensions of rvcnn's tensors whose keys end so, where the layout may have more or fewer: a
        linear layer is a convolution of one pixel.
    without_bias : tuple of str
        rvcnn's linear layers that have no bias in the layout, which is then one of zeros.
    """

    name: str
    signs: tuple[str, ...]
    rename: Callable[[Collection[str]], Mapping[str, str]]
    facts: Callable[[Collection[str]], Mapping[str, str]] = no_facts
    dimensions: Mapping[str, int] = field(default_factory=dict)
    without_bias: tuple[str, ...] = ()

    def matches(self, keys: Collection[str]) -> bool:
        """Whether a file with these keys is in this layout."""
        return all(sign in keys for sign in self.signs)
