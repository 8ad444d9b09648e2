"""Problems of recurrent layers, and how far a sequence may carry its rounding."""

from typing import NamedTuple

import numpy as np
from kernels_checks import EPS, nonzero, read_only, rounding_bound
from kernels_problems import Problem, label, rng_of

from rvcnn.kernels import reference


class Near(NamedTuple):
    """Exact values, and how far off computed ones may be."""

    value: np.ndarray
    error: np.ndarray

    def plus(self, other):
        value = self.value + other.value
        error = self.error + other.error
        return Near(value, error + EPS * (np.abs(value) + error))

    def times(self, other):
        value = self.value * other.value
        size = np.abs(self.value) + self.error
        error = size * other.error + self.error * np.abs(other.value)
        return Near(value, error + EPS * (np.abs(value) + error))

    def sigmoid(self):
        """At most 1/4 as far off, and 2 ULP."""
        value = reference.sigmoid(self.value)
        return Near(value, self.error / 4 + 2 * EPS * value)

    def tanh(self):
        """At most as far off, and 4 ULP."""
        value = np.tanh(self.value)
        return Near(value, self.error + 4 * EPS * np.abs(value))

    def halves(self, count):
        """Each gate of a row of them."""
        return [Near(*both) for both in zip(*(np.split(a, count) for a in self), strict=True)]


def exact(x):
    return Near(np.asarray(x, np.float64), np.zeros(np.shape(x)))


def product(weights, h, share):
    """``share + weights @ h``."""
    weights = np.asarray(weights, np.float64)
    size = np.abs(weights) @ (np.abs(h.value) + h.error) + np.abs(share)
    error = np.abs(weights) @ h.error + rounding_bound(size, weights.shape[1])
    return Near(share + weights @ h.value, error)


def between(z, h, new):
    """``(1 - z) * new + z * h``, rounded thrice."""
    apart = np.abs(h.value - new.value) + h.error + new.error
    error = (1 - z.value) * new.error + z.value * h.error + z.error * apart
    error = error + 3 * EPS * (np.abs(h.value) + np.abs(new.value))
    return Near((1 - z.value) * new.value + z.value * h.value, error)


class Recurrent(Problem):
    """As :class:`Problem`: a layer over one sequence."""

    def _times(self):
        times = range(len(self.args[0]))
        return reversed(times) if self.options["reverse"] else times

    def _bound_lstm(self):
        gates, weights, h, c = self.args
        bound, h, c = np.zeros(self.want().shape), exact(h), exact(c)
        for t in self._times():
            i, o, f, g = product(weights, h, gates[t]).halves(4)
            c = f.sigmoid().times(c).plus(i.sigmoid().times(g.tanh()))
            h = o.sigmoid().times(c.tanh())
            bound[:, t] = h.error, c.error
        return bound

    def _bound_gru(self):
        gates, weights, bias, h = self.args
        bound, h, n = np.zeros(self.want().shape), exact(h), len(h)
        for t in self._times():
            z, r = product(weights[: 2 * n], h, gates[t, : 2 * n]).sigmoid().halves(2)
            late = product(weights[2 * n :], h, bias)
            new = r.times(late).plus(exact(gates[t, 2 * n :])).tanh()
            h = between(z, h, new)
            bound[t] = h.error
        return bound

    def without_a_unit(self, unit):
        """Answer where one unit's state reaches no gate."""
        fewer = np.array(self.args[1])
        fewer[:, unit] = 0
        args = (self.args[0], fewer, *self.args[2:])
        return getattr(reference, self.function)(*args, **self.options)


def recurrent(function, times, hidden, reverse=False):
    """A layer whose recurrent weights neither drown the input nor vanish beside it."""
    name = label(function, times, hidden, reverse=int(reverse))
    rng, count = rng_of(name), {"lstm": 4, "gru": 3}[function]
    weights = read_only(nonzero(rng, count * hidden, hidden) / hidden)
    states = nonzero(rng, 2, hidden)
    gates = nonzero(rng, times, count * hidden)
    return Recurrent(name, function, (gates, weights, *states), {"reverse": reverse})
