"""Write a graph of rvcnn's as an ONNX file: the same network for the engines that read those.

python benchmarks/export_onnx.py WEIGHTS.safetensors NETWORK.onnx --output embedding
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import networks
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rvcnn import ops
from rvcnn.graph import INPUT, Graph
from rvcnn.passes.fold_batch_norm import fold_batch_norm

OPSET, IR_VERSION = 17, 8
OUTPUT = "output"

ACTIVATIONS = {
    "relu": ("Relu", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": ("HardSwish", {}),
    "sigmoid": ("Sigmoid", {}),
}
"""Operator and attributes; relu6, silu and leaky_relu have more to say."""


class Writer:
    """Collects ONNX nodes; its methods return the name of the value they make."""

    def __init__(self, shapes: dict) -> None:
        self.shapes = shapes
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self.flat: dict[str, str] = {}

    def constant(self, name: str, array: np.ndarray) -> str:
        """A named tensor; float64 becomes float32."""
        self.tensors.append(numpy_helper.from_array(np.asarray(array, np.float32), name))
        return name

    def integers(self, name: str, *values: int) -> str:
        """A named vector of integers."""
        self.tensors.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        """One node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def vector(self, name: str) -> str:
        """A (1, C, 1, 1) value as (1, C), flattened at most once."""
        if name not in self.flat:
            self.flat[name] = self.node("Flatten", [name], f"{name}/flat", axis=1)
        return self.flat[name]

    def activation(self, x: str, activation: str, output: str, slope: float) -> str:
        """An activation by rvcnn's name."""
        if activation == "leaky_relu":
            return self.node("LeakyRelu", [x], output, alpha=slope)
        if activation == "relu6":
            bounds = [self.constant(f"{output}/{b}", np.float32(b)) for b in (0, 6)]
            return self.node("Clip", [x, *bounds], output)
        if activation == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x], f"{output}/gate")], output)
        kind, attributes = ACTIVATIONS[activation]
        return self.node(kind, [x], output, **attributes)


def _conv(writer: Writer, node, name: str) -> None:
    op, (x, *residual) = node.op, node.inputs
    (top, bottom), (left, right) = op.border(writer.shapes[x])
    steps = [activation for activation in [op.activation] if activation != "identity"]
    after = [*steps, *residual]
    inputs = [x, writer.constant(f"{name}.weight", node.params["weight"])]
    if op.bias:
        inputs.append(writer.constant(f"{name}.bias", node.params["bias"]))
    value = writer.node(
        "Conv",
        inputs,
        f"{name}/conv" if after else name,
        kernel_shape=op.kernel,
        strides=op.stride,
        dilations=op.dilation,
        group=op.groups,
        pads=[top, left, bottom, right],
    )
    if steps:
        value = writer.activation(
            value, op.activation, f"{name}/act" if residual else name, op.slope
        )
    if residual:
        writer.node("Add", [value, *residual], name)


def _linear(writer: Writer, node, name: str) -> None:
    tensors = [writer.constant(f"{name}.{k}", node.params[k]) for k in ("weight", "bias")]
    fused = node.op.activation != "identity"
    inputs = [writer.vector(node.inputs[0]), *tensors]
    value = writer.node("Gemm", inputs, f"{name}/gemm" if fused else name, transB=1)
    if fused:
        writer.activation(value, node.op.activation, name, node.op.slope)
    writer.flat[name] = name


def _batch_norm(writer: Writer, node, name: str) -> None:
    tensors = [writer.constant(f"{name}.{k}", node.params[k]) for k in node.op.parameters()]
    inputs = [*node.inputs, *tensors]
    writer.node("BatchNormalization", inputs, name, epsilon=node.op.epsilon)


def _activation(writer: Writer, node, name: str) -> None:
    (x,) = node.inputs
    writer.activation(x, node.op.name, name, node.op.slope)
    if writer.flat.get(x) == x:
        writer.flat[name] = name


