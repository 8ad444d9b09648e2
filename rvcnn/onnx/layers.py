"""What each ONNX operator is in rvcnn's graph: one function for each, in one table.

A function takes a :class:`Call` and returns the result's term, or raises ``Apart``.
"""

import contextlib
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from rvcnn.errors import RvcnnError
from rvcnn.ops import (
    Add,
    AvgPool,
    Concat,
    Conv2d,
    DepthToSpace,
    GlobalAvgPool,
    L2Normalize,
    MaxPool,
    Repeat,
    ScaleChannels,
)

from .curves import Curve
from .network import Node
from .operators import OPERATORS
from .operators.moved import MOVED
from .region import NO_PAD, Apart, Region, Term
from .shapes import Facts, window_of


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

    def map(self, i=0) -> Term:
        """An input with nothing left to be done, as a map: its shape is (N, C, H, W) or (N, C)."""
        name, term = self.node.inputs[i], self.terms[i]
        if term is None:
            raise Apart("a constant map")
        settled = self.region.settle(name, term, self.shape(i))
        whole, shape = self.region.whole(settled.map), self.shape(i)
        if shape != whole and not (whole[2:] == (1, 1) and shape == whole[:2]):
            raise Apart("a map in another shape")
        return settled

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
        lone = term.moved is None and term.pad == NO_PAD and (vectors or not term.has_vectors)
        curve = change(term.curve) if lone else None
        if curve is None:
            term = self.map()
            curve = change(term.curve)
        if curve is None:
            raise Apart(self.node.op)
        return replace(term, curve=curve)


def _vector(call, value, i=0):
    """A constant as a number or a vector over the channels of input ``i``."""
    value, shape = np.asarray(value, np.float64), call.shape(i)
    if value.size == 1 and value.ndim <= len(shape):
        return float(value.reshape(()))
    padded = (1,) * (len(shape) - value.ndim) + value.shape
    wanted = (1, shape[1], *(1,) * (len(shape) - 2)) if len(shape) in (2, 4) else ()
    if padded != wanted or call.region.shapes[call.terms[i].map][2] != shape[1]:
        raise Apart("a constant that is no vector over channels")
    return value.reshape(-1)


def _padded(call):
    """The map under the first input and the zeros that are still to be put round it."""
    term = call.terms[0]
    if term.pad == NO_PAD or term.fill:
        return call.map().map, NO_PAD
    return term.map, term.pad


def _sum_sides(a, b):
    return tuple((x[0] + y[0], x[1] + y[1]) for x, y in zip(a, b, strict=True))


def conv(call):
    """A convolution, with the padding before it."""
    weight, bias = call.constant(1), call.constant(2)
    if weight.ndim != 4 or weight.dtype != np.float32:
        raise Apart("a convolution in other than two dimensions")
    x, pad = _padded(call)
    window = window_of(call.node, call.shape()[2:], weight.shape[2:])
    groups = call.node.attributes.get("group", 1)
    padding = "same" if _is_same(call, pad) else _sum_sides(window.padding, pad)
    op = Conv2d(
        call.region.shapes[x][2],
        len(weight),
        window.kernel,
        window.stride,
        padding,
        window.dilation,
        groups,
        bias is not None,
    )
    params = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return call.region.add(call.name, op, x, **params)


def _is_same(call, pad=NO_PAD):
    return call.node.attributes.get("auto_pad") == "SAME_UPPER" and pad == NO_PAD


