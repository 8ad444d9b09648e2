"""Layers over windows and whole maps: convolutions, products, poolings, padding, enlargement."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from rvcnn.ops import (
    WAYS,
    AvgPool,
    Bilinear,
    Conv2d,
    Crop,
    DepthToSpace,
    GlobalAvgPool,
    MaxPool,
    QuantizedGlobalAvgPool,
    QuantizedMaxPool,
    Repeat,
)

from .call import is_same, padded, sum_sides
from .quantised import Steps, bytes_of, convolve, quantised, read
from .region import NO_PAD, Apart, Term
from .shapes import window_of


def conv(call):
    """A convolution, with the padding before it."""
    weight, bias = call.constant(1), call.constant(2)
    if weight.dtype != np.float32:
        raise Apart("a convolution of other than real values")
    x, op = _convolution(call, weight.shape, bias is not None)
    if call.terms[0].reading is not None:
        return _of_bytes(call, op, x, lambda v: v, 0)
    params = {"weight": weight} | ({} if bias is None else {"bias": bias})
    return call.region.add(call.name, op, x, **params)


def _convolution(call, shape, bias):
    """The map that a convolution by weights of a shape reads, and its operator."""
    if len(shape) != 4:
        raise Apart("a convolution in other than two dimensions")
    x, pad = padded(call)
    window = window_of(call.node, call.shape()[2:], shape[2:])
    groups = call.node.attributes.get("group", 1)
    padding = "same" if is_same(call, pad) else sum_sides(window.padding, pad)
    channels = call.region.shapes[x][2]
    sides = (window.kernel, window.stride, padding, window.dilation)
    return x, Conv2d(channels, shape[0], *sides, groups, bias)


def _of_bytes(call, op, x, laid_out, outputs):
    """A convolution of bytes by constants; ``laid_out`` gives weights their place in it."""
    steps, line = Steps.of(call, 1), call.terms[0].reading.line
    if steps is None or line is None:
        raise Apart("no product of whole numbers")
    weights, scale = steps.weights(outputs)
    unit = np.float64(scale) * line.scale
    added, bias = Steps.of(call, 2), call.constant(2) if len(call.node.inputs) > 2 else None
    if added is not None:
        bias = added.bias(unit)
    bias = np.zeros(len(unit)) if bias is None else np.float64(bias)
    if bias.size not in (1, len(unit)) or bias.shape[:-1] not in ((), (1,)):
        raise Apart("a bias for each image")
    bias = np.array(np.broadcast_to(bias.reshape(-1), len(unit)))
    return convolve(call.region, call.name, op, x, line, laid_out(weights), scale, bias)


def qlinear_conv(call):
    """A convolution from bytes to bytes."""
    weight, dtypes = call.constant(3), call.facts.dtypes
    x, op = _convolution(call, weight.shape, True)
    line = bytes_of(dtypes[call.node.inputs[0]], call.constant(1), call.constant(2))
    stored = bytes_of(dtypes[call.name], call.constant(6), call.constant(7))
    read(call.region, call.terms[0], line)
    weights, scale = Steps(weight, call.constant(4), call.constant(5), 0).weights(0)
    bias = call.constant(8)
    bias = np.zeros(len(scale)) if bias is None else bias * (np.float64(scale) * line.scale)
    real = convolve(call.region, f"{call.name}/real", op, x, line, weights, scale, bias)
    return quantised(call.region, call.name, real, stored)


def conv_transpose(call):
    """A transposed convolution: one that makes blocks of a stride's results, as channels."""
    weight, bias, attributes = call.constant(1), call.constant(2), call.node.attributes
    if weight.ndim != 4 or weight.dtype != np.float32 or attributes.get("group", 1) != 1:
        raise Apart("a transposed convolution in groups")
    named = "output_shape" in attributes or attributes.get("auto_pad", "NOTSET") != "NOTSET"
    if named or set(attributes.get("dilations", (1,))) != {1}:
        raise Apart("a transposed convolution of another size")
    channels, outputs, *kernel = weight.shape
    stride = tuple(attributes.get("strides", (1, 1)))
    before, out = attributes.get("pads", (0,) * 4)[:2], call.facts.shapes[call.name][2:]
    rows, columns = map(_phases, call.shape()[2:], out, kernel, stride, before)
    taps = np.pad(weight, ((0, 0), (0, 0), (0, 1), (0, 1)))
    taps = taps[:, :, rows.taps[..., None, None], columns.taps].transpose(2, 4, 1, 0, 3, 5)
    blocks = np.ascontiguousarray(taps.reshape(-1, channels, *taps.shape[4:]))
    params = {"weight": blocks}
    if bias is not None:
        params["bias"] = np.tile(bias, stride[0] * stride[1])
    padding, beyond = (rows.padding, columns.padding), (rows.beyond, columns.beyond)
    sizes = channels, len(blocks), blocks.shape[2:]
    ops = [Conv2d(*sizes, padding=padding, bias=bias is not None)]
    ops += [DepthToSpace(stride)] if stride != (1, 1) else []
    ops += [Crop(tuple((0, n) for n in beyond))] if any(beyond) else []
    x = call.map().map
    for op in ops:
        name = call.name if op is ops[-1] else f"{call.name}/{type(op).__name__}"
        x = call.region.add(name, op, x, **(params if op is ops[0] else {})).map
    return Term(call.region, x)


