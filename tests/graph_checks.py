"""How the engine's tests build graphs, run them in float64, and judge what a plan computes."""

from dataclasses import replace

import numpy as np
from kernels_checks import EPS, assert_within, rounding_bound
from kernels_problems import STEEPEST, activation_bound, bilinear_bound
from kernels_winograd import rounding as winograd_rounding

from rvcnn import ops
from rvcnn.graph import INPUT, Graph, Node
from rvcnn.kernels import BARRIER, conv, reference
from rvcnn.models import MobileNetConfig, mobilenetv3
from rvcnn.plan import Plan


def layers(*rows, outputs=None):
    """Make a graph of rows (name, op, input names...); the last layer is the output if none is."""
    nodes = tuple(Node(name, op, tuple(inputs) or (INPUT,)) for name, op, *inputs in rows)
    return Graph(nodes, tuple(outputs or [nodes[-1].name]))


def random_tensors(graph, seed=0):
    """Draw every parameter; batch normalisation's statistics are anything but the identity."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for key, shape in graph.parameters().items():
        if key.endswith("running_var"):
            values = rng.uniform(0.3, 3.0, shape)
        elif len(shape) == 1 and key.endswith(".weight"):
            values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        elif len(shape) == 1:
            values = rng.standard_normal(shape) * 0.3
        else:
            values = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        tensors[key] = values.astype(np.float32)
    return tensors


def bound_to_random(graph, seed=0):
    """Return the graph with random parameters."""
    return graph.bind(random_tensors(graph, seed))


def image(seed, *shape):
    """Draw a float32 input."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(variant="small", **options):
    """Make a MobileNetV3 with random parameters, its embedding at unit length."""
    graph = bound_to_random(mobilenetv3(MobileNetConfig(variant, **options)))
    return graph.followed_by("unit", ops.L2Normalize())


def bordered():
    """Make layers whose maps carry borders, in a graph where buffers are handed on."""
    depthwise = ops.Conv2d(8, 8, (5, 5), padding="same", groups=8)
    return bound_to_random(
        layers(
            ("a", ops.Conv2d(3, 8, (3, 3), (2, 2), "same")),
            ("b", depthwise, "a"),
            ("n", ops.BatchNorm(8, 1e-3), "b"),
            ("s", ops.Add(), "n", "a"),
            ("c", ops.Conv2d(8, 8, (3, 3), padding=((0, 3), (2, 0))), "s"),
            ("g", ops.GlobalAvgPool(), "c"),
            ("x", ops.ScaleChannels(), "c", "g"),
            ("d", depthwise, "x"),
            ("e", ops.Activation("silu"), "d"),
            outputs=["e", "g"],
        )
    )


def residual():
    """Make layers of 3x3 convolutions as residual networks have them; one before a depthwise."""
    padding = ((1, 1), (1, 1))
    dense = ops.Conv2d(40, 40, (3, 3), padding=padding, activation="relu")
    added = ops.Conv2d(40, 40, (3, 3), padding=padding, bias=True, residual=True)
    return bound_to_random(
        layers(
            ("stem", ops.Conv2d(3, 40, (1, 1), activation="hard_swish")),
            ("a", dense, "stem"),
            ("b", added, "a", "stem"),
            ("c", ops.Conv2d(40, 24, (3, 3), padding="same", activation="silu"), "b"),
            ("d", ops.Conv2d(24, 40, (3, 3), padding=((2, 0), (0, 1)), bias=True), "c"),
            ("e", ops.Conv2d(40, 40, (3, 3), padding="same", groups=40), "d"),
            ("f", dense, "e"),
            ("g", ops.GlobalAvgPool(), "f"),
            outputs=["g", "b"],
        )
    )


def run_reference(graph, x):
    """Compute every layer in float64: {name: map}."""
    values = {INPUT: np.asarray(x, np.float64)}
    for node in graph.nodes:
        values[node.name] = node.op.reference(node.params, *(values[i] for i in node.inputs))
    return values


def run_plan(graph, x):
    """Compute the graph's outputs by a plan made for this input."""
    return Plan(graph, x.shape).run(x)


def calls_of(plan):
    """Return the kernel calls of a plan's program, without the barriers."""
    return [call for call in plan.calls() if call is not BARRIER]


def with_all_outputs(graph):
    """Return the graph with every layer an output, so that nothing is overwritten."""
    return replace(graph, outputs=tuple(node.name for node in graph.nodes))