def conv_transpose(call):
    """A transposed convolution whose windows lie side by side: one of 1 x 1, then blocks."""
    weight, bias = call.constant(1), call.constant(2)
    attributes = call.node.attributes
    if weight.ndim != 4 or weight.dtype != np.float32 or attributes.get("group", 1) != 1:
        raise Apart("a transposed convolution in groups")
    channels, out, *kernel = weight.shape
    if (
        list(attributes.get("strides", (1, 1))) != kernel
        or any(attributes.get("pads", (0,)))
        or any(attributes.get("output_padding", (0,)))
        or set(attributes.get("dilations", (1,))) != {1}
        or "output_shape" in attributes
        or attributes.get("auto_pad", "NOTSET") != "NOTSET"
    ):
        raise Apart("a transposed convolution whose windows overlap")
    groups = weight.transpose(2, 3, 1, 0).reshape(-1, channels, 1, 1)
    params = {"weight": np.ascontiguousarray(groups)}
    if bias is not None:
        params["bias"] = np.tile(bias, kernel[0] * kernel[1])
    op = Conv2d(channels, len(groups), bias=bias is not None)
    x = call.region.add(f"{call.name}/blocks", op, call.map().map, **params)
    return call.region.add(call.name, DepthToSpace(tuple(kernel)), x.map)


def product(call):
    """A matrix product with constant weights: a convolution over the whole map."""
    attributes = call.node.attributes
    is_gemm = call.node.op == "Gemm"
    weight, shape = call.constant(1), call.shape()
    if weight.ndim != 2 or len(shape) != 2 or weight.dtype != np.float32:
        raise Apart("a product in other than two dimensions")
    if is_gemm and (attributes.get("transA") or call.terms[0] is None):
        raise Apart("a transposed first factor")
    weight = weight if is_gemm and attributes.get("transB") else weight.T
    if is_gemm:
        weight = weight * np.float32(attributes.get("alpha", 1.0))
    term = call.terms[0]
    if term.moved is None:
        term = call.region.settle(call.node.inputs[0], term, shape)
    order = call.region.order(term)
    height, width, channels = call.region.shapes[term.map]
    is_whole = len(order) == weight.shape[1] == channels * height * width
    if not is_whole or not np.array_equal(np.sort(order), np.arange(len(order))):
        raise Apart("a product of other than all elements, each once")
    dense = np.zeros((len(weight), channels * height * width), np.float32)
    dense[:, order] = weight
    params = {"weight": dense.reshape(len(weight), channels, height, width)}
    bias = call.constant(2) if is_gemm else None
    if bias is not None:
        bias = np.asarray(bias, np.float32) * np.float32(attributes.get("beta", 1.0))
        if bias.size not in (1, len(weight)) or bias.shape[:-1] not in ((), (1,)):
            raise Apart("a bias for each image")
        params["bias"] = np.array(np.broadcast_to(bias.reshape(-1), len(weight)))
    op = Conv2d(channels, len(weight), (height, width), bias=bias is not None)
    return call.region.add(call.name, op, term.map, **params)


def batch_norm(call):
    """Normalisation with the running statistics."""
    if call.node.attributes.get("training_mode") or len([o for o in call.node.outputs if o]) > 1:
        raise Apart("statistics of the batch")
    scale, bias, mean, variance = (np.float64(call.constant(i)) for i in range(1, 5))
    scale = scale / np.sqrt(variance + call.node.attributes.get("epsilon", 1e-5))
    scale, shift = (_vector(call, v[:, None, None]) for v in (scale, bias - mean * scale))
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
        return call.region.add(call.name, Add(), call.map(0).map, call.map(1).map)
    if call.terms[0] is None:
        call = _swapped(call)
    number = _vector(call, call.constant(1))
    return call.bent(lambda curve: curve.plus(number), np.ndim(number) > 0)


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
    return replace(call.map(), curve=Curve(name="leaky_relu", slope=float(slope.flat[0])))


def swish(call):
    """``x * sigmoid(x)``."""
    if call.node.attributes.get("alpha", 1.0) != 1.0:
        raise Apart("a steeper sigmoid")
    return replace(call.map(), curve=Curve(name="sigmoid", gate=True))


def minus(call):
    """A difference with a constant."""
    if None not in call.terms:
        raise Apart("a difference of two maps")
    if call.terms[0] is None:
        call = _swapped(call)
        number = _vector(call, call.constant(1))
        return call.bent(_after(-1.0, number), np.ndim(number) > 0)
    number = _vector(call, call.constant(1))
    return call.bent(lambda curve: curve.plus(-number), np.ndim(number) > 0)


