"""A node as its layer sees it: what is known of its inputs, and its inputs as terms."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from .network import Node
from .operators.moved import MOVED
from .region import NO_PAD, Apart, Region, Term
from .shapes import Facts


class Call(NamedTuple):
    """A node, with what is known of its inputs.

    Attributes
    ----------
    node : Node
    region : Region
        That of all its inputs that are not constant.
    terms : tuple of Term or None
        None for constants and what is left out.
    facts : Facts
    opset : int
    """

    node: Node
    region: Region
    terms: tuple
    facts: Facts
    opset: int

    @property
    def name(self):
        return self.node.outputs[0]

    def shape(self, i=0):
        """Shape of an input."""
        return self.facts.shapes[self.node.inputs[i]]

    def constant(self, i) -> np.ndarray | None:
        """A constant input; None if it is left out."""
        name = self.node.inputs[i] if i < len(self.node.inputs) else ""
        if name and name not in self.facts.values:
            raise Apart("a parameter that is computed")
        return self.facts.values[name] if name else None

    def setting(self, name, default=None) -> Any:
        """An attribute, or the input that it became in later opsets."""
        if name in self.node.attributes:
            return self.node.attributes[name]
        place = MOVED.get(self.node.op, {}).get(name)
        value = None if place is None else self.constant(place)
        return default if value is None else value

    def lying(self, i=0) -> Term:
        """An input with nothing left to be done, its channels first or last."""
        name, term = self.node.inputs[i], self.terms[i]
        if term is None:
            raise Apart("a constant map")
        settled = self.region.settle(name, term, self.shape(i))
        if settled.last:
            return settled
        whole, shape = self.region.whole(settled.map), self.shape(i)
        if shape != whole and not (whole[2:] == (1, 1) and shape == whole[:2]):
            raise Apart("a map in another shape")
        return settled

    def map(self, i=0) -> Term:
        """An input with nothing left to be done, as a map: its shape is (N, C, H, W) or (N, C)."""
        term = self.lying(i)
        if term.last and (not term.is_vector or len(self.shape(i)) not in (2, 4)):
            raise Apart("channels that are last")
        return term

    def tokens(self, i=0) -> Term:
        """An input with nothing left to be done, its channels last."""
        term = self.lying(i)
        if not (term.last or (term.is_vector and len(self.shape(i)) == 2)):
            raise Apart("channels that are not last")
        return replace(term, last=True)

    def placed(self, i=0) -> Term:
        """An input with its elements where they belong."""
        return self.region.placed(self.node.inputs[i], self.terms[i], self.shape(i))

    def bent(self, change, vectors=False) -> Term:
        """The first input with a changed curve, after all else that was to be done to it.

        Parameters
        ----------
        change : callable
            Gives the new curve of one, or None if there is no such curve.
        vectors : bool
            Whether the change is another one for each channel.
        """
        term = self.terms[0]
        if term.moved is not None and not vectors:
            curve = change(term.curve)
            if curve is not None and curve.is_line and not np.ndim(curve.scale + curve.shift):
                return replace(term, curve=curve)
        term = self.placed()
        lone = term.pad == NO_PAD and (vectors or not term.has_vectors)
        curve = change(term.curve) if lone else None
        if curve is None:
            term = self.lying()
            curve = change(term.curve)
        if curve is None:
            raise Apart(self.node.op)
        return replace(term, curve=curve)


def vector(call, value, i=0):
    """A constant as a number or a vector over the channels of input ``i``."""
    value, shape = np.asarray(value, np.float64), call.shape(i)
    if value.size == 1 and value.ndim <= len(shape):
        return float(value.reshape(()))
    term = call.placed(i)
    axis = len(shape) - 1 if term.last else 1
    padded = (1,) * (len(shape) - value.ndim) + value.shape
    wanted = tuple(side if i == axis else 1 for i, side in enumerate(shape))
    known = (term.last or len(shape) in (2, 4)) and term.scores is None
    if padded != wanted or not known or call.region.shapes[term.map][2] != shape[axis]:
        raise Apart("a constant that is no vector over channels")
    return value.reshape(-1)


def padded(call):
    """The map under the first input and the zeros that are still to be put round it."""
    term = call.terms[0]
    if term.pad == NO_PAD or term.fill:
        return call.map().map, NO_PAD
    return term.map, term.pad


def sum_sides(a, b):
    return tuple((x[0] + y[0], x[1] + y[1]) for x, y in zip(a, b, strict=True))


def is_same(call, pad=NO_PAD):
    return call.node.attributes.get("auto_pad") == "SAME_UPPER" and pad == NO_PAD
