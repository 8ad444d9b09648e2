"""What each ONNX operator is in rvcnn's graph: one function for each, in one table.

A function takes a :class:`Call` and returns the result's term, or raises ``Apart``.
"""

import contextlib
from dataclasses import replace

import numpy as np

from rvcnn.errors import RvcnnError
from rvcnn.ops import Concat, L2Normalize

from . import elementwise, quantised, tokens, windows
from .curves import Curve
from .operators import OPERATORS
from .region import Apart


def unit_length(call):
    """A vector scaled to unit length."""
    attributes, shape = call.node.attributes, call.shape()
    axis = attributes.get("axis", -1) % len(shape)
    if attributes.get("p", 2) != 2 or axis != 1 or max(shape[2:], default=1) > 1:
        raise Apart("other lengths than a vector's")
    return call.region.add(call.name, L2Normalize(), call.map().map)


def concat(call):
    """Channels one after another, or tokens; parts of one map may be it in another order."""
    shape, axis = call.facts.shapes[call.name], call.node.attributes["axis"]
    with contextlib.suppress(Apart):
        return _rejoined(call, axis)
    if any(term is not None and call.lying(i).last for i, term in enumerate(call.terms)):
        return tokens.concat(call, axis % len(shape))
    if axis % len(shape) != 1:
        raise Apart("a concatenation of other than channels")
    maps = [call.map(i).map for i in range(len(call.terms))]
    counts = tuple(call.region.shapes[x][2] for x in maps)
    return call.region.add(call.name, Concat(counts), *maps)


def _rejoined(call, axis):
    """All elements of one map, put together of parts: a move, as in a roll."""
    first, region = call.terms[0], call.region
    for term in call.terms:
        plain = term is not None and replace(term, moved=None).is_plain and term.held is None
        if not plain or term.map != first.map or term.map in region.stored:
            raise Apart("a concatenation of several maps")
    places = [region.places(term, call.shape(i)) for i, term in enumerate(call.terms)]
    places = np.concatenate(places, axis)
    if places.size != np.prod(region.whole(first.map)):
        raise Apart("some of a map, or some of it twice")
    moved = region.moved(first, places)
    if moved.moved is not None:
        (_, pixels), _, _ = region.lies(moved, places.shape)
        if (np.diff(pixels) == 1).all():
            raise Apart("channels in another order")  # which may be shuffled next
    return moved


def _reshaped_scores(call, term):
    """Sequences of scores in other axes."""
    names, shape = [name for name in call.node.outputs if name], call.shape()
    if call.node.op not in ("Reshape", "Squeeze", "Unsqueeze") or len(shape) < 2:
        raise Apart("scores that are moved")
    if call.facts.shapes[names[0]][-2:] != shape[-2:]:
        raise Apart("scores that are moved")
    return term


def move(call):
    """What only moves elements is done to their places."""
    if any(term is not None for term in call.terms[1:]):
        raise Apart("places that are computed")
    term = call.terms[0]
    if term.scores is not None:
        return _reshaped_scores(call, term)
    if term.moved is None:
        term = call.region.settle(call.node.inputs[0], term, call.shape())
    elif call.node.op in ("Split", "Slice", "Gather"):
        # A shuffle is a layer of its own, so that some of its channels are a view.
        with contextlib.suppress(Apart):
            _, _, last = call.region.lies(term, call.shape())
            term = term if last else call.map()
    places = call.region.places(term, call.shape())
    others = [call.constant(i) for i in range(1, len(call.node.inputs))]
    operator, count = OPERATORS[call.node.op], len(call.node.outputs)
    try:
        results = operator.run(call.node.attributes, call.opset, places, *others, outputs=count)
    except RvcnnError as error:
        raise Apart(str(error)) from None
    return [call.region.moved(term, places) for places in results]


MOVES = ("Flatten", "Gather", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")

LAYERS = {
    "Add": elementwise.plus,
    "Attention": tokens.attention,
    "AveragePool": windows.avg_pool,
    "BatchNormalization": elementwise.batch_norm,
    "Clip": elementwise.clip,
    "Concat": concat,
    "Conv": windows.conv,
    "ConvTranspose": windows.conv_transpose,
    "DequantizeLinear": quantised.dequantize,
    "Div": elementwise.over,
    "Gelu": elementwise.by_name(
        lambda a: Curve(name="gelu_tanh" if a.get("approximate") == "tanh" else "gelu")
    ),
    "Gemm": windows.product,
    "GlobalAveragePool": windows.global_avg_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "HardSigmoid": elementwise.hard_sigmoid,
    "HardSwish": elementwise.by_name(lambda a: Curve(1 / 6, 0.5, 0.0, 1.0, gate=True)),
    "LayerNormalization": tokens.layer_norm,
    "LeakyRelu": elementwise.by_name(
        lambda a: Curve(name="leaky_relu", slope=a.get("alpha", 0.01))
    ),
    "LpNormalization": unit_length,
    "MatMul": tokens.product,
    "MaxPool": windows.max_pool,
    "Mul": elementwise.times,
    "Neg": elementwise.neg,
    "PRelu": elementwise.prelu,
    "Pad": windows.pad,
    "QuantizeLinear": quantised.quantize,
    "ReduceMax": windows.over_pixels(windows.global_max_pool),
    "ReduceMean": tokens.mean,
    "Relu": elementwise.relu,
    "Resize": windows.resize,
    "Softmax": tokens.softmax,
    "Sigmoid": elementwise.by_name(lambda a: Curve(name="sigmoid")),
    "Sub": elementwise.minus,
    "Sum": elementwise.total,
    "Swish": elementwise.swish,
    "Tanh": elementwise.tanh,
    "Upsample": windows.resize,
    **dict.fromkeys(MOVES, move),
}
"""By ONNX's operator types."""

WINDOWS = ("Conv", "Gemm", "GlobalAveragePool", "MatMul", "MaxPool", "Pad", "ReduceMean")

BY_ELEMENT = {
    **dict.fromkeys(quantised.POINTWISE, quantised.pointwise),
    **dict.fromkeys(MOVES, move),
    "DequantizeLinear": quantised.dequantize,
    "QuantizeLinear": quantised.quantize,
}
"""Those that take values which are functions of the bytes of a map."""

ON_BYTES = BY_ELEMENT | {
    **{name: LAYERS[name] for name in WINDOWS},
    "QLinearConv": windows.qlinear_conv,
    "QLinearMatMul": windows.qlinear_product,
}
"""Those that take bytes, or what they stand for, as they are."""

FROM_BYTES = {"DequantizeLinear", "MaxPool", "QLinearConv", "QLinearMatMul", *MOVES}
"""Those of them that take values that are bytes."""

TO_BYTES = {"MaxPool", "QLinearConv", "QLinearMatMul", "QuantizeLinear", *MOVES}
"""Those of them that make such values."""
