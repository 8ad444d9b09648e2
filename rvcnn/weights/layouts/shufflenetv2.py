"""ShuffleNetV2 as megvii (github.com/megvii-model/ShuffleNet-Series) names it.

Detectors built on it count the blocks of each stage, where megvii counts those of the network.
"""

import re
from collections.abc import Collection

from .layout import Layout

STAGES = {"2": range(0, 4), "3": range(4, 12), "4": range(12, 16)}
"""Megvii's numbers of the blocks of each stage."""

MODULES = {"first_conv": "conv1", "conv_last": "conv5"}
BRANCHES = {"branch_main": "branch2", "branch_proj": "branch1"}

_PLACES = {
    f"features.{number}": f"stage{stage}.{i}"
    for stage, numbers in STAGES.items()
    for i, number in enumerate(numbers)
}
_BLOCK = re.compile(r"(features\.\d{1,2}|stage[234]\.\d{1,2})\.(branch_main|branch_proj)\.")


def rename(keys: Collection[str]) -> dict[str, str]:
    """Return rvcnn's keys by megvii's."""
    renamed = {}
    for key in keys:
        module, _, rest = key.partition(".")
        if found := _BLOCK.match(key):
            block, branch = found.groups()
            place = f"{_PLACES.get(block, block)}.{BRANCHES[branch]}"
            renamed[key] = f"{place}.{key[found.end() :]}"
        elif module in MODULES:
            renamed[key] = f"{MODULES[module]}.{rest}"
        elif key.startswith("classifier.0."):
            renamed[key] = f"fc.{key.removeprefix('classifier.0.')}"
    return renamed


def channel_order(keys: Collection[str]) -> dict[str, str]:
    """Megvii's blocks shuffle the channels that they read."""
    conv5 = any(key.startswith("conv_last.") for key in keys)
    return {"shuffle": "before a block", "conv5": str(conv5).lower()}


def _layout(first_block):
    signs = ("first_conv.0.weight", f"{first_block}.branch_main.0.weight")
    return Layout("megvii", signs, rename, channel_order, without_bias=("fc",))


MEGVII, MEGVII_STAGES = _layout("features.0"), _layout("stage2.0")
