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
        What differs from the preset, and the licence.
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


def _torchvision(file, **metadata):
    licence = {"license": "BSD-3-Clause (torchvision's)"}
    return Published(_TORCHVISION + file, "torchvision", licence | metadata)


def _timm(file, preset="timm", **metadata):
    return Published(_TIMM + file, preset, {"license": "Apache-2.0 (timm's)"} | metadata)


PUBLISHED: Mapping[str, Published] = MappingProxyType(
    {
        "torchvision/mobilenet_v3_small.IMAGENET1K_V1": _torchvision(
            "mobilenet_v3_small-047dcff4.pth"
        ),
        "torchvision/mobilenet_v3_large.IMAGENET1K_V1": _torchvision(
            "mobilenet_v3_large-8738ca79.pth"
        ),
        "torchvision/mobilenet_v3_large.IMAGENET1K_V2": _torchvision(
            "mobilenet_v3_large-5c1a4163.pth", resize="232"
        ),
        "timm/mobilenetv3_small_100.lamb_in1k": _timm("mobilenetv3_small_100_lamb-266a294c.pth"),
        "timm/mobilenetv3_large_100.ra_in1k": _timm("mobilenetv3_large_100_ra-f55367f5.pth"),
        "timm/tf_mobilenetv3_small_100.in1k": _timm(
            "tf_mobilenetv3_small_100-37f49e2b.pth", "timm-tf"
        ),
        "timm/tf_mobilenetv3_large_100.in1k": _timm(
            "tf_mobilenetv3_large_100-427764d5.pth", "timm-tf"
        ),
    }
)
