"""While one product computes, the weights of the next come closer: memory would idle meanwhile."""

from itertools import pairwise

from ._program import BARRIER, At, Call
from .igemm import f32_igemm

LINE = 16
"""Values of a cache line."""

ONE = 1 << 16
"""A value, in the unit of ``ahead_step``."""


def fetch_ahead(calls):
    """Calls of which each product asks for a share of the weights that the next one reads.

    Products of one row, which wait for memory themselves, do not.

    Parameters
    ----------
    calls : sequence of Call and BARRIER
        Of one thread, in order.
    """
    calls, products = list(calls), {}
    for i, call in enumerate(calls):
        if call is not BARRIER and "panels" in call.kernel.parameters:
            weights = _weights(call)
            products.setdefault(id(weights), (weights, []))[1].append(i)
    for (_, places), (weights, after) in pairwise(products.values()):
        if all(calls[i].kernel.family is f32_igemm for i in (*places, *after)):
            _share(calls, places, weights)
    return calls


def _share(calls, places, weights):
    """Let calls ask for weights, a stretch each, evenly over all their steps."""
    places = [i for i in places if calls[i].kernel.constants["MR"] > 1]
    steps = [_steps(calls[i]) for i in places]
    last = max(sum(steps) - 1, 1)
    stride, done = min(-(-(weights.size - 1) * ONE // last), LINE * ONE), 0
    for i, count in zip(places, steps, strict=True):
        ahead = At(weights, done * stride // ONE)
        calls[i] = _changed(calls[i], ahead=ahead, ahead_step=stride)
        done += count


def _values(call):
    return dict(zip(call.kernel.parameters, call.args, strict=True))


def _weights(call):
    place = _values(call)["weights"]
    return place.buffer if isinstance(place, At) else place


def _steps(call):
    """Steps of all sums of a call."""
    v = _values(call)
    tiles = v["panels"] * (v["rows"] // call.kernel.constants["MR"])
    return tiles * v["segments"] * v["length"]


def _changed(call, **changes):
    return Call(call.kernel, tuple((_values(call) | changes).values()))
