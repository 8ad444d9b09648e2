"""An ONNX graph as plain data, without the package that read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

OLDEST_OPSET, NEWEST_OPSET = 7, 28
"""Versions of the operators' specification that are understood."""


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an operator.

    Attributes
    ----------
    name : str
        For messages; unique only as far as the file's are.
    op : str
        The operator's type, as `Conv`.
    domain : str
        Empty for ONNX's own operators.
    inputs, outputs : tuple of str
        Names of values; "" for one that is left out.
    attributes : mapping of str to object
        int, float, str, bytes, ndarray, Network, or a tuple of those.
    """

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self):
        """The operator's type with its domain, as tables and messages name it."""
        return f"{self.domain}::{self.op}" if self.domain else self.op


class Value(NamedTuple):
    """What is known of an input or output.

    Attributes
    ----------
    name : str
    dtype : dtype or None
        None where the file does not say, or for what is no tensor.
    shape : tuple or None
        A side is a number, the name of one that is open, or None.
    """

    name: str
    dtype: np.dtype | None
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True, eq=False)
class Network:
    """Nodes in an order in which they can run.

    Attributes
    ----------
    nodes : tuple of Node
    inputs : tuple of Value
        What has to be given.
    outputs : tuple of Value
    constants : mapping of str to ndarray
    opset : int
        Version of ONNX's own operators.
    metadata : mapping of str to str
        What the file says of itself.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: Mapping[str, np.ndarray]
    opset: int
    metadata: Mapping[str, str] = field(default_factory=dict)
