"""A graph of rvcnn's in PyTorch: one functional call a node."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from rvcnn import ops
from rvcnn.graph import INPUT, Graph

ACTIVATIONS: dict[str, Callable] = {
    "identity": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "hard_sigmoid": F.hardsigmoid,
    "hard_swish": F.hardswish,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
}


def _activation_of(name: str, slope: float) -> Callable:
    if name == "leaky_relu":
        return lambda x: F.leaky_relu(x, slope)
    return ACTIVATIONS[name]


def _conv(op, params, shape) -> Callable:
    weight, bias = params["weight"], params.get("bias")
    (top, bottom), (left, right) = op.border(shape)
    act = _activation_of(op.activation, op.slope)
    symmetric = top == bottom and left == right
    padding = (top, left) if symmetric else 0

    def run(x, *residual):
        if not symmetric:
            x = F.pad(x, (left, right, top, bottom))
        y = act(F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups))
        return y + residual[0] if residual else y

    return run


def _linear(op, params, shape) -> Callable:
    act = _activation_of(op.activation, op.slope)
    return lambda x: act(F.linear(x.flatten(1), params["weight"], params["bias"]))


def _batch_norm(op, params, shape) -> Callable:
    p = params
    return lambda x: F.batch_norm(
        x, p["running_mean"], p["running_var"], p["weight"], p["bias"], eps=op.epsilon
    )


def _max_pool(op, params, shape) -> Callable:
    window = op.window(shape)
    (top, bottom), (left, right) = window.padding

    def run(x):
        x = F.pad(x, (left, right, top, bottom), value=-float("inf"))
        return F.max_pool2d(x, window.kernel, window.stride)

    return run


MAKERS: dict[type, Callable] = {
    ops.Conv2d: _conv,
    ops.Linear: _linear,
    ops.BatchNorm: _batch_norm,
    ops.Activation: lambda op, params, shape: _activation_of(op.name, op.slope),
    ops.MaxPool: _max_pool,
    ops.Concat: lambda op, params, shape: lambda *maps: torch.cat(maps, 1),
    ops.SliceChannels: lambda op, params, shape: lambda x: x[:, op.start : op.stop],
    ops.ShuffleChannels: lambda op, params, shape: lambda x: torch.channel_shuffle(x, op.groups),
    ops.Add: lambda op, params, shape: torch.add,
    ops.ScaleChannels: lambda op, params, shape: torch.mul,
    ops.GlobalAvgPool: lambda op, params, shape: lambda x: F.adaptive_avg_pool2d(x, 1),
    ops.L2Normalize: lambda op, params, shape: lambda x: F.normalize(x.flatten(1)),
}
"""For every operator of the graph, what makes the function that computes it."""


def network(graph: Graph, input_shape: tuple) -> Callable:
    """A function from (N, 3, H, W) to (N, D) tensors.

    Parameters
    ----------
    graph : Graph
        Bound to its weights, with one output.
    input_shape : tuple of int
        (H, W, 3): padding that depends on the size is fixed for this one.
    """
    shapes = graph.shapes(input_shape)
    steps = []
    for node in graph.nodes:
        params = {k: _tensor(v) for k, v in node.params.items()}
        make = MAKERS[type(node.op)]
        steps.append((make(node.op, params, shapes[node.inputs[0]]), node.inputs, node.name))
    (last,) = graph.outputs

    def run(x):
        values = {INPUT: x}
        for function, inputs, name in steps:
            values[name] = function(*(values[i] for i in inputs))
        return values[last].flatten(1)

    return run


def _tensor(array: np.ndarray) -> torch.Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
