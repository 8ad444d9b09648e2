"""Names that other projects give to a network's tensors, and the way from them to rvcnn's.

rvcnn's names are torchvision's. A layout is found by the names alone; one more family of networks
is one more file with its tables, and its layouts in ``LAYOUTS``.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .layout import Layout
from .mobilenetv3 import D_LI14, TIMM
from .shufflenetv2 import MEGVII, MEGVII_STAGES
from .timm import TIMM_EFFICIENTNET_B0, TIMM_MOBILENETV2

LAYOUTS: tuple[Layout, ...] = (
    TIMM,
    TIMM_MOBILENETV2,
    TIMM_EFFICIENTNET_B0,
    D_LI14,
    MEGVII,
    MEGVII_STAGES,
)
"""Every layout but rvcnn's own, which is the one where none of these fits."""

OWN = "torchvision"
"""Name of rvcnn's own layout."""

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.")
"""What DataParallel, torch.compile and training scripts put before every name."""


class Translation(NamedTuple):
    """Names of a file as rvcnn spells them.

    Attributes
    ----------
    names : mapping of str to str
        The file's name of every tensor, by rvcnn's.
    layout : str
        Empty if the names are not known to be another project's.
    facts : mapping of str to str
        Metadata that the layout implies.
    notes : tuple of str
    dimensions : mapping of str to int
    without_bias : tuple of str
        See :class:`Layout`.
    """

    names: Mapping[str, str]
    layout: str = ""
    facts: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    dimensions: Mapping[str, int] = {}
    without_bias: tuple[str, ...] = ()


def translate(keys: Iterable[str]) -> Translation:
    """Find the layout of a file's names and translate them; unknown names stay as they are."""
    names, notes = _without_prefixes({key: key for key in keys})
    for layout in LAYOUTS:
        if layout.matches(names):
            renamed = layout.rename(names)
            facts = layout.facts(names)
            names = {renamed.get(key, key): name for key, name in names.items()}
            notes.append(f"names are {layout.name}'s; translated to {OWN}'s")
            more = layout.dimensions, layout.without_bias
            return Translation(names, layout.name, facts, tuple(notes), *more)
    return Translation(names, notes=tuple(notes))


def _without_prefixes(names):
    """The names without what all of them begin with, and notes on what that was."""
    notes = []
    while True:
        dotted = [key for key in names if "." in key]
        shared = (p for p in PREFIXES if dotted and all(key.startswith(p) for key in dotted))
        prefix = next(shared, None)
        if prefix is None:
            return names, notes
        names = {key.removeprefix(prefix): name for key, name in names.items()}
        notes.append(f"took {prefix!r} off the names")
