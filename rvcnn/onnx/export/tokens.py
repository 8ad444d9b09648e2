"""Layers of transformers in ONNX: maps stay (N, C, H, W) from layer to layer."""

import numpy as np

from rvcnn.graph import INPUT, Node

from .writer import Writer


def layer_norm(writer: Writer, node: Node) -> None:
    """A normalisation of the last axis, between two turns."""
    name = node.name
    tensors = [writer.constant(f"{name}.{key}", node.params[key]) for key in ("weight", "bias")]
    x = writer.node("Transpose", [writer.map(node.inputs[0])], f"{name}/last", perm=[0, 2, 3, 1])
    x = writer.node("LayerNormalization", [x, *tensors], f"{name}/normal", epsilon=node.op.epsilon)
    writer.node("Transpose", [x], name, perm=[0, 3, 1, 2])


def constant_map(writer: Writer, node: Node) -> None:
    """Numbers, as often as there are images."""
    name, (height, width, channels) = node.name, writer.shapes[node.name]
    value = node.params["value"].reshape(height, width, channels).transpose(2, 0, 1)
    images = writer.node("Shape", [INPUT], f"{name}/images", start=0, end=1)
    ones = writer.constant(f"{name}/ones", [1, 1, 1])
    shape = writer.node("Concat", [images, ones], f"{name}/shape", axis=0)
    value = writer.constant(f"{name}.value", np.ascontiguousarray(value)[None])
    writer.node("Expand", [value, shape], name)


def take_pixels(writer: Writer, node: Node) -> None:
    """Pixels of rows put together, and in rows again."""
    name, op = node.name, node.op
    x = _reshaped(writer, writer.map(node.inputs[0]), f"{name}/row", [0, 0, -1])
    if op.order:
        order = writer.constant(f"{name}/order", list(op.order))
        x = writer.node("Gather", [x, order], f"{name}/taken", axis=2)
    _reshaped(writer, x, name, [0, 0, *op.size])


def concat_pixels(writer: Writer, node: Node) -> None:
    """Pixels of rows put together, of one map after the other."""
    rows = [
        _reshaped(writer, writer.map(x), f"{node.name}/row {i}", [0, 0, 1, -1])
        for i, x in enumerate(node.inputs)
    ]
    writer.node("Concat", rows, node.name, axis=3)


def attention(writer: Writer, node: Node) -> None:
    """Its two products and the softmax between them."""
    op, name = node.op, node.name
    heads = {
        key: _reshaped(writer, writer.map(x), f"{name}/{key} heads", [0, op.heads, -1, *sides])
        for key, x in zip("qkv", node.inputs, strict=True)
        for sides in [writer.shapes[x][:2]]
    }
    turns = {"q": [0, 3, 1, 4, 2], "k": [0, 3, 1, 2, 4], "v": [0, 3, 1, 4, 2]}
    q, k, v = (
        writer.node("Transpose", [heads[key]], f"{name}/{key}", perm=turn)
        for key, turn in turns.items()
    )
    scores = writer.node("MatMul", [q, k], f"{name}/products")
    scale = writer.constant(f"{name}/scale", op.scale)
    scores = writer.node("Mul", [scores, scale], f"{name}/scores")
    if op.bias:
        bias = writer.constant(f"{name}.bias", node.params["bias"].reshape(1, *op.bias))
        scores = writer.node("Add", [scores, bias], f"{name}/biased")
    shares = writer.node("Softmax", [scores], f"{name}/shares", axis=-1)
    x = writer.node("MatMul", [shares, v], f"{name}/taken")
    x = writer.node("Transpose", [x], f"{name}/turned", perm=[0, 2, 4, 1, 3])
    height, width, channels = writer.shapes[name]
    _reshaped(writer, x, name, [0, channels, height, width])


def _reshaped(writer, x, name, shape):
    return writer.node("Reshape", [x, writer.constant(f"{name}/shape", shape)], name)