class _Phases(NamedTuple):
    """A transposed convolution along one axis, as a convolution to blocks.

    Attributes
    ----------
    taps : ndarray
        For each result of a block and each tap, the weight's place; the place behind all weights
        where there is none.
    padding : tuple of int
    beyond : int
        Results of the last block that are too many.
    """

    taps: np.ndarray
    padding: tuple[int, int]
    beyond: int


def _phases(size, out, kernel, stride, before):
    """The :class:`_Phases` of an axis.

    Result ``stride * q + r`` is the sum of ``x[q + d] * weight[r + before - d * stride]``.
    """
    first, last = -((kernel - 1 - before) // stride), (stride - 1 + before) // stride
    places = np.arange(stride)[:, None] + before - np.arange(first, last + 1) * stride
    taps = np.where((places >= 0) & (places < kernel), places, kernel)
    blocks = -(-out // stride)
    padding = (-first, blocks - size + last)
    if min(padding) < 0:
        raise Apart("a transposed convolution that leaves pixels out")
    return _Phases(taps, padding, blocks * stride - out)


def product(call):
    """A matrix product with constant weights: a convolution over the whole map."""
    attributes = call.node.attributes
    is_gemm = call.node.op == "Gemm"
    weight = call.constant(1)
    if weight.ndim != 2 or weight.dtype != np.float32:
        raise Apart("a product in other than two dimensions")
    if is_gemm and (attributes.get("transA") or call.terms[0] is None):
        raise Apart("a transposed first factor")
    turned = is_gemm and bool(attributes.get("transB"))
    x, op, laid_out, last = _product(call, weight.shape if turned else weight.shape[::-1])
    alpha, beta = (np.float32(attributes.get(k, 1.0)) for k in ("alpha", "beta"))
    if call.terms[0].reading is not None:
        if is_gemm and (alpha != 1 or beta != 1):
            raise Apart("a product times a number")
        made = _of_bytes(call, op, x, lambda v: laid_out(v if turned else v.T), 1 - turned)
        return replace(made, last=last)
    weight = weight if turned else weight.T
    params = {"weight": laid_out(weight * alpha if is_gemm else weight)}
    bias = call.constant(2) if is_gemm else None
    if bias is not None:
        bias = np.asarray(bias, np.float32) * beta
        if bias.size not in (1, len(weight)) or bias.shape[:-1] not in ((), (1,)):
            raise Apart("a bias for each image")
        params["bias"] = np.array(np.broadcast_to(bias.reshape(-1), len(weight)))
    term = call.region.add(call.name, replace(op, bias=bias is not None), x, **params)
    return replace(term, last=last)


def _product(call, shape):
    """The map that a product by (N, K) weights reads, its operator, and what lays weights out.

    Then whether the channels of its result are last.
    """
    (outputs, length), rank = shape, len(call.shape())
    order, term = (None, None) if rank != 2 else _elements(call)
    height, width, channels = call.region.shapes[term.map] if term else (0, 0, 0)
    if order is None or not len(order) == length == channels * height * width:
        return _each_token(call, shape)
    if not np.array_equal(np.sort(order), np.arange(length)):
        raise Apart("a product of other than all elements, each once")

    def laid_out(weight):
        dense = np.zeros((outputs, length), weight.dtype)
        dense[:, order] = weight
        return dense.reshape(outputs, channels, height, width)

    return term.map, Conv2d(channels, outputs, (height, width)), laid_out, False


def _elements(call):
    """Where the elements of the first factor come from, in the map of a term."""
    term = call.terms[0]
    if term.moved is None or not term.curve.is_identity:
        term = call.region.settle(call.node.inputs[0], term, call.shape())
    return call.region.order(term), term


def _each_token(call, shape):
    """As :func:`_product`, where it is one with each token's channels."""
    if call.terms[0].reading is not None:
        raise Apart("a product of tokens that are bytes")
    x, (outputs, length) = call.tokens().map, shape
    if call.region.shapes[x][2] != length:
        raise Apart("a product of other than all channels")

    def laid_out(weight):
        return np.ascontiguousarray(weight)[:, :, None, None]

    return x, Conv2d(length, outputs), laid_out, True


def qlinear_product(call):
    """A product from bytes to bytes."""
    weight, dtypes = call.constant(3), call.facts.dtypes
    if weight.ndim != 2 or len(call.shape()) != 2:
        raise Apart("a product in other than two dimensions")
    x, op, laid_out, last = _product(call, weight.shape[::-1])
    if last:
        raise Apart("a product of tokens")
    line = bytes_of(dtypes[call.node.inputs[0]], call.constant(1), call.constant(2))
    stored = bytes_of(dtypes[call.name], call.constant(6), call.constant(7))
    read(call.region, call.terms[0], line)
    weights, scale = Steps(weight, call.constant(4), call.constant(5)).weights(1)
    name, weights = f"{call.name}/real", laid_out(weights.T)
    real = convolve(call.region, name, op, x, line, weights, scale, np.zeros(len(scale)))
    return quantised(call.region, call.name, real, stored)


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
    padding = "same" if is_same(call, sides) else sum_sides(window.padding, sides)
    if x not in call.region.stored:
        return call.region.add(call.name, MaxPool(window.kernel, window.stride, padding), x)
    if term.reading is not None and (np.diff(term.reading.table) < 0).any():
        raise Apart("bytes in another order than what they stand for")
    op = QuantizedMaxPool(window.kernel, window.stride, padding)
    pooled = call.region.add_bytes(call.name, op, x, stored=call.region.stored[x])
    return replace(pooled, reading=term.reading)


def avg_pool(call):
    x, sides = padded(call)
    window = _pool_window(call)
    counted = bool(call.node.attributes.get("count_include_pad", 0))
    own = window.padding
    if call.node.attributes.get("ceil_mode") and own != NO_PAD and counted:
        raise Apart("a mean over a window that is rounded up")
    if sides != NO_PAD:
        if own != NO_PAD and not counted:
            raise Apart("padding that counts round padding that does not")
        counted = True
    padding = "same" if is_same(call, sides) else sum_sides(own, sides)
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
    x, reading = call.map().map, call.terms[0].reading
    if reading is None:
        return call.region.add(call.name, GlobalAvgPool(), x)
    if reading.line is None or np.prod(call.region.shapes[x][:2]) > 2**23:
        raise Apart("no mean of whole numbers")
    scale, zero = np.atleast_1d(*reading.line)
    op = QuantizedGlobalAvgPool()
    return call.region.add_bytes(call.name, op, x, in_scale=scale, in_zero=zero)


def global_max_pool(call):
    x = call.map().map
    size = call.region.shapes[x][:2]
    return call.region.add(call.name, MaxPool(size, size), x)


def over_pixels(layer):
    """A reduction, if it is one of all pixels: the pooling of the whole map that does the same."""

    def reduction(call):
        axes, shape = call.setting("axes"), call.shape()
        if axes is None or len(shape) != 4 or sorted(int(a) % 4 for a in np.ravel(axes)) != [2, 3]:
            raise Apart("a reduction of other axes")
        return layer(call)

    return reduction


def resize(call):
    """Another size by bilinear interpolation, or by whole numbers of the nearest pixel."""
    attributes, shape = call.node.attributes, call.shape()
    mode = attributes.get("mode", "nearest")
    if mode in ("linear", "bilinear"):
        return _bilinear(call)
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


def _bilinear(call):
    attributes, shape, out = call.node.attributes, call.shape(), call.facts.shapes[call.name]
    if len(shape) != 4 or out[:2] != shape[:2] or not min(shape):
        raise Apart("an interpolation of other than maps")
    if call.node.op == "Upsample" or call.opset < 11:
        way, sizes = "asymmetric", None
        scales = call.setting("scales", call.constant(1))
    else:
        way = attributes.get("coordinate_transformation_mode", "half_pixel")
        scales, sizes = call.constant(2), call.constant(3)
    if sizes is not None and sizes.size:
        scales = [m / n for m, n in zip(out, shape, strict=True)]
    scale = tuple(float(s) for s in scales)
    usual = {"exclude_outside": 0, "axes": None, "keep_aspect_ratio_policy": "stretch"}
    usual |= {"antialias": 0} if min(scale) < 1 else {}
    if way not in WAYS or any(attributes.get(key, was) != was for key, was in usual.items()):
        raise Apart("an interpolation of another kind")
    op = Bilinear(scale[2:], way)
    if len(scale) != 4 or op.infer((*shape[2:], shape[1])) != (*out[2:], shape[1]):
        raise Apart("a size that is rounded otherwise")
    return call.region.add(call.name, op, call.map().map)
