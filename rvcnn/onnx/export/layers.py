"""Every operator's form in ONNX, in one table."""

import math
from collections.abc import Callable

from rvcnn import ops
from rvcnn.errors import UsageError
from rvcnn.graph import Node

from . import tokens
from .writer import Writer


def _conv(writer: Writer, node: Node) -> None:
    op, name, (x, *residual) = node.op, node.name, node.inputs
    inputs = [writer.map(x), writer.constant(f"{name}.weight", node.params["weight"])]
    if op.bias:
        inputs.append(writer.constant(f"{name}.bias", node.params["bias"]))
    steps = [(activation, "act") for activation in [op.activation] if activation != "identity"]
    attributes = writer.window(op, x) | {"dilations": op.dilation, "group": op.groups}
    value = writer.node("Conv", inputs, f"{name}/conv" if steps or residual else name, **attributes)
    for activation, end in steps:
        output = f"{name}/{end}" if residual else name
        value = writer.activation(value, activation, output, op.slope)
    if residual:
        writer.node("Add", [value, writer.map(residual[0])], name)


def _linear(writer: Writer, node: Node) -> None:
    op, name = node.op, node.name
    tensors = [writer.constant(f"{name}.{key}", node.params[key]) for key in ("weight", "bias")]
    inputs = [writer.vector(node.inputs[0]), *tensors]
    fused = op.activation != "identity"
    value = writer.node("Gemm", inputs, f"{name}/gemm" if fused else name, transB=1)
    if fused:
        writer.activation(value, op.activation, name, op.slope)
    writer.flat.add(name)


def _batch_norm(writer: Writer, node: Node) -> None:
    tensors = [writer.constant(f"{node.name}.{k}", node.params[k]) for k in node.op.parameters()]
    inputs = [writer.map(node.inputs[0]), *tensors]
    writer.node("BatchNormalization", inputs, node.name, epsilon=node.op.epsilon)


def _activation(writer: Writer, node: Node) -> None:
    (x,) = node.inputs
    writer.activation(x, node.op.name, node.name, node.op.slope)
    if x in writer.flat:
        writer.flat.add(node.name)


def _max_pool(writer: Writer, node: Node) -> None:
    (x,) = node.inputs
    writer.node("MaxPool", [writer.map(x)], node.name, **writer.window(node.op, x))


def _avg_pool(writer: Writer, node: Node) -> None:
    (x,) = node.inputs
    window = writer.window(node.op, x) | {"count_include_pad": int(node.op.include_pad)}
    writer.node("AveragePool", [writer.map(x)], node.name, **window)


def _clip_curve(writer: Writer, node: Node) -> None:
    op, name, (x,) = node.op, node.name, node.inputs
    line = writer.node("Mul", [x, writer.constant(f"{name}/scale", op.scale)], f"{name}/scaled")
    line = writer.node("Add", [line, writer.constant(f"{name}/shift", op.shift)], f"{name}/line")
    bounds = [(f"{name}/low", op.low), (f"{name}/high", op.high)]
    bounds = [writer.constant(*b) if math.isfinite(b[1]) else "" for b in bounds]
    writer.node("Clip", [line, *bounds], f"{name}/gate" if op.gate else name)
    if op.gate:
        writer.node("Mul", [x, f"{name}/gate"], name)
    if x in writer.flat:
        writer.flat.add(name)


def _round_steps(writer: Writer, node: Node) -> None:
    op, name, (x,) = node.op, node.name, node.inputs
    scale = writer.constant(f"{name}/scale", op.scale)
    bounds = [writer.constant(f"{name}/{key}", float(getattr(op, key))) for key in ("low", "high")]
    steps = writer.node("Div", [x, scale], f"{name}/steps")
    steps = writer.node("Clip", [steps, *bounds], f"{name}/clipped")
    writer.node("Mul", [writer.node("Round", [steps], f"{name}/rounded"), scale], name)
    if x in writer.flat:
        writer.flat.add(name)


def _repeat(writer: Writer, node: Node) -> None:
    scales = writer.constant(f"{node.name}/scales", [1.0, 1.0, *map(float, node.op.block)])
    way = {"mode": "nearest", "nearest_mode": "floor"}
    way |= {"coordinate_transformation_mode": "asymmetric"}
    writer.node("Resize", [writer.map(node.inputs[0]), "", scales], node.name, **way)


