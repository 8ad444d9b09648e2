"""Layers of transformers: products and normalisation of tokens, and attention in any spelling.

Attention is known by what its two products multiply. Where the elements of queries, keys and
values come from says which channels are a head and which pixels a sequence, however often they
were reshaped and turned on the way.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from rvcnn.ops import Attention, Concat, ConcatPixels, GlobalAvgPool, LayerNorm

from . import elementwise, windows
from .region import Apart, Term


@dataclass(frozen=True, eq=False)
class Scores:
    """What queries and keys give, and then the shares that values have.

    Attributes
    ----------
    queries, keys : Term
        Whose elements' places are (L, T, C) and (L, S, C): L sequences of tokens.
    scale : float
    bias : ndarray or None
        (L, T, S), added after the scale.
    is_shares : bool
        Whether a softmax has made shares of them.
    """

    queries: Term
    keys: Term
    scale: float
    bias: np.ndarray | None = None
    is_shares: bool = False


def layer_norm(call):
    """Mean 0 and variance 1 over the channels of each token."""
    attributes, shape = call.node.attributes, call.shape()
    if attributes.get("axis", -1) % len(shape) != len(shape) - 1:
        raise Apart("a normalisation over other than channels")
    if len([name for name in call.node.outputs if name]) > 1:
        raise Apart("statistics of a normalisation")
    x, channels = call.tokens(), shape[-1]
    scale, shift = call.constant(1), call.constant(2)
    shift = np.zeros(channels) if shift is None else shift
    params = {
        name: np.array(np.broadcast_to(value, channels), np.float32)
        for name, value in (("weight", scale), ("bias", shift))
    }
    op = LayerNorm(channels, float(attributes.get("epsilon", 1e-5)))
    return replace(call.region.add(call.name, op, x.map, **params), last=True)


def mean(call):
    """A mean over all tokens, or over all pixels."""
    axes, shape = call.setting("axes"), call.shape()
    term = call.terms[0]
    if not (term.last or (term.moved is not None and call.lying().last)):
        return windows.over_pixels(windows.global_avg_pool)(call)
    wanted = list(range(1, len(shape) - 1))
    if axes is None or sorted(int(a) % len(shape) for a in np.ravel(axes)) != wanted:
        raise Apart("a mean over other axes")
    if shape[0] != call.region.images:
        raise Apart("a mean over images")
    return replace(call.region.add(call.name, GlobalAvgPool(), call.tokens().map), last=True)


def concat(call, axis):
    """The tokens, or the channels, of several values one after another; some may be constant."""
    shapes = [call.shape(i) for i in range(len(call.terms))]
    rank, maps = len(shapes[0]), []
    known = next(call.tokens(i) for i, term in enumerate(call.terms) if term is not None)
    for i, term in enumerate(call.terms):
        if term is None:
            value = elementwise.of_image(call, call.constant(i), known, shapes[i])
            maps.append(call.region.constant(f"{call.name}/constant {i}", value).map)
        else:
            maps.append(call.tokens(i).map)
    sizes = [call.region.shapes[x] for x in maps]
    if axis == rank - 1:
        op = Concat(tuple(size[2] for size in sizes))
    elif math.prod(shapes[0][:axis]) == call.region.images:
        if math.prod(shapes[0][axis + 1 : -1]) != 1:
            raise Apart("tokens by turns")
        op = ConcatPixels(tuple(size[0] * size[1] for size in sizes))
    else:
        raise Apart("images put together")
    return replace(call.region.add(call.name, op, *maps), last=True)


def product(call):
    """A matrix product: with constant weights, or one of the two of an attention."""
    if None in call.terms:
        return windows.product(call)
    first, second = call.terms
    if first.scores is not None and first.scores.is_shares:
        return _attended(call, first.scores, _sequences(call, 1, second))
    queries = _sequences(call, 0, first)
    keys = _sequences(call, 1, second, turned=True)
    if len(queries.moved) != len(keys.moved):
        raise Apart("sequences that share their keys")
    scale = _factor(first) * _factor(second)
    return Term(call.region, first.map, scores=Scores(queries, keys, scale))


def _factor(term):
    curve = term.curve
    if not curve.is_line or np.ndim(curve.scale) or np.any(curve.shift):
        raise Apart("scores after another function")
    return float(curve.scale)


def _sequences(call, i, term, turned=False):
    """A factor of an attention: its elements' places (N * L, T, C)."""
    shape = call.shape(i)
    lead = shape[:-2]
    if math.prod(lead) % call.region.images or len(shape) < 3:
        raise Apart("sequences of several images")
    if call.facts.shapes[call.name][:-2] != lead:
        raise Apart("sequences that share their keys")
    if term.moved is None:
        _factor(term)
        places = call.region.places(term, shape)
    else:
        places = term.moved
    places = places.swapaxes(-2, -1) if turned else places
    return replace(term, moved=places.reshape(-1, *places.shape[-2:]), last=False)


