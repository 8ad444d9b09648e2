"""What an operator is: a function of arrays, and how a node's attributes and inputs reach it."""

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from rvcnn.errors import RvcnnError, ShapeError, WeightsError

from .moved import as_inputs

HALVES = frozenset({"float16", "bfloat16"})
"""Names of the types that are computed in float32."""

LARGEST = 1 << 29
"""Bytes that a result may have whose size is a number in the file."""


# What NumPy and Python raise for arrays, numbers of inputs and attributes that do not fit.
_MISFITS = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)


class Packing(NamedTuple):
    """How an operator's weights are brought into its kernels' order, once for many runs.

    Attributes
    ----------
    places : tuple of int
        The weights' positions among the inputs.
    pack : callable
        Gives what the operator's function takes as ``packed``, beside the weights.
    """

    places: tuple[int, ...]
    pack: Callable


@dataclass(frozen=True)
class Operator:
    """An ONNX operator as a pure function on NumPy arrays.

    Attributes
    ----------
    name : str
        The ONNX ``op_type``.
    function : callable
        Inputs are its positional parameters, None where omitted; attributes its keywords with the
        specification's defaults. It may ask for ``opset`` and ``outputs``, the number of outputs
        that are wanted.
    widen : bool
        Half-precision inputs come as float32, and float32 results are rounded to their type.
    packing : Packing or None
    """

    name: str
    function: Callable
    widen: bool = False
    packing: Packing | None = None

    def packed(self, inputs: Sequence[str], constants: Mapping[str, np.ndarray]) -> Any:
        """Weights as the operator's kernels take them; None where they are no constants.

        Parameters
        ----------
        inputs
            Names of a node's inputs.
        constants
        """
        places = self.packing.places if self.packing else ()
        names = [inputs[i] if i < len(inputs) else "" for i in places]
        if not places or any(name and name not in constants for name in names):
            return None
        try:
            return self.packing.pack(*(constants[name] if name else None for name in names))
        except (RvcnnError, *_MISFITS):
            return None  # to be refused when it runs

    def run(
        self,
        attributes: Mapping[str, Any],
        opset: int,
        *inputs: np.ndarray | None,
        outputs: int = 1,
        packed: Any = None,
    ) -> tuple[np.ndarray, ...]:
        """Results of one node.

        Parameters
        ----------
        attributes
            Those of the node, by the names of the operator set.
        opset
            The version of the operator set.
        inputs
            Arrays, None for those that are omitted.
        outputs
            How many results are wanted.
        packed
            What :meth:`packed` gave for these weights, if it was asked.

        Raises
        ------
        ShapeError
            When the inputs do not fit the operator or one another.
        WeightsError
            When an attribute or its value is not known.
        """
        inputs, attributes = as_inputs(self.name, attributes, inputs)
        known = _keywords(self.function)
        context = {"opset": opset, "outputs": outputs, "packed": packed}
        keywords = attributes | {k: v for k, v in context.items() if k in known}
        unknown = sorted(set(attributes) - known | set(attributes) & context.keys())
        if unknown:
            raise WeightsError(
                f"{self.name}: the attribute {', '.join(unknown)} is not supported: "
                "convert the model without it"
            )
        half = next((x.dtype for x in inputs if _is_half(x)), None) if self.widen else None
        if half is not None:
            inputs = tuple(x.astype(np.float32) if _is_half(x) else x for x in inputs)
        try:
            with np.errstate(all="ignore"):
                results = self.function(*inputs, **keywords)
        except RvcnnError as error:
            raise type(error)(f"{self.name}: {error}") from error
        except _MISFITS as error:
            shapes = ", ".join("none" if x is None else f"{x.dtype}{x.shape}" for x in inputs)
            raise ShapeError(
                f"{self.name} cannot take inputs of {shapes or 'no'} type and shape ({error}): "
                "check the sizes that the network was exported with"
            ) from error
        results = tuple(map(np.asarray, results if isinstance(results, tuple) else (results,)))
        if half is not None:
            results = tuple(r.astype(half) if r.dtype == np.float32 else r for r in results)
        return results


@functools.cache
def _keywords(function: Callable) -> frozenset[str]:
    """Names of a function's keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)


def _is_half(x: np.ndarray | None) -> bool:
    return x is not None and x.dtype.itemsize == 2 and x.dtype.name in HALVES


def operators(
    functions: Mapping[str, Callable],
    widen: bool = False,
    packing: Mapping[str, Packing] | None = None,
) -> dict[str, Operator]:
    """Table of operators from one of functions."""
    packing = packing or {}
    return {name: Operator(name, f, widen, packing.get(name)) for name, f in functions.items()}


BLOCK = 1 << 14
"""Values of an array that are worked on at a time where several passes go over them."""


def by_blocks(function: Callable) -> Callable:
    """Function of each value of an array, whose intermediate arrays stay in a core's cache."""

    @functools.wraps(function)
    def blocked(x, **attributes):
        if x.size <= BLOCK:
            return function(x, **attributes)
        flat = x.reshape(-1)
        out = np.empty_like(flat)
        for start in range(0, len(flat), BLOCK):
            part = slice(start, start + BLOCK)
            out[part] = function(flat[part], **attributes)
        return out.reshape(x.shape)

    return blocked


def axis_of(axis: int, rank: int) -> int:
    """Axis counted from the front."""
    if not -rank <= axis < rank:
        raise ShapeError(f"axis {axis} of an array of {rank} dimensions: use a smaller one")
    return int(axis) % rank


def axes_of(axes: Iterable[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, each once."""
    axes = tuple(axis_of(int(axis), rank) for axis in axes)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"axes {axes} name one axis twice: name each once")
    return axes


def mean(x: np.ndarray, axes: tuple[int, ...], keepdims: bool = True) -> np.ndarray:
    """Mean over axes; NaN where there is nothing, of which NumPy would warn."""
    if not x.size:
        return x.sum(axes, keepdims=keepdims) / np.float32(0)
    return x.mean(axes, keepdims=keepdims)


def ints(x: np.ndarray | Sequence[int]) -> tuple[int, ...]:
    """Sizes, axes or positions as Python's integers."""
    return tuple(int(v) for v in np.ravel(x))


def check_size(shape: Iterable[int], dtype=np.float32) -> tuple[int, ...]:
    """Refuse a negative shape and one that takes too much memory, before it is taken.

    Parameters
    ----------
    shape
        Sizes of a result.
    dtype
        Its type.

    Returns
    -------
    tuple of int
        The shape.

    Raises
    ------
    ShapeError
    """
    shape = tuple(int(n) for n in shape)
    if any(n < 0 for n in shape) or math.prod(shape) * np.dtype(dtype).itemsize > LARGEST:
        raise ShapeError(
            f"a result of shape {shape}: sizes start at 0 and take at most {LARGEST >> 20} MB"
        )
    return shape


def choose(table: Mapping[str, Any], name: str, what: str) -> Any:
    """Entry of a table by an attribute's value."""
    if name not in table:
        known = ", ".join(table)
        raise WeightsError(f"{what} {name!r} is not known: there are {known}")
    return table[name]
