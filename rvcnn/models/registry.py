"""Architectures by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rvcnn.errors import WeightsError
from rvcnn.graph import Graph

from .mobilenetv3 import MobileNetConfig, mobilenetv3


class Setting(NamedTuple):
    """A key of the metadata that chooses between networks of one name.

    Attributes
    ----------
    option : str
        Of ``Architecture.build``.
    values : mapping of str to object
        The option's value by the metadata's.
    """

    option: str
    values: Mapping[str, Any]


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
    settings : mapping of str to Setting
        What else a weights file's metadata may say about the network, by key.
    """

    name: str
    build: Callable[..., Graph]
    input_size: int = 224
    smallest_input: int = 32
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


SQUEEZE = Setting("squeeze_first", {"before activation": True, "after activation": False})


def _mobilenetv3(variant):
    return lambda **options: mobilenetv3(MobileNetConfig(variant, **options))


ARCHITECTURES = {
    a.name: a
    for a in (
        Architecture("mobilenetv3_small", _mobilenetv3("small"), settings={"squeeze": SQUEEZE}),
        Architecture("mobilenetv3_large", _mobilenetv3("large"), settings={"squeeze": SQUEEZE}),
    )
}