def with_bias(call, value):
    """Scores and a constant."""
    scores = call.terms[0].scores
    images, shape = call.region.images, call.shape()
    whole = np.broadcast_to(value, shape).reshape(images, -1, *shape[-2:])
    if scores.is_shares or not np.array_equal(whole, np.broadcast_to(whole[:1], whole.shape)):
        raise Apart("a constant that is another one for each image")
    factor = _factor(call.terms[0])
    bias = whole[0] if scores.bias is None else whole[0] + factor * scores.bias
    scores = replace(scores, scale=scores.scale * factor, bias=bias)
    return Term(call.region, call.terms[0].map, scores=scores)


def softmax(call):
    """Shares of scores."""
    term, rank = call.terms[0], len(call.shape())
    axis = call.node.attributes.get("axis", -1 if call.opset >= 13 else 1)
    if term.scores is None or term.scores.is_shares or axis % rank != rank - 1:
        raise Apart("a softmax of other than scores")
    factor, scores = _factor(term), term.scores
    bias = None if scores.bias is None else scores.bias * np.float32(factor)
    scores = replace(scores, scale=scores.scale * factor, bias=bias, is_shares=True)
    return Term(call.region, term.map, scores=scores)


def attention(call):
    """Attention as one operator, of queries, keys and values that are heads already."""
    known = {"scale", "is_causal", "softcap", "softmax_precision", "qk_matmul_output_mode"}
    attributes, shape = call.node.attributes, call.shape()
    others = [name for name in call.node.inputs[3:] if name]
    extra = [name for name in call.node.outputs[1:] if name]
    if attributes.keys() - known or attributes.get("is_causal") or attributes.get("softcap"):
        raise Apart("attention of another kind")
    if others or extra or len(shape) != 4 or call.shape(1)[:2] != shape[:2]:
        raise Apart("attention with more than queries, keys and values")
    if call.shape(2)[:2] != shape[:2] or None in call.terms:
        raise Apart("heads that are shared")
    scale = attributes.get("scale") or 1 / math.sqrt(shape[-1])
    queries, keys, values = (_sequences(call, i, call.terms[i]) for i in range(3))
    scale *= _factor(call.terms[0]) * _factor(call.terms[1])
    return _attended(call, Scores(queries, keys, scale, is_shares=True), values)


def _attended(call, scores, values):
    region = call.region
    if len(values.moved) != len(scores.keys.moved):
        raise Apart("sequences that share their values")
    terms = (scores.queries, scores.keys, values)
    found = [_heads(region, term) for term in terms]
    heads = {(len(pixels), len(channels)) for pixels, channels in found}
    if len(heads) != 1:
        raise Apart("heads of several kinds")
    rows, count = heads.pop()
    maps = [
        region.take(
            f"{call.name}/{name}",
            term.map,
            channels.reshape(-1),
            pixels.reshape(-1),
            pixels.shape,
        ).map
        for name, term, (pixels, channels) in zip("qkv", terms, found, strict=True)
    ]
    bias, params = (), {}
    if scores.bias is not None:
        every = scores.bias.reshape(rows, count, *scores.bias.shape[1:])
        every = every[:1] if (every == every[:1]).all() else every
        bias, params["bias"] = every.shape, np.array(every, np.float32).reshape(-1)
    factor = _factor(values)
    op = Attention(count, scores.scale, bias)
    term = region.add(call.name, op, *maps, **params)
    places = np.arange(np.prod(region.whole(term.map)))
    width = found[2][1].shape[1]
    tokens = found[0][0].shape[1]
    places = places.reshape(region.images, count, width, rows, tokens).transpose(0, 3, 1, 4, 2)
    term = region.moved(term, places.reshape(call.facts.shapes[call.name]))
    return replace(term, curve=term.curve.times(factor))


def _heads(region, term):
    """Pixels (G, T) of the sequences and channels (heads, C) that places (N * L, T, C) are.

    Sequences come one after another, each with all its heads.
    """
    height, width, _ = region.shapes[term.map]
    pixels = height * width
    places = region.order(term).reshape(-1, *term.moved.shape[1:])
    channels, taken = places[:, 0, :] // pixels, places[:, :, 0] % pixels
    if not np.array_equal(places, channels[:, None, :] * pixels + taken[:, :, None]):
        raise Apart("heads that are no channels of tokens")
    others = np.flatnonzero((taken != taken[:1]).any(1))
    heads = int(others[0]) if len(others) else len(taken)
    if len(taken) % heads:
        raise Apart("sequences with several numbers of heads")
    taken = taken.reshape(-1, heads, taken.shape[1])
    channels = channels.reshape(-1, heads, channels.shape[1])
    if (taken != taken[:, :1]).any() or (channels != channels[:1]).any():
        raise Apart("sequences with several kinds of heads")
    return taken[:, 0], channels[0]
