"""Layers on bytes, with the scales and zero points of the file.

A value of uint8 is a map of bytes; one of int8 is the map of bytes 128 greater. What such a value
is dequantised to is the map and a reading of its bytes: a function of each element stays one of
each byte, and becomes a table when it is quantised again.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rvcnn.errors import RvcnnError
from rvcnn.graph import INPUT, Stored
from rvcnn.kernels.requantise import LONGEST
from rvcnn.ops import Quantize, QuantizedConv2d, RoundSteps

from .operators import OPERATORS
from .operators.quantised import quantize_linear
from .region import NO_PAD, Apart, Reading, Term, line_of

WIDE = {np.dtype(np.uint16), np.dtype(np.int16)}
"""Types whose real values are held in place of them."""

HALF = {np.dtype(np.uint8): 0, np.dtype(np.int8): 128}
"""What is added to values of a type to make bytes of them."""


class Steps(NamedTuple):
    """Whole numbers that stand for real ones: ``(values - zero) * scale``.

    Attributes
    ----------
    values : ndarray
    scale : ndarray
        One number, or one for each slice along ``axis``.
    zero : ndarray or None
    axis : int
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray | None = None
    axis: int = 1

    @classmethod
    def of(cls, call, i):
        """What an input is, if it is the real values of constants; else None."""
        node = call.facts.quantised.get(call.node.inputs[i] if i < len(call.node.inputs) else "")
        if node is None or node.attributes.get("block_size"):
            return None
        values = [call.facts.values[name] if name else None for name in node.inputs]
        return cls(*values, *[None] * (3 - len(values)), node.attributes.get("axis", 1))

    def weights(self, outputs):
        """As int8, and a scale for each slice along axis ``outputs``.

        Raises
        ------
        Apart
            If they are no such numbers.
        """
        rank, count = self.values.ndim, self.values.shape[outputs]
        numbers = [self.scale] if self.zero is None else [self.scale, self.zero]
        for v in numbers:
            if v.size > 1 and (v.shape != (count,) or self.axis % rank != outputs):
                raise Apart("a scale for each of other than the outputs")
        whole = self.values.astype(np.int64)
        if self.zero is not None:
            zero = self.zero.astype(np.int64).reshape(-1)
            whole = whole - zero.reshape([-1 if i == outputs else 1 for i in range(rank)])
        if whole.size == 0 or whole.min() < -128 or whole.max() > 127:
            raise Apart("weights that take more than a byte")
        return whole.astype(np.int8), np.broadcast_to(self.scale.reshape(-1), count)

    def bias(self, unit):
        """As float64, where ``unit`` is what sums count in."""
        if self.zero is not None and self.zero.any():
            raise Apart("a bias with a zero point")
        near = np.allclose(self.scale, unit, 1e-5, 0)
        return self.values.reshape(-1) * (unit if near else np.float64(self.scale))


def bytes_of(dtype, scale, zero):
    """How bytes hold values of an integer type.

    Raises
    ------
    Apart
        If they do not.
    """
    half = HALF.get(dtype)
    if half is None or scale.size != 1 or scale.dtype != np.float32 or not 0 < scale < np.inf:
        raise Apart("no bytes of one scale")
    zero = 0 if zero is None else zero.reshape(()).astype(np.float64)
    return Stored(np.float64(scale.reshape(())), np.float64(zero + half))


def held(call, dtype):
    """How wider integers hold real values; None for other types."""
    scale, zero = call.constant(1), call.constant(2)
    if dtype not in WIDE:
        return None
    if scale.size != 1 or scale.dtype != np.float32 or not 0 < scale < np.inf:
        raise Apart("no integers of one scale")
    return dtype, float(scale.reshape(())), 0 if zero is None else int(zero.reshape(()))


def rounded(call, kept):
    """The real values of what wider integers hold of a map."""
    dtype, scale, zero = kept
    info = np.iinfo(dtype)
    op = RoundSteps(scale, info.min - zero, info.max - zero)
    term = call.lying()
    return replace(call.region.add(call.name, op, term.map), held=kept, last=term.last)


