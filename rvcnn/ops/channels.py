"""Channels taken apart, put together and in another order."""

from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.kernels import channels, elementwise

from .base import Op, alike


@dataclass(frozen=True)
class SliceChannels(Op):
    """Channels from ``start`` to before ``stop``: a view of its input, which nothing computes."""

    start: int
    stop: int
    is_view = True

    def infer(self, x):
        if not 0 <= self.start < self.stop <= x[2]:
            raise ShapeError(f"an input of {x} has no channels {self.start} to {self.stop - 1}")
        return (*x[:2], self.stop - self.start)

    def reference(self, params, x):
        return x[..., self.start : self.stop]

    def view(self, x):
        return x._replace(offset=x.offset + self.start, channels=self.stop - self.start)

    def lower(self, params, out, x):
        return elementwise.copy(out, self.view(x))


def shape_of_all(channels, inputs):
    """Shape of maps of so many channels one after another."""
    size = inputs[0][:2]
    if inputs != tuple((*size, count) for count in channels):
        raise ShapeError(f"expected maps of one size with {channels} channels, got {inputs}")
    return (*size, sum(channels))


def places(out, inputs):
    """Each of several maps, whose channels lie one after another in ``out``, with its place."""
    offset = out.offset
    for x in inputs:
        yield out._replace(offset=offset, channels=x.channels), x
        offset += x.channels


@dataclass(frozen=True)
class Concat(Op):
    """The channels of several maps one after another.

    Attributes
    ----------
    channels : tuple of int
        Of each map.
    """

    channels: tuple[int, ...]

    def infer(self, *inputs):
        return shape_of_all(self.channels, inputs)

    def reference(self, params, *inputs):
        return np.concatenate(inputs, axis=2)

    def lower(self, params, out, *inputs):
        return [call for place, x in places(out, inputs) for call in elementwise.copy(place, x)]


@dataclass(frozen=True)
class ShuffleChannels(Op):
    """ShuffleNet's channel shuffle: the first channels of all groups, then the second ones, ..."""

    groups: int

    def infer(self, x):
        if x[2] % self.groups:
            raise ShapeError(f"an input of {x} has no {self.groups} equal groups of channels")
        return x

    def reference(self, params, x):
        return x.reshape(*x.shape[:2], self.groups, -1).swapaxes(2, 3).reshape(x.shape)

    def lower(self, params, out, x):
        return channels.take(out, x, channels.shuffled(x.channels, self.groups))


@dataclass(frozen=True)
class TakeChannels(Op):
    """Some channels, in an order.

    Attributes
    ----------
    order : tuple of int
        For every channel of the result, the input's.
    """

    order: tuple[int, ...]

    def infer(self, x):
        if not self.order or min(self.order) < 0 or max(self.order) >= x[2]:
            raise ShapeError(f"an input of {x} has not all the channels that are taken")
        return (*x[:2], len(self.order))

    def reference(self, params, x):
        return x[..., list(self.order)]

    def lower(self, params, out, x):
        return channels.take(out, x, self.order)


@dataclass(frozen=True)
class Interleave(Op):
    """The channels of two maps by turns: a concatenation shuffled in two groups."""

    def infer(self, a, b):
        height, width, channels = alike("interleave", a, b)
        return height, width, 2 * channels

    def reference(self, params, a, b):
        return np.stack([a, b], axis=3).reshape(*a.shape[:2], -1)

    def lower(self, params, out, a, b):
        return channels.interleave(out, a, b)