def times(call):
    """A product: with a constant, with a gate of the same map, or with factors of channels."""
    if None in call.terms:
        if call.terms[0] is None:
            call = _swapped(call)
        number = _vector(call, call.constant(1))
        return call.bent(lambda curve: curve.times(number), np.ndim(number) > 0)
    for one, other in (call.terms, call.terms[::-1]):
        if one.is_plain and one.map == other.map and other.moved is None and other.pad == NO_PAD:
            curve = other.curve.gated()
            if curve is not None and call.shape(0) == call.shape(1):
                return replace(other, curve=curve)
    x, factors = call.map(0).map, call.map(1).map
    if call.region.shapes[x][:2] == (1, 1) != call.region.shapes[factors][:2]:
        x, factors = factors, x
    return call.region.add(call.name, ScaleChannels(), x, factors)


def over(call):
    """A quotient by a constant."""
    if call.terms[0] is None or call.terms[1] is not None:
        raise Apart("a quotient of two maps")
    number = _vector(call, call.constant(1))
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


def _by_name(make):
    """A curve that only the map itself can go through."""

    def layer(call):
        return replace(call.map(), curve=make(call.node.attributes))

    return layer


def pad(call):
    """Zeros round a map, which the layer after it takes in."""
    pads, mode = call.setting("pads"), call.node.attributes.get("mode", "constant")
    shape = call.shape()
    if mode not in ("constant", b"constant") or len(shape) != 4 or len(call.node.inputs) > 3:
        raise Apart("padding of another kind")
    pads = [int(p) for p in pads]
    fill = float(np.reshape(call.setting("value", 0.0), ()))
    if min(pads) < 0 or any(pads[:2] + pads[4:6]):
        raise Apart("padding of channels")
    term = call.map()
    sides = ((pads[2], pads[6]), (pads[3], pads[7]))
    return replace(term, pad=sides, fill=fill)


def max_pool(call):
    if len([o for o in call.node.outputs if o]) > 1 or len(call.shape()) != 4:
        raise Apart("places of the maxima")
    term, sides = call.terms[0], NO_PAD
    if term.pad != NO_PAD and term.fill == -np.inf:
        sides, x = term.pad, term.map
    else:
        x = call.map().map
    window = _pool_window(call)
    padding = "same" if _is_same(call, sides) else _sum_sides(window.padding, sides)
    return call.region.add(call.name, MaxPool(window.kernel, window.stride, padding), x)


def avg_pool(call):
    x, sides = _padded(call)
    window = _pool_window(call)
    counted = bool(call.node.attributes.get("count_include_pad", 0))
    own = window.padding
    if call.node.attributes.get("ceil_mode") and own != NO_PAD and counted:
        raise Apart("a mean over a window that is rounded up")
    if sides != NO_PAD:
        if own != NO_PAD and not counted:
            raise Apart("padding that counts round padding that does not")
        counted = True
    padding = "same" if _is_same(call, sides) else _sum_sides(own, sides)
    return call.region.add(call.name, AvgPool(window.kernel, window.stride, padding, counted), x)


def _pool_window(call):
    if len(call.shape()) != 4:
        raise Apart("a pooling in other than two dimensions")
    window = window_of(call.node, call.shape()[2:], ())
    reach = zip(window.padding, window.kernel, strict=True)
    if window.dilation != (1, 1) or any(max(sides) >= k for sides, k in reach):
        raise Apart("a window that may lie in the padding alone")
    return window


def global_avg_pool(call):
    return call.region.add(call.name, GlobalAvgPool(), call.map().map)


def global_max_pool(call):
    x = call.map().map
    size = call.region.shapes[x][:2]
    return call.region.add(call.name, MaxPool(size, size), x)