def _max_pool(writer: Writer, node, name: str) -> None:
    window = node.op.window(writer.shapes[node.inputs[0]])
    (top, bottom), (left, right) = window.padding
    pads = [top, left, bottom, right]
    sizes = dict(kernel_shape=window.kernel, strides=window.stride, pads=pads)
    writer.node("MaxPool", list(node.inputs), name, **sizes)


def _concat(writer: Writer, node, name: str) -> None:
    writer.node("Concat", list(node.inputs), name, axis=1)


def _slice(writer: Writer, node, name: str) -> None:
    ends = [(k, v) for k, v in (("from", node.op.start), ("to", node.op.stop), ("axis", 1))]
    ends = [writer.integers(f"{name}/{k}", v) for k, v in ends]
    writer.node("Slice", [*node.inputs, *ends], name)


def _shuffle(writer: Writer, node, name: str) -> None:
    """As PyTorch exports it: a reshape, a transposition, a reshape."""
    height, width, channels = writer.shapes[name]
    groups = node.op.groups
    apart = writer.integers(f"{name}/apart", 1, groups, channels // groups, height, width)
    together = writer.integers(f"{name}/together", 1, channels, height, width)
    value = writer.node("Reshape", [*node.inputs, apart], f"{name}/groups")
    value = writer.node("Transpose", [value], f"{name}/turned", perm=[0, 2, 1, 3, 4])
    writer.node("Reshape", [value, together], name)


def _l2_normalize(writer: Writer, node, name: str) -> None:
    x = writer.vector(node.inputs[0])
    writer.flat[name] = writer.node("LpNormalization", [x], name, axis=1, p=2)


def _simple(kind: str) -> Callable:
    return lambda writer, node, name: writer.node(kind, list(node.inputs), name)


EMITTERS: dict[type, Callable] = {
    ops.Conv2d: _conv,
    ops.Linear: _linear,
    ops.BatchNorm: _batch_norm,
    ops.Activation: _activation,
    ops.L2Normalize: _l2_normalize,
    ops.GlobalAvgPool: _simple("GlobalAveragePool"),
    ops.MaxPool: _max_pool,
    ops.Concat: _concat,
    ops.SliceChannels: _slice,
    ops.ShuffleChannels: _shuffle,
    ops.Add: _simple("Add"),
    ops.ScaleChannels: _simple("Mul"),
}
"""For every operator of the graph, the function that writes it."""


def to_onnx(graph: Graph, input_shape: tuple, fold: bool = True) -> onnx.ModelProto:
    """A graph with weights as an ONNX model for one image.

    Parameters
    ----------
    graph : Graph
        Bound to its weights, with one output; with or without rvcnn's passes.
    input_shape : tuple of int
        (H, W, 3). Padding that depends on the size is written out for this one.
    fold : bool
        Fold BatchNorm into the convolutions first.

    Returns
    -------
    ModelProto
        Input "input" (1, 3, H, W), output "output" (1, D).
    """
    graph = fold_batch_norm(graph) if fold else graph
    shapes = graph.shapes(input_shape)
    writer = Writer(shapes)
    for node in graph.nodes:
        EMITTERS[type(node.op)](writer, node, node.name)
    (last,) = graph.outputs
    writer.node("Identity", [writer.vector(last)], OUTPUT)
    h, w, c = input_shape
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            "rvcnn",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, c, h, w])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, shapes[last][2]])],
            writer.tensors,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rvcnn",
    )
    onnx.checker.check_model(model)
    return model


def main() -> None:
    """Export a weights file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="safetensors file")
    parser.add_argument("onnx", type=Path, help="file to write")
    parser.add_argument("--output", choices=["logits", "embedding"], default="logits")
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--no-fold", action="store_true", help="keep BatchNorm as nodes")
    given = parser.parse_args()
    graph = networks.load(given.weights, given.output).graph
    size = given.input_size
    onnx.save(to_onnx(graph, (size, size, 3), not given.no_fold), given.onnx)


if __name__ == "__main__":
    main()