def _bilinear(writer: Writer, node: Node) -> None:
    scales = writer.constant(f"{node.name}/scales", [1.0, 1.0, *node.op.scale])
    way = {"mode": "linear", "coordinate_transformation_mode": node.op.way}
    writer.node("Resize", [writer.map(node.inputs[0]), "", scales], node.name, **way)


def _depth_to_space(writer: Writer, node: Node) -> None:
    rows, columns = node.op.block
    if rows != columns:
        raise UsageError(f"layer {node.name}: ONNX has no blocks of {rows} x {columns} pixels")
    writer.node("DepthToSpace", [writer.map(node.inputs[0])], node.name, blocksize=rows)


def _take(writer: Writer, node: Node) -> None:
    order = writer.constant(f"{node.name}/order", node.op.order)
    writer.node("Gather", [writer.map(node.inputs[0]), order], node.name, axis=1)


def _concat(writer: Writer, node: Node) -> None:
    writer.node("Concat", [writer.map(x) for x in node.inputs], node.name, axis=1)


def _slice(writer: Writer, node: Node) -> None:
    ends = {"from": node.op.start, "to": node.op.stop, "axis": 1}
    ends = [writer.constant(f"{node.name}/{key}", [value]) for key, value in ends.items()]
    writer.node("Slice", [writer.map(node.inputs[0]), *ends], node.name)


def _crop(writer: Writer, node: Node) -> None:
    first = [before for before, _ in node.op.sides]
    last = [i + n for i, n in zip(first, writer.shapes[node.name], strict=False)]
    ends = {"from": first, "to": last, "axes": [2, 3]}
    ends = [writer.constant(f"{node.name}/{key}", value) for key, value in ends.items()]
    writer.node("Slice", [writer.map(node.inputs[0]), *ends], node.name)


def _shuffle(writer: Writer, node: Node) -> None:
    (x,) = node.inputs
    writer.shuffle(writer.map(x), node.name, node.op.groups, writer.shapes[x])


def _interleave(writer: Writer, node: Node) -> None:
    both = [writer.map(x) for x in node.inputs]
    value = writer.node("Concat", both, f"{node.name}/both", axis=1)
    writer.shuffle(value, node.name, 2, writer.shapes[node.name])


def _l2_normalize(writer: Writer, node: Node) -> None:
    writer.node("LpNormalization", [writer.vector(node.inputs[0])], node.name, axis=1, p=2)
    writer.flat.add(node.name)


def _of_maps(kind: str) -> Callable[[Writer, Node], None]:
    def emit(writer, node):
        writer.node(kind, [writer.map(x) for x in node.inputs], node.name)

    return emit


EMITTERS: dict[type[ops.Op], Callable[[Writer, Node], None]] = {
    ops.Conv2d: _conv,
    ops.Linear: _linear,
    ops.BatchNorm: _batch_norm,
    ops.Activation: _activation,
    ops.L2Normalize: _l2_normalize,
    ops.GlobalAvgPool: _of_maps("GlobalAveragePool"),
    ops.MaxPool: _max_pool,
    ops.AvgPool: _avg_pool,
    ops.ClipCurve: _clip_curve,
    ops.RoundSteps: _round_steps,
    ops.Repeat: _repeat,
    ops.Bilinear: _bilinear,
    ops.DepthToSpace: _depth_to_space,
    ops.TakeChannels: _take,
    ops.Concat: _concat,
    ops.SliceChannels: _slice,
    ops.ShuffleChannels: _shuffle,
    ops.Interleave: _interleave,
    ops.Add: _of_maps("Add"),
    ops.Multiply: _of_maps("Mul"),
    ops.ScaleChannels: _of_maps("Mul"),
    ops.Tanh: _of_maps("Tanh"),
    ops.Crop: _crop,
    ops.Attention: tokens.attention,
    ops.ConcatPixels: tokens.concat_pixels,
    ops.ConstantMap: tokens.constant_map,
    ops.LayerNorm: tokens.layer_norm,
    ops.TakePixels: tokens.take_pixels,
}
"""For every operator on float32 maps, the function that writes a node of it."""