def mean(call):
    """A mean over all pixels."""
    axes, shape = call.setting("axes"), call.shape()
    if axes is None or len(shape) != 4 or sorted(int(a) % 4 for a in np.ravel(axes)) != [2, 3]:
        raise Apart("a mean over other axes")
    return global_avg_pool(call)


def unit_length(call):
    """A vector scaled to unit length."""
    attributes, shape = call.node.attributes, call.shape()
    axis = attributes.get("axis", -1) % len(shape)
    if attributes.get("p", 2) != 2 or axis != 1 or max(shape[2:], default=1) > 1:
        raise Apart("other lengths than a vector's")
    return call.region.add(call.name, L2Normalize(), call.map().map)


def concat(call):
    """Channels one after another."""
    shape, axis = call.facts.shapes[call.name], call.node.attributes["axis"]
    if axis % len(shape) != 1:
        raise Apart("a concatenation of other than channels")
    maps = [call.map(i).map for i in range(len(call.terms))]
    counts = tuple(call.region.shapes[x][2] for x in maps)
    return call.region.add(call.name, Concat(counts), *maps)


def resize(call):
    """An enlargement by whole numbers, of the nearest pixel."""
    attributes, shape = call.node.attributes, call.shape()
    mode = attributes.get("mode", "nearest")
    way = attributes.get("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get("nearest_mode", "round_prefer_floor")
    out = call.facts.shapes[call.name]
    usual = (way, rounding) in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))
    if call.node.op == "Upsample":
        usual = True
    if mode != "nearest" or not usual or len(shape) != 4 or out[:2] != shape[:2]:
        raise Apart("an enlargement of another kind")
    blocks = tuple(b // a for a, b in zip(shape[2:], out[2:], strict=True))
    if tuple(a * b for a, b in zip(shape[2:], blocks, strict=True)) != out[2:] or min(blocks) < 1:
        raise Apart("an enlargement by no whole number")
    return call.region.add(call.name, Repeat(blocks), call.map().map)


def move(call):
    """What only moves elements is done to their places."""
    if any(term is not None for term in call.terms[1:]):
        raise Apart("places that are computed")
    term = call.terms[0]
    if term.moved is None:
        term = call.region.settle(call.node.inputs[0], term, call.shape())
    elif call.node.op in ("Split", "Slice", "Gather"):
        # A shuffle is a layer of its own, so that some of its channels are a view.
        with contextlib.suppress(Apart):
            term = call.map()
    places = call.region.places(term, call.shape())
    others = [call.constant(i) for i in range(1, len(call.node.inputs))]
    operator, count = OPERATORS[call.node.op], len(call.node.outputs)
    try:
        results = operator.run(call.node.attributes, call.opset, places, *others, outputs=count)
    except RvcnnError as error:
        raise Apart(str(error)) from None
    return [replace(term, moved=places) for places in results]


LAYERS = {
    "Add": plus,
    "AveragePool": avg_pool,
    "BatchNormalization": batch_norm,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Div": over,
    "Gemm": product,
    "GlobalAveragePool": global_avg_pool,
    "GlobalMaxPool": global_max_pool,
    "HardSigmoid": hard_sigmoid,
    "HardSwish": _by_name(lambda a: Curve(1 / 6, 0.5, 0.0, 1.0, gate=True)),
    "LeakyRelu": _by_name(lambda a: Curve(name="leaky_relu", slope=a.get("alpha", 0.01))),
    "LpNormalization": unit_length,
    "MatMul": product,
    "MaxPool": max_pool,
    "Mul": times,
    "Neg": neg,
    "PRelu": prelu,
    "Pad": pad,
    "ReduceMean": mean,
    "Relu": relu,
    "Resize": resize,
    "Sigmoid": _by_name(lambda a: Curve(name="sigmoid")),
    "Sub": minus,
    "Sum": total,
    "Swish": swish,
    "Upsample": resize,
    **dict.fromkeys(
        ("Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
        move,
    ),
}
"""By ONNX's operator types."""
