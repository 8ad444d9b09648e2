"""ONNX's operators as functions on NumPy arrays, by their types.

Every operator is pure. The specification's names and defaults are those of the keywords.
"""

from . import (
    activations,
    arithmetic,
    conv,
    create,
    detection,
    gather,
    logic,
    normalisation,
    pad,
    pool,
    products,
    quantised,
    recurrent,
    reductions,
    resize,
    sample,
    shape,
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
    pool,
    products,
    reductions,
    shape,
    detection,
    quantised,
    recurrent,
    resize,
    sample,
    types,
)

OPERATORS: dict[str, Operator] = {
    name: operator for theme in _THEMES for name, operator in sorted(theme.OPERATORS.items())
}
"""Operators by ``op_type``, of the domain of ONNX itself."""

__all__ = ["OPERATORS", "Operator"]
