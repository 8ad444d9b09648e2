"""ONNX's operators as functions on NumPy arrays, by their types.

Every operator is pure. The specification's names and defaults are those of the keywords.
"""

from . import (
    activations,
    arithmetic,
    attention,
    conv,
    create,
    detection,
    gather,
    logic,
    losses,
    normalisation,
    pad,
    picture,
    pool,
    products,
    quantised,
    recurrent,
    reductions,
    resize,
    sample,
    shape,
    signal,
    types,
)
from .base import Operator

_THEMES = (
    activations,
    arithmetic,
    conv,
    create,
    gather,
    logic,
    normalisation,
    pad,
    picture,
    pool,
    products,
    reductions,
    shape,
    detection,
    quantised,
    recurrent,
    resize,
    sample,
    attention,
    losses,
    signal,
    types,
)

OPERATORS: dict[str, Operator] = {
    name: operator for theme in _THEMES for name, operator in sorted(theme.OPERATORS.items())
}
"""Operators by ``op_type``, of the domain of ONNX itself."""

__all__ = ["OPERATORS", "Operator"]
