"""Layers of one element each: sums, products, normalisation and activations, in any spelling."""

from dataclasses import replace

import numpy as np

from rvcnn.ops import Add, Multiply, ScaleChannels, TakePixels, Tanh

from . import tokens
from .call import vector
from .curves import Curve
from .region import NO_PAD, Apart

QUICK = float(np.float32(1.702))
"""quick_gelu's slope."""


def batch_norm(call):
    """Normalisation with the running statistics."""
    if call.node.attributes.get("training_mode") or len([o for o in call.node.outputs if o]) > 1:
        raise Apart("statistics of the batch")
    scale, bias, mean, variance = (np.float64(call.constant(i)) for i in range(1, 5))
    scale = scale / np.sqrt(variance + call.node.attributes.get("epsilon", 1e-5))
    scale, shift = (vector(call, v[:, None, None]) for v in (scale, bias - mean * scale))
    return call.bent(_after(scale, shift), True)


def _after(factor, number):
    """The change of a curve to ``factor * curve + number``."""

    def change(curve):
        curve = curve.times(factor)
        return curve and curve.plus(number)

    return change


def plus(call):
    """A sum: of two maps, or with a constant."""
    if None not in call.terms:
        return _sum(call, call.lying(0), call.lying(1))
    if call.terms[0] is None:
        call = _swapped(call)
    try:
        number = vector(call, call.constant(1))
    except Apart:
        return _plus_map(call)
    return call.bent(lambda curve: curve.plus(number), np.ndim(number) > 0)


def _sum(call, x, other):
    """The sum of two maps, of which one may have its pixels in other rows."""
    if x.last != other.last and not (x.is_vector and other.is_vector):
        raise Apart("channels first and last")
    sizes = [call.region.shapes[term.map] for term in (x, other)]
    if x.last and sizes[0] != sizes[1]:
        op = TakePixels((), sizes[0][:2])
        other = call.region.add(f"{call.name}/rows", op, other.map)
    term = call.region.add(call.name, Add(), x.map, other.map)
    return replace(term, last=x.last or other.last)


def _plus_map(call):
    """A sum with a constant that is another one for each pixel, or for each score."""
    value, shape = call.constant(1), call.shape()
    if value.dtype != np.float32 or call.facts.shapes[call.name] != shape:
        raise Apart("a constant of another shape")
    if call.terms[0].scores is not None:
        return tokens.with_bias(call, value)
    x = call.lying()
    numbers = call.region.constant(f"{call.name}/constant", of_image(call, value, x))
    return _sum(call, x, replace(numbers, last=x.last))


def of_image(call, value, x, shape=None):
    """A constant that fits each image of a value as the map of one, lying as ``x`` does."""
    images = call.region.images
    whole = np.broadcast_to(value, shape or call.shape())
    maps = whole.reshape(images, -1)
    if not np.array_equal(maps, np.broadcast_to(maps[:1], maps.shape)):
        raise Apart("a constant that is another one for each image")
    height, width, channels = call.region.shapes[x.map]
    if maps.shape[1] != height * width * channels:
        height, width = 1, maps.shape[1] // channels
    if x.last:
        return maps[0].reshape(height, width, channels)
    return maps[0].reshape(channels, height, width).transpose(1, 2, 0)


def total(call):
    """A sum of two values, as older exporters write it."""
    if len(call.terms) != 2:
        raise Apart("a sum of other than two values")
    return plus(call)


def prelu(call):
    """A slope below zero, if it is one for all channels."""
    slope = call.constant(1)
    if slope is None or np.unique(slope).size != 1:
        raise Apart("a slope for each channel")
    return replace(call.lying(), curve=Curve(name="leaky_relu", slope=float(slope.flat[0])))


def swish(call):
    """``x * sigmoid(alpha * x)`` of the slopes that have a name."""
    known = {1.0: Curve(name="sigmoid", gate=True), QUICK: Curve(name="quick_gelu")}
    curve = known.get(float(np.float32(call.node.attributes.get("alpha", 1.0))))
    if curve is None:
        raise Apart("a steeper sigmoid")
    return replace(call.lying(), curve=curve)


def minus(call):
    """A difference: of two maps, or with a constant."""
    if None not in call.terms:
        negative = _swapped(call).bent(lambda curve: curve.times(-1.0))
        negative = call.region.settle(f"{call.name}/negative", negative, call.shape(1))
        return _sum(call, call.lying(0), negative)
    if call.terms[0] is None:
        call = _swapped(call)
        number = vector(call, call.constant(1))
        return call.bent(_after(-1.0, number), np.ndim(number) > 0)
    number = vector(call, call.constant(1))
    return call.bent(lambda curve: curve.plus(-number), np.ndim(number) > 0)


def times(call):
    """A product: with a constant, with a gate of the same map, or with factors of channels."""
    if None in call.terms:
        if call.terms[0] is None:
            call = _swapped(call)
        number = vector(call, call.constant(1))
        return call.bent(lambda curve: curve.times(number), np.ndim(number) > 0)
    for one, other in (call.terms, call.terms[::-1]):
        same = one.map == other.map and one.last == other.last and other.scores is None
        if one.is_plain and same and other.moved is None and other.pad == NO_PAD:
            curve = other.curve.gated()
            if curve is not None and call.shape(0) == call.shape(1):
                return replace(other, curve=curve)
    one, other = call.lying(0), call.lying(1)
    if one.last == other.last and call.region.shapes[one.map] == call.region.shapes[other.map]:
        made = call.region.add(call.name, Multiply(), one.map, other.map)
        return replace(made, last=one.last)
    x, factors = call.map(0).map, call.map(1).map
    if call.region.shapes[x][:2] == (1, 1) != call.region.shapes[factors][:2]:
        x, factors = factors, x
    return call.region.add(call.name, ScaleChannels(), x, factors)


def over(call):
    """A quotient by a constant."""
    if call.terms[0] is None or call.terms[1] is not None:
        raise Apart("a quotient of two maps")
    number = vector(call, call.constant(1))
    return call.bent(lambda curve: curve.times(1 / number), np.ndim(number) > 0)


def _swapped(call):
    node = replace(call.node, inputs=call.node.inputs[::-1])
    return call._replace(node=node, terms=call.terms[::-1])


def clip(call):
    """Values between two numbers."""
    low, high = call.setting("min", -np.inf), call.setting("max", np.inf)
    low, high = (float(np.reshape(edge, ())) for edge in (low, high))
    return call.bent(lambda curve: curve.clip(low, high))


def relu(call):
    return call.bent(lambda curve: curve.clip(0.0, np.inf))


def tanh(call):
    return call.region.add(call.name, Tanh(), call.map().map)


def neg(call):
    return call.bent(lambda curve: curve.times(-1.0))


def hard_sigmoid(call):
    alpha = call.node.attributes.get("alpha", 0.2)
    beta = call.node.attributes.get("beta", 0.5)

    line = _after(alpha, beta)

    def change(curve):
        curve = line(curve)
        return curve and curve.clip(0.0, 1.0)

    return call.bent(change)


def by_name(make):
    """A curve that only the map itself can go through."""

    def layer(call):
        return replace(call.lying(), curve=make(call.node.attributes))

    return layer
