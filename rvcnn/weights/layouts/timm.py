"""MobileNetV2 and EfficientNet-B0 as timm names them; its ResNets have torchvision's names."""

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from .layout import Layout

_BLOCK = re.compile(r"blocks\.(\d)\.(\d)\.")


class Names(NamedTuple):
    """A network's table: rvcnn's names of modules by timm's, within a block or outside.

    Attributes
    ----------
    first, other : mapping of str to str
        Of the blocks of stage 0, which expand nothing, and of all others.
    head : mapping of str to str
        Of the modules outside blocks.
    place : callable
        rvcnn's name of a block, for its stage, its place there, and its place among all blocks.
    """

    first: Mapping[str, str]
    other: Mapping[str, str]
    head: Mapping[str, str]
    place: Callable[[int, int, int], str]


def _head(last):
    return {
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": f"features.{last}.0",
        "bn2": f"features.{last}.1",
        "classifier": "classifier.1",
    }


MOBILENETV2 = Names(
    first={
        "conv_dw": "conv.0.0",
        "bn1": "conv.0.1",
        "conv_pw": "conv.1",
        "bn2": "conv.2",
    },
    other={
        "conv_pw": "conv.0.0",
        "bn1": "conv.0.1",
        "conv_dw": "conv.1.0",
        "bn2": "conv.1.1",
        "conv_pwl": "conv.2",
        "bn3": "conv.3",
    },
    head=_head(18),
    place=lambda stage, position, number: f"features.{number + 1}",
)

EFFICIENTNET_B0 = Names(
    first={
        "conv_dw": "block.0.0",
        "bn1": "block.0.1",
        "se.conv_reduce": "block.1.fc1",
        "se.conv_expand": "block.1.fc2",
        "conv_pw": "block.2.0",
        "bn2": "block.2.1",
    },
    other={
        "conv_pw": "block.0.0",
        "bn1": "block.0.1",
        "conv_dw": "block.1.0",
        "bn2": "block.1.1",
        "se.conv_reduce": "block.2.fc1",
        "se.conv_expand": "block.2.fc2",
        "conv_pwl": "block.3.0",
        "bn3": "block.3.1",
    },
    head=_head(8),
    place=lambda stage, position, number: f"features.{stage + 1}.{position}",
)


def rename(table: Names, keys: Collection[str]) -> dict[str, str]:
    """Return rvcnn's keys by timm's, for the keys that the table knows."""
    blocks = sorted({found[0] for key in keys if (found := _BLOCK.match(key))})
    places = {}
    for number, block in enumerate(blocks):
        stage, position = map(int, _BLOCK.fullmatch(block).groups())
        own = table.place(stage, position, number)
        modules = table.other if stage else table.first
        places |= {f"{block}{module}": f"{own}.{name}" for module, name in modules.items()}
    places |= table.head
    renamed = {}
    for key in keys:
        module, _, parameter = key.rpartition(".")
        if module in places:
            renamed[key] = f"{places[module]}.{parameter}"
    return renamed


def _layout(table, sign):
    signs = ("conv_stem.weight", "bn2.weight", sign)
    return Layout("timm", signs, functools.partial(rename, table))


TIMM_MOBILENETV2 = _layout(MOBILENETV2, "blocks.3.3.conv_pw.weight")
TIMM_EFFICIENTNET_B0 = _layout(EFFICIENTNET_B0, "blocks.0.0.se.conv_reduce.weight")
