"""Recurrent layers: RNN, LSTM and GRU, forwards, in reverse and both ways.

LSTM and GRU as networks mostly have them run on the kernels, all others on NumPy.
"""

from collections.abc import Callable

import numpy as np

from rvcnn.errors import ShapeError

from . import activations as curves
from .base import Packing, check_size, choose, ints, operators
from .sequences import pack, run_on_kernels

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}

# Function of (x, parameters), and the defaults of its parameters alpha and beta.
_ACTIVATIONS = {
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "elu": (lambda x, a: curves.elu(x, alpha=a), (1.0,)),
    "hardsigmoid": (lambda x, a, b: curves.hard_sigmoid(x, alpha=a, beta=b), (0.2, 0.5)),
    "leakyrelu": (lambda x, a: curves.leaky_relu(x, alpha=a), (0.01,)),
    "relu": (curves.relu, ()),
    "scaledtanh": (lambda x, a, b: a * np.tanh(b * x), (1.0, 1.0)),
    "sigmoid": (curves.sigmoid, ()),
    "softplus": (curves.softplus, ()),
    "softsign": (curves.softsign, ()),
    "tanh": (np.tanh, ()),
    "thresholdedrelu": (lambda x, a: curves.thresholded_relu(x, alpha=a), (1.0,)),
}


def _curves(names, alphas, betas, defaults, directions):
    """Activation functions of each direction; parameters go to those that have some, in order."""
    names = list(names or defaults * directions)
    if len(names) == len(defaults) and directions == 2:
        names = names * 2
    alphas, betas = list(alphas or ()), list(betas or ())
    found = []
    for name in names:
        function, parameters = choose(_ACTIVATIONS, name.lower(), "activation")
        given = [
            values.pop(0) if values else default
            for values, default in zip((alphas, betas), parameters, strict=False)
        ]
        found.append(lambda x, f=function, p=tuple(given): f(x, *p).astype(x.dtype, copy=False))
    if len(found) != len(defaults) * directions:
        raise ShapeError(f"{len(found)} activations, expected {len(defaults) * directions}")
    return [found[i * len(defaults) : (i + 1) * len(defaults)] for i in range(directions)]


def _clipped(x, clip):
    return x if clip is None else np.clip(x, -clip, clip)


def _reversed(x, lengths):
    """Each sequence of (T, N, ...) in reverse, its padding left where it is."""
    at = np.arange(len(x))[:, None]
    at = np.where(at < lengths, lengths - 1 - at, at)
    return x[at, np.arange(x.shape[1])]


