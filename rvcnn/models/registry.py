"""Architectures by name."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rvcnn.errors import WeightsError
from rvcnn.graph import Graph

from . import efficientnet, mobilenetv2, resnet, shufflenetv2
from .mobilenetv3 import MobileNetConfig, mobilenetv3


class Setting(NamedTuple):
    """A key of the metadata that chooses between networks of one name.

    Attributes
    ----------
    option : str
        Of ``Architecture.build``.
    values : mapping of str to object
        The option's value by the metadata's.
    usual : str
        The metadata's value where it says nothing, of a setting that shapes of tensors tell; empty
        for others.
    """

    option: str
    values: Mapping[str, Any]
    usual: str = ""


@dataclass(frozen=True)
class Architecture:
    """A network by name.

    Attributes
    ----------
    name : str
        As weights files and the command line spell it.
    build : callable
        Gives the graph for ``padding``, ``bn_eps``, ``num_classes`` and ``embedding_dim``.
    classifier : str
        The layer that gives logits, where it has classes.
    input_size : int
        Pixels of a side it was designed for.
    smallest_input, largest_input : int
        Pixels of the shortest side and of the longest it accepts.
    settings : mapping of str to Setting
        What else a weights file's metadata may say about the network, by key.
    """

    name: str
    build: Callable[..., Graph]
    classifier: str
    input_size: int = 224
    smallest_input: int = 32
    largest_input: int = 1 << 20
    settings: Mapping[str, Setting] = field(default_factory=dict)

    def options(self, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Return the options for ``build`` that a weights file's metadata asks for.

        Raises
        ------
        WeightsError
            Naming a key whose value means nothing.
        """
        options = {}
        for key, setting in self.settings.items():
            if key not in metadata:
                continue
            if metadata[key] not in setting.values:
                raise WeightsError(
                    f"the weights' metadata has {key} = {metadata[key]!r}, not one of "
                    f"{', '.join(setting.values)}"
                )
            options[setting.option] = setting.values[metadata[key]]
        return options

    def variants(self) -> Iterator[dict[str, str]]:
        """Metadata of the networks of this name that shapes of tensors tell from each other."""
        telling = {key: setting for key, setting in self.settings.items() if setting.usual}
        for values in itertools.product(*(setting.values for setting in telling.values())):
            pairs = zip(telling, values, strict=True)
            yield {key: value for key, value in pairs if value != telling[key].usual}


SQUEEZE = {
    "squeeze": Setting("squeeze_first", {"before activation": True, "after activation": False})
}

WIDTH = {
    "width": Setting(
        "width_multiplier", {str(w): w for w in (0.35, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)}, "1.0"
    )
}

SHUFFLENET = {
    "activation": Setting("activation", shufflenetv2.ACTIVATIONS),
    "conv5": Setting("conv5", {"true": True, "false": False}, "true"),
    "shuffle": Setting("shuffle_first", {"before a block": True, "after a block": False}),
}


def _shufflenetv2(width):
    build = functools.partial(shufflenetv2.shufflenetv2, width)
    return Architecture(
        f"shufflenetv2_x{width}", build, shufflenetv2.CLASSIFIER, settings=SHUFFLENET
    )


def _mobilenetv3(name, variant, minimalistic=False):
    def build(**options):
        return mobilenetv3(MobileNetConfig(variant, minimalistic=minimalistic, **options))

    settings = WIDTH if minimalistic else WIDTH | SQUEEZE
    return Architecture(name, build, "classifier.3", settings=settings)


ARCHITECTURES = {
    a.name: a
    for a in (
        _mobilenetv3("mobilenetv3_small", "small"),
        _mobilenetv3("mobilenetv3_large", "large"),
        _mobilenetv3("mobilenetv3_small_minimalistic", "small", minimalistic=True),
        _mobilenetv3("mobilenetv3_large_minimalistic", "large", minimalistic=True),
        Architecture("mobilenetv2", mobilenetv2.mobilenetv2, mobilenetv2.CLASSIFIER),
        Architecture("efficientnet_b0", efficientnet.efficientnet_b0, efficientnet.CLASSIFIER),
        *(
            Architecture(name, functools.partial(resnet.resnet, name), resnet.CLASSIFIER)
            for name in resnet.VARIANTS
        ),
        *(_shufflenetv2(width) for width in shufflenetv2.WIDTHS),
    )
}
