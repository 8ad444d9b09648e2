"""MobileNetV3 as timm and d-li14 (github.com/d-li14/mobilenetv3.pytorch) name it.

Which layers a block has is read off its keys, so the tables serve every size and width.
"""

import functools
import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

from .layout import Layout


class Block(NamedTuple):
    """Names of a kind of block's modules, each after the block's own; those it lacks are empty.

    ``expand``, ``depthwise`` and ``project`` are a convolution and its normalisation, ``squeeze``
    the two layers of squeeze-excite; ``project`` tells one kind of block from another.
    """

    expand: tuple[str, ...]
    depthwise: tuple[str, ...]
    squeeze: tuple[str, ...]
    project: tuple[str, ...]


class Names(NamedTuple):
    """A layout's table.

    Attributes
    ----------
    block : str
        Pattern of what a key in a block begins with; its groups are numbers that count the blocks.
    kinds : tuple of Block
    modules : mapping of str to str
        rvcnn's names of the modules outside blocks, by the layout's own; ``{last}`` is the number
        of the convolution after the last block.
    """

    block: str
    kinds: tuple[Block, ...]
    modules: Mapping[str, str]


TIMM_NAMES = Names(
    block=r"blocks\.(\d{1,3})\.(\d{1,3})\.",
    kinds=(
        Block(
            expand=("conv_pw", "bn1"),
            depthwise=("conv_dw", "bn2"),
            squeeze=("se.conv_reduce", "se.conv_expand"),
            project=("conv_pwl", "bn3"),
        ),
        Block(
            expand=(),
            depthwise=("conv_dw", "bn1"),
            squeeze=("se.conv_reduce", "se.conv_expand"),
            project=("conv_pw", "bn2"),
        ),
        Block(expand=(), depthwise=(), squeeze=(), project=("conv", "bn1")),
    ),
    modules={
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": "classifier.0",
        "classifier": "classifier.3",
    },
)

D_LI14_NAMES = Names(
    block=r"features\.([1-9]\d{0,2})\.",
    kinds=(
        Block(
            expand=("conv.0", "conv.1"),
            depthwise=("conv.3", "conv.4"),
            squeeze=("conv.5.fc.0", "conv.5.fc.2"),
            project=("conv.7", "conv.8"),
        ),
        Block(
            expand=("conv.0", "conv.1"),
            depthwise=("conv.3", "conv.4"),
            squeeze=("conv.6.fc.0", "conv.6.fc.2"),
            project=("conv.7", "conv.8"),
        ),
        Block(
            expand=(),
            depthwise=("conv.0", "conv.1"),
            squeeze=("conv.3.fc.0", "conv.3.fc.2"),
            project=("conv.4", "conv.5"),
        ),
    ),
    modules={"conv.0": "features.{last}.0", "conv.1": "features.{last}.1"},
)

PAIR = ("0", "1")
SQUEEZE = ("fc1", "fc2")


def rename(table: Names, keys: Collection[str]) -> dict[str, str]:
    """Return rvcnn's keys by a layout's, for the keys that its table knows."""
    blocks: dict[tuple[int, ...], dict[str, str]] = {}
    pattern = re.compile(table.block)
    for key in keys:
        if found := pattern.match(key):
            number = tuple(int(group) for group in found.groups())
            blocks.setdefault(number, {})[key[found.end() :]] = key
    renamed = {}
    for i, number in enumerate(sorted(blocks), 1):
        renamed |= _rename_block(table, blocks[number], f"features.{i}")
    places = {own: place.format(last=len(blocks) + 1) for own, place in table.modules.items()}
    for key in keys:
        module, _, parameter = key.rpartition(".")
        if module in places:
            renamed[key] = f"{places[module]}.{parameter}"
    return renamed


def _rename_block(table, keys, name):
    """Return rvcnn's keys for the keys of one block, given by what follows the block's name."""
    modules = {key.rpartition(".")[0] for key in keys}
    kinds = [kind for kind in table.kinds if modules.issuperset(kind.project)]
    if not kinds:
        return {}
    kind = max(kinds, key=lambda kind: sum(module in modules for part in kind for module in part))
    if kind.depthwise:
        parts = [part for part in kind if part and part[0] in modules]
        places = {}
        for j, part in enumerate(parts):
            places |= _places(part, f"{name}.block.{j}", SQUEEZE if part is kind.squeeze else PAIR)
    else:  # a convolution in the place of a block
        places = _places(kind.project, name, PAIR)
    renamed = {}
    for rest, key in keys.items():
        module, _, parameter = rest.rpartition(".")
        if module in places:
            renamed[key] = f"{places[module]}.{parameter}"
    return renamed


def _places(modules, name, own):
    return {module: f"{name}.{part}" for module, part in zip(modules, own, strict=True)}


def squeeze_order(keys: Collection[str]) -> dict[str, str]:
    """What d-li14's numbers say of expanded blocks: squeeze-excite before the activation, or not.

    It is module 5 there and the activation module 6; the project's first version has it the other
    way round, as torchvision has.
    """
    first = any(re.match(r"features\.\d+\.conv\.5\.fc\.", key) for key in keys)
    return {"squeeze": "before activation"} if first else {}


DIMENSIONS = {
    ".fc1.weight": 4,
    ".fc2.weight": 4,
    "classifier.0.weight": 2,
    "classifier.3.weight": 2,
}

TIMM = Layout(
    "timm",
    ("conv_stem.weight", "blocks.0.0.conv_dw.weight", "conv_head.bias"),
    functools.partial(rename, TIMM_NAMES),
    dimensions=DIMENSIONS,
)
D_LI14 = Layout(
    "d-li14",
    ("features.0.0.weight", "features.1.conv.0.weight", "conv.0.weight"),
    functools.partial(rename, D_LI14_NAMES),
    squeeze_order,
    DIMENSIONS,
)
