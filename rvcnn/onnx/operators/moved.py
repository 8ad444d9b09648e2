"""Attributes that became inputs in later operator sets, all turned into inputs here."""

from collections.abc import Mapping
from typing import Any

import numpy as np

_REDUCTIONS = (
    "L1",
    "L2",
    "LogSum",
    "LogSumExp",
    "Max",
    "Mean",
    "Min",
    "Prod",
    "Sum",
    "SumSquare",
)

MOVED: dict[str, dict[str, int]] = {
    "Clip": {"min": 1, "max": 2},
    "DFT": {"axis": 2},
    "Dropout": {"ratio": 1},
    "Pad": {"pads": 1, "value": 2},
    "Slice": {"starts": 1, "ends": 2, "axes": 3},
    "Split": {"split": 1},
    "Squeeze": {"axes": 1},
    "TopK": {"k": 1},
    "Unsqueeze": {"axes": 1},
    "Upsample": {"scales": 1},
    **{f"Reduce{name}": {"axes": 1} for name in _REDUCTIONS},
}
"""Operator to attribute to the position of the input that replaced it."""


def as_inputs(
    name: str, attributes: Mapping[str, Any], inputs: tuple[np.ndarray | None, ...]
) -> tuple[tuple[np.ndarray | None, ...], dict[str, Any]]:
    """Inputs and attributes of a node as the newest operator set has them.

    Parameters
    ----------
    name
        The operator.
    attributes, inputs
        Those of the node. A number among the attributes takes the type of the first input.

    Returns
    -------
    inputs, attributes
    """
    positions = MOVED.get(name, {})
    filled, kept = list(inputs), dict(attributes)
    for attribute, at in positions.items():
        if attribute not in kept:
            continue
        filled += [None] * (at + 1 - len(filled))
        value = kept.pop(attribute)
        numbers = np.asarray(value)
        if isinstance(value, float) and inputs and inputs[0] is not None:
            numbers = numbers.astype(inputs[0].dtype)
        filled[at] = numbers
    return tuple(filled), kept