def assert_every_layer(graph, x):
    """Fail unless each layer, given what the plan itself fed it, is its reference to rounding.

    Returns the plan's results by name.
    """
    plan = Plan(with_all_outputs(graph), x.shape)
    results = dict(zip((n.name for n in graph.nodes), plan.run(x), strict=True))
    results[INPUT] = x
    for node in graph.nodes:
        inputs = [results[i].astype(np.float64) for i in node.inputs]
        want = node.op.reference(node.params, *inputs)
        bound = error_bound(node, inputs, want)
        assert_within(results[node.name], want, bound, f"{node.name} {node.op}")
    return results


def error_bound(node, inputs, want):
    """How far float32 arithmetic may be off, output by output, from the operation's terms."""
    return _BOUNDS[type(node.op)](node.op, node.params, inputs, want)


def _rounding(op, params, x):
    """How far a convolution or product may be off before its activation."""
    weight = params["weight"]
    if isinstance(op, ops.Conv2d):
        window = op.window(x.shape)
        size = window.out_size(*x.shape[:2])
        if conv.is_winograd(size, weight.shape, window, op.groups):
            bias = params.get("bias", np.zeros(op.out_channels))
            return winograd_rounding(x, weight.transpose(0, 2, 3, 1), bias, window.padding, 4)
    magnitude = op.reference({k: np.abs(v) for k, v in params.items()}, np.abs(x))
    return rounding_bound(magnitude, weight[0].size)


def _products(op, params, inputs, want):
    plain = replace(op, activation="identity")
    if isinstance(op, ops.Conv2d):
        plain = replace(plain, residual=False, sum_first=False)
    x, *residual = inputs
    before, rounding = plain.reference(params, x), _rounding(plain, params, x)
    if getattr(op, "sum_first", False):
        before = before + residual.pop()
        rounding = rounding + EPS * np.abs(before)
    error = STEEPEST[op.activation] * rounding
    error += activation_bound(before, op.activation)
    last = np.abs(want) + sum(np.abs(want - r) for r in residual)
    return error + EPS * last


def _interleaved_products(op, params, inputs, want):
    error = _products(op.conv, params, inputs[:1], want[..., 1::2])
    return reference.interleave(np.zeros_like(error), error)


def _activation(op, params, inputs, want):
    return activation_bound(inputs[0], op.name) + EPS * np.abs(want)


def _batch_norm(op, params, inputs, want):
    deviation = np.sqrt(params["running_var"].astype(np.float64) + op.epsilon)
    size = np.abs(inputs[0]) + np.abs(params["running_mean"])
    return 4 * EPS * (size * np.abs(params["weight"]) / deviation + np.abs(params["bias"]))


def _one_rounding(op, params, inputs, want):
    return EPS * np.abs(want)


def _exact(op, params, inputs, want):
    return np.zeros_like(want)


def _mean(op, params, inputs, want):
    size = reference.global_avg_pool(np.abs(inputs[0])).reshape(want.shape)
    return rounding_bound(size, inputs[0][..., 0].size)


def _window_mean(op, params, inputs, want):
    taps = np.prod(op.kernel)
    return rounding_bound(op.reference(params, np.abs(inputs[0])), taps)


def _clip_curve(op, params, inputs, want):
    size = np.abs(inputs[0])
    line = 3 * EPS * (abs(op.scale) * size + abs(op.shift))
    return (line * size if op.gate else line) + EPS * np.abs(want)


def _bilinear(op, params, inputs, want):
    return bilinear_bound(inputs[0], *op.places(inputs[0].shape, want.shape))


def _length(op, params, inputs, want):
    return rounding_bound(np.abs(want), want.size)


def _tanh(op, params, inputs, want):
    return 8 * EPS * np.abs(want)


_BOUNDS = {
    ops.Conv2d: _products,
    ops.InterleavedConv2d: _interleaved_products,
    ops.Linear: _products,
    ops.Activation: _activation,
    ops.BatchNorm: _batch_norm,
    ops.Add: _one_rounding,
    ops.Multiply: _one_rounding,
    ops.ScaleChannels: _one_rounding,
    ops.Tanh: _tanh,
    ops.GlobalAvgPool: _mean,
    ops.AvgPool: _window_mean,
    ops.ClipCurve: _clip_curve,
    **dict.fromkeys(
        (ops.Concat, ops.Interleave, ops.MaxPool, ops.ShuffleChannels, ops.SliceChannels), _exact
    ),
    **dict.fromkeys((ops.Crop, ops.DepthToSpace, ops.Repeat, ops.TakeChannels), _exact),
    ops.Bilinear: _bilinear,
    ops.L2Normalize: _length,
}
