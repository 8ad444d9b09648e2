"""Weights that their makers publish, by name: where they lie and how they are run.

One more file is one more row. Names are the makers' own, after the name of the project.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

_TORCHVISION = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/huggingface/pytorch-image-models/releases/download/v0.1-weights/"


class Published(NamedTuple):
    """A published file.

    Attributes
    ----------
    url : str
    preset : str
        Whose way it is run: one of ``rvcnn.weights.convert.PRESETS``.
    metadata : mapping of str to str
        What differs from the preset, the architecture, and the licence.
    """

    url: str
    preset: str
    metadata: Mapping[str, str]

    @property
    def filename(self) -> str:
        """Name of the file itself."""
        return self.url.rpartition("/")[2]

    @property
    def digest(self) -> str:
        """Beginning of its sha256, as torch.hub's file names carry it; empty if there is none."""
        found = re.search(r"-([0-9a-f]{8,64})\.[a-z]+$", self.filename)
        return found[1] if found else ""


def _torchvision(architecture, file, **metadata):
    facts = {"architecture": architecture, "license": "BSD-3-Clause (torchvision's)"}
    return Published(_TORCHVISION + file, "torchvision", facts | metadata)


def _timm(architecture, file, preset="timm", **metadata):
    facts = {"architecture": architecture, "license": "Apache-2.0 (timm's)"}
    return Published(_TIMM + file, preset, facts | metadata)


_FROM_TORCHVISION = {
    "mobilenet_v3_small.IMAGENET1K_V1": _torchvision(
        "mobilenetv3_small", "mobilenet_v3_small-047dcff4.pth"
    ),
    "mobilenet_v3_large.IMAGENET1K_V1": _torchvision(
        "mobilenetv3_large", "mobilenet_v3_large-8738ca79.pth"
    ),
    "mobilenet_v3_large.IMAGENET1K_V2": _torchvision(
        "mobilenetv3_large", "mobilenet_v3_large-5c1a4163.pth", resize="232"
    ),
    "mobilenet_v2.IMAGENET1K_V1": _torchvision("mobilenetv2", "mobilenet_v2-b0353104.pth"),
    "mobilenet_v2.IMAGENET1K_V2": _torchvision(
        "mobilenetv2", "mobilenet_v2-7ebf99e0.pth", resize="232"
    ),
    "efficientnet_b0.IMAGENET1K_V1": _torchvision(
        "efficientnet_b0",
        "efficientnet_b0_rwightman-7f5810bc.pth",
    ),
    "resnet18.IMAGENET1K_V1": _torchvision("resnet18", "resnet18-f37072fd.pth"),
    "resnet50.IMAGENET1K_V1": _torchvision("resnet50", "resnet50-0676ba61.pth"),
    "resnet50.IMAGENET1K_V2": _torchvision("resnet50", "resnet50-11ad3fa6.pth", resize="232"),
    "shufflenet_v2_x0_5.IMAGENET1K_V1": _torchvision(
        "shufflenetv2_x0_5", "shufflenetv2_x0.5-f707e7126e.pth"
    ),
    "shufflenet_v2_x1_0.IMAGENET1K_V1": _torchvision(
        "shufflenetv2_x1_0", "shufflenetv2_x1-5666bf0f80.pth"
    ),
    "shufflenet_v2_x1_5.IMAGENET1K_V1": _torchvision(
        "shufflenetv2_x1_5", "shufflenetv2_x1_5-3c479a10.pth", resize="232"
    ),
    "shufflenet_v2_x2_0.IMAGENET1K_V1": _torchvision(
        "shufflenetv2_x2_0", "shufflenetv2_x2_0-8be3c8ee.pth", resize="232"
    ),
}

_FROM_TIMM = {
    "mobilenetv3_small_100.lamb_in1k": _timm(
        "mobilenetv3_small", "mobilenetv3_small_100_lamb-266a294c.pth"
    ),
    "mobilenetv3_large_100.ra_in1k": _timm(
        "mobilenetv3_large", "mobilenetv3_large_100_ra-f55367f5.pth"
    ),
    "tf_mobilenetv3_small_100.in1k": _timm(
        "mobilenetv3_small", "tf_mobilenetv3_small_100-37f49e2b.pth", "timm-tf"
    ),
    "tf_mobilenetv3_large_100.in1k": _timm(
        "mobilenetv3_large", "tf_mobilenetv3_large_100-427764d5.pth", "timm-tf"
    ),
    "mobilenetv2_100.ra_in1k": _timm("mobilenetv2", "mobilenetv2_100_ra-b33bc2c4.pth"),
    "efficientnet_b0.ra_in1k": _timm("efficientnet_b0", "efficientnet_b0_ra-3dd342df.pth"),
}

PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        f"{project}/{name}": published
        for project, files in (("torchvision", _FROM_TORCHVISION), ("timm", _FROM_TIMM))
        for name, published in files.items()
    }
)
