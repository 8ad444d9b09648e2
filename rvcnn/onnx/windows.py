"""Layers over windows and whole maps: convolutions, products, poolings, padding, enlargement."""

from dataclasses import replace

import numpy as np

from rvcnn.ops import WAYS, AvgPool, Bilinear, Conv2d, DepthToSpace, GlobalAvgPool, MaxPool, Repeat

from .call import is_same, padded, sum_sides
from .region import NO_PAD, Apart
from .shapes import window_of


def conv(call):
    """A convolution, with the padding before it."""
    weight, bias = call.constant(1), call.constant(2)
    if weight.ndim != 4 or weight.dtype != np.float32:
        raise Apart("a convolution in other than two dimensions")
    x, pad = padded(call)
    window = window_of(call.node, call.shape()[2:], weight.shape[2:])
    groups = call.node.attributes.get("group", 1)
    padding = "same" if is_same(call, pad) else sum_sides(window.padding, pad)
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
    return call.region.add(call.name, MaxPool(window.kernel, window.stride, padding), x)


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
    return call.region.add(call.name, GlobalAvgPool(), call.map().map)


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