def quantize(call):
    """Real values as bytes: what has a table becomes another one."""
    term, kept = call.terms[0], held(call, call.facts.dtypes[call.name])
    if kept is not None:
        return rounded(call, kept)
    stored = bytes_of(call.facts.dtypes[call.name], call.constant(1), call.constant(2))
    if term.reading is None:
        term = call.lying()
        return replace(quantised(call.region, call.name, term, stored), last=term.last)
    scale, zero = np.float32(stored.scale), np.uint8(stored.zero)
    table = quantize_linear(term.reading.table, scale, zero)
    if np.array_equal(table, np.arange(256)):
        return replace(term, reading=None)
    if term.pad != NO_PAD:
        raise Apart("padding in other steps")
    return replace(term, reading=Reading(table, stored))


def quantised(region, name, term: Term, stored):
    """A map of real values as bytes."""
    scale, zero = np.atleast_1d(*stored)
    return region.add_bytes(
        name, Quantize(), term.map, stored=stored, out_scale=scale, out_zero=zero
    )


def dequantize(call):
    """Bytes as what they stand for."""
    term, dtype = call.terms[0], call.facts.dtypes[call.node.inputs[0]]
    if dtype in WIDE:
        if term.held is None or term.held != held(call, dtype):
            raise Apart("integers of another scale")
        return replace(term, held=None)
    return read(call.region, term, bytes_of(dtype, call.constant(1), call.constant(2)))


def read(region, term, stored):
    """A term of bytes as one of what they stand for."""
    if term is None or term.map not in region.stored:
        raise Apart("no bytes")
    line = line_of(stored)
    if term.reading is not None:
        through = term.reading.table
        return replace(term, reading=Reading(line.table[through], stored, through))
    if term.map == INPUT and INPUT not in region.read:
        region.stored[INPUT] = stored
    region.read.add(term.map)
    return replace(term, reading=line)


def convolve(region, name, op, x, line, weights, scale, bias) -> Term:
    """A convolution of bytes, as real values.

    Parameters
    ----------
    region : Region
    name : str
    op : Conv2d
    x : str
        A map of bytes.
    line : Stored or None
        What they stand for.
    weights : ndarray
        (N, C / groups, KH, KW) int8.
    scale, bias : ndarray
        (N,).

    Raises
    ------
    Apart
        If the kernels for bytes do not take it.
    """
    if line is None or region.stored[x].zero != line.zero and op.padding != NO_PAD:
        raise Apart("bytes whose zero is another one")
    if weights.shape != op.parameters()["weight"] or weights[0].size > LONGEST:
        raise Apart("weights of another shape")
    if not (np.isfinite(scale).all() and (scale > 0).all() and np.isfinite(bias).all()):
        raise Apart("scales that are none")
    params = {"weight": weights, "weight_scale": np.float32(scale), "bias": bias}
    in_scale, in_zero = np.atleast_1d(*line)
    op = replace(op, bias=True)
    return region.add_bytes(
        name, QuantizedConv2d(op), x, in_scale=in_scale, in_zero=in_zero, **params
    )


POINTWISE = {
    *("Abs", "Add", "Ceil", "Celu", "Clip", "Div", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *("HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow"),
    *("Relu", "Round", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Swish", "Tanh"),
}


def pointwise(call):
    """A function of each element: of maps that are functions of the same bytes."""
    terms = [term for term in call.terms if term is not None]
    first, shape = terms[0], call.facts.shapes[call.name]
    for name, term in zip(call.node.inputs, call.terms, strict=True):
        if term is None:
            known = not name or call.facts.values[name].size == 1
        else:
            same = term.map == first.map and term.moved is first.moved and term.pad == NO_PAD
            known = same and term.reading is not None and call.facts.shapes[name] == shape
        if not known:
            raise Apart("no function of one byte")
    inputs = [
        term.reading.table if term else call.facts.values[name].reshape(()) if name else None
        for name, term in zip(call.node.inputs, call.terms, strict=True)
    ]
    try:
        with np.errstate(all="ignore"):
            (table,) = OPERATORS[call.node.op].run(call.node.attributes, call.opset, *inputs)
    except RvcnnError as error:
        raise Apart(str(error)) from None
    if table.shape != (256,) or table.dtype != np.float32:
        raise Apart("no real values")
    return replace(first, reading=Reading(table))