def _run(
    step: Callable, x: np.ndarray, states: list[np.ndarray], lengths: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Outputs (T, N, H), 0 behind a sequence's end, and the states at the ends.

    Parameters
    ----------
    step
        Function of (gates' share of the input, *states) that returns the next states, the first
        of which is the output.
    x
        (T, N, gates) that share.
    states
        (N, H) arrays.
    lengths
        (N,) lengths of the sequences.
    """
    out = np.zeros((*x.shape[:2], states[0].shape[1]), x.dtype)
    for t, gates in enumerate(x):
        alive = (t < lengths)[:, None]
        states = [
            np.where(alive, new, old) for new, old in zip(step(gates, *states), states, strict=True)
        ]
        out[t] = np.where(alive, states[0], 0)
    return out, states


def _step_by_step(make_step, x, w, r, b, lengths, initial, reverses):
    """Outputs (T, D, N, H) and the last of each state (D, N, H), on NumPy.

    `make_step` is called for each direction with its number, recurrent weights and two biases.
    """
    outs, ends = [], []
    for d, backwards in enumerate(reverses):
        inside = _reversed(x, lengths) if backwards else x
        gates = (inside.reshape(-1, x.shape[2]) @ w[d].T).reshape(*x.shape[:2], -1)
        step = make_step(d, r[d].T, *np.split(b[d], 2))
        out, end = _run(step, gates, [s[d] for s in initial], lengths)
        outs.append(_reversed(out, lengths) if backwards else out)
        ends.append(end)
    return np.stack(outs, 1), [np.stack(state) for state in zip(*ends, strict=True)]


def _layer(make_step, count, x, w, r, b, lengths, initial, direction, layout, packed=None):
    """All directions of a layer of `count` gates: outputs and last states.

    On the kernels, with weights that may be packed, where there is no `make_step`.
    """
    reverses = choose(_DIRECTIONS, direction, "direction")
    if layout:
        x = x.swapaxes(0, 1)
        initial = [None if s is None else s.swapaxes(0, 1) for s in initial]
    hidden, directions = r.shape[-1], len(reverses)
    wanted = (directions, count * hidden, x.shape[2])
    if x.ndim != 3 or w.shape != wanted or r.shape != (*wanted[:2], hidden):
        raise ShapeError(f"weights {w.shape} and {r.shape} do not fit an input of {x.shape}")
    check_size((*x.shape[:2], directions, count * hidden), x.dtype)
    lengths = np.full(x.shape[1], len(x)) if lengths is None else np.asarray(ints(lengths))
    b = np.zeros((directions, 2 * count * hidden), x.dtype) if b is None else b
    start = np.zeros((directions, x.shape[1], hidden), x.dtype)
    initial = [start if s is None else s for s in initial]
    if b.shape != (directions, 2 * count * hidden) or any(s.shape != start.shape for s in initial):
        shapes = ", ".join(str(a.shape) for a in (b, *initial))
        raise ShapeError(f"biases and states {shapes} do not fit weights {r.shape}")
    if lengths.shape != x.shape[1:2] or not ((lengths >= 0) & (lengths <= len(x))).all():
        raise ShapeError(f"lengths {lengths} do not fit an input of {x.shape}")
    if make_step is None:
        y, ends = run_on_kernels(packed or pack(w, r, b), x, lengths, initial, reverses)
    else:
        y, ends = _step_by_step(make_step, x, w, r, b, lengths, initial, reverses)
    if layout:
        return y.transpose(2, 0, 1, 3), *(s.swapaxes(0, 1) for s in ends)
    return y, *ends


def _is_usual(x, activations, defaults):
    """Whether a layer has the type and the activations of the kernels."""
    names = [name.lower() for name in activations or defaults]
    return x.dtype == np.float32 and names in (defaults, defaults * 2)


def rnn(
    x,
    w,
    r,
    b=None,
    lengths=None,
    initial_h=None,
    *,
    hidden_size=None,
    direction="forward",
    activations=None,
    activation_alpha=None,
    activation_beta=None,
    clip=None,
    layout=0,
):
    """``h = f(x W + h R + b)``: outputs and the last state."""
    directions = len(choose(_DIRECTIONS, direction, "direction"))
    found = _curves(activations, activation_alpha, activation_beta, ["tanh"], directions)

    def make_step(d, r, bias, recurrent_bias):
        (f,) = found[d]

        def step(gates, h):
            return (f(_clipped(gates + h @ r + (bias + recurrent_bias), clip)),)

        return step

    return _layer(make_step, 1, x, w, r, b, lengths, [initial_h], direction, layout)


def lstm(
    x,
    w,
    r,
    b=None,
    lengths=None,
    initial_h=None,
    initial_c=None,
    peepholes=None,
    *,
    hidden_size=None,
    direction="forward",
    activations=None,
    activation_alpha=None,
    activation_beta=None,
    clip=None,
    input_forget=0,
    layout=0,
    packed=None,
):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997): outputs, last state and cell.

    Gates lie in the order input, output, forget, cell; peepholes in input, output, forget.
    """
    directions = len(choose(_DIRECTIONS, direction, "direction"))
    defaults = ["sigmoid", "tanh", "tanh"]
    found = _curves(activations, activation_alpha, activation_beta, defaults, directions)
    usual = clip is None and peepholes is None and not input_forget
    usual = usual and _is_usual(x, activations, defaults)
    none = np.zeros((directions, 3 * r.shape[-1]), x.dtype)
    peepholes = none if peepholes is None else peepholes

    def make_step(d, r, bias, recurrent_bias):
        f, g, h_curve = found[d]
        p_input, p_output, p_forget = np.split(peepholes[d], 3)

        def step(gates, h, c):
            i, o, forget, new = np.split(gates + h @ r + (bias + recurrent_bias), 4, axis=1)
            i = f(_clipped(i + p_input * c, clip))
            forget = 1 - i if input_forget else f(_clipped(forget + p_forget * c, clip))
            c = forget * c + i * g(_clipped(new, clip))
            return f(_clipped(o + p_output * c, clip)) * h_curve(c), c

        return step

    make_step = None if usual else make_step
    states = [initial_h, initial_c]
    return _layer(make_step, 4, x, w, r, b, lengths, states, direction, layout, packed)


def gru(
    x,
    w,
    r,
    b=None,
    lengths=None,
    initial_h=None,
    *,
    hidden_size=None,
    direction="forward",
    activations=None,
    activation_alpha=None,
    activation_beta=None,
    clip=None,
    layout=0,
    linear_before_reset=0,
    packed=None,
):
    """Gated recurrent unit (Cho et al., 2014): outputs and the last state.

    Gates lie in the order update, reset, hidden. With `linear_before_reset` the reset gate acts
    behind the product with the recurrent weights.
    """
    directions = len(choose(_DIRECTIONS, direction, "direction"))
    defaults = ["sigmoid", "tanh"]
    found = _curves(activations, activation_alpha, activation_beta, defaults, directions)

    def make_step(d, r, bias, recurrent_bias):
        f, g = found[d]
        n = 2 * len(r)

        def step(gates, h):
            both = bias[:n] + recurrent_bias[:n]
            update, reset = np.split(
                f(_clipped(gates[:, :n] + h @ r[:, :n] + both, clip)), 2, axis=1
            )
            if linear_before_reset:
                past = reset * (h @ r[:, n:] + recurrent_bias[n:])
            else:
                past = (reset * h) @ r[:, n:] + recurrent_bias[n:]
            new = g(_clipped(gates[:, n:] + bias[n:] + past, clip))
            return ((1 - update) * new + update * h,)

        return step

    usual = clip is None and linear_before_reset and _is_usual(x, activations, defaults)
    make_step = None if usual else make_step
    return _layer(make_step, 3, x, w, r, b, lengths, [initial_h], direction, layout, packed)


_PACKING = Packing((1, 2, 3), pack)

OPERATORS = operators(
    {"GRU": gru, "LSTM": lstm, "RNN": rnn},
    widen=True,
    packing={"GRU": _PACKING, "LSTM": _PACKING},
)
