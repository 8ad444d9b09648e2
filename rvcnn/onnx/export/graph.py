"""A graph with weights, written in ONNX's operators."""

from collections.abc import Mapping
from types import MappingProxyType

from onnx import ModelProto, TensorProto, checker, helper

from rvcnn.errors import UsageError
from rvcnn.graph import INPUT, Graph
from rvcnn.images import Preprocess

from .layers import EMITTERS
from .pixels import PIXELS, write_pixels
from .writer import Writer

OPSET, IR_VERSION = 18, 8
"""What files are written in: the first opset whose Resize has Pillow's antialiased filters."""

BATCH = "N"
"""Name of the side that is the number of images, where it is open."""


def to_onnx(
    graph: Graph,
    input_shape: tuple[int, int, int],
    *,
    any_size: bool = False,
    batch: int | None = None,
    pixels: Preprocess | None = None,
    resize: bool = False,
    output: str = "embedding",
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> ModelProto:
    """Return a graph with weights as an ONNX model.

    Parameters
    ----------
    graph : Graph
        Bound to float32 weights, with one output; with or without rvcnn's passes.
    input_shape : tuple of int
        (H, W, 3). Unless ``any_size``, the only one that the model takes.
    any_size : bool
    batch : int, optional
        Number of images; open by default.
    pixels : Preprocess, optional
        Normalise bytes as this says; see :func:`export_onnx`.
    resize : bool
        Also resize and crop them.
    output : str
        Its name; "probabilities" asks for softmax.
    metadata : mapping of str to str

    Raises
    ------
    UsageError
        Naming a layer that ONNX files are not written with.
    """
    shapes = graph.shapes(input_shape)
    writer = Writer(shapes, any_size)
    if pixels:
        write_pixels(writer, pixels, resize)
    for node in graph.nodes:
        if type(node.op) not in EMITTERS:
            raise UsageError(f"layer {node.name}: {type(node.op).__name__} is not written as ONNX")
        EMITTERS[type(node.op)](writer, node)
    (last,) = graph.outputs
    if output == "probabilities":
        writer.node("Softmax", [writer.vector(last)], output, axis=1)
    else:
        writer.node("Identity", [writer.vector(last)], output)
    batch = BATCH if batch is None else batch
    height, width, channels = input_shape
    if any_size or resize:
        height, width = "H", "W"
    shape = [batch, height, width, channels] if pixels else [batch, channels, height, width]
    kind = TensorProto.UINT8 if pixels else TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            "rvcnn",
            [helper.make_tensor_value_info(PIXELS if pixels else INPUT, kind, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, shapes[last][2]])],
            writer.tensors,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="rvcnn",
    )
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model)
    return model
