"""Preprocessing as ONNX nodes: from an image's bytes to the network's input."""

import numpy as np
from onnx import TensorProto

from rvcnn.errors import UsageError
from rvcnn.graph import INPUT
from rvcnn.images import Preprocess

from .writer import Writer

PIXELS = "pixels"
"""Name of the input of bytes, (N, H, W, 3) in the order red, green, blue."""

RESIZES = {
    "bilinear": {"mode": "linear", "antialias": 1},
    "bicubic": {"mode": "cubic", "antialias": 1, "cubic_coeff_a": -0.5, "exclude_outside": 1},
}
"""Attributes of Resize that mean Pillow's filters."""


def write_pixels(writer: Writer, settings: Preprocess, resize: bool) -> None:
    """Write what comes before the network: from ``PIXELS`` to ``INPUT``.

    Parameters
    ----------
    writer : Writer
    settings : Preprocess
    resize : bool
        Also resize the shorter side and crop the centre.
    """
    x = writer.node("Transpose", [PIXELS], f"{PIXELS}/planes", perm=[0, 3, 1, 2])
    if resize:
        sizes = _sizes(writer, settings.resize)
        x = _cropped(writer, _resized(writer, x, sizes, settings), sizes, settings.crop)
    if settings.channel_order == "bgr":
        order = writer.constant(f"{PIXELS}/bgr", [2, 1, 0])
        x = writer.node("Gather", [x, order], f"{PIXELS}/turned", axis=1)
    x = writer.node("Cast", [x], f"{PIXELS}/float", to=TensorProto.FLOAT)
    std, mean = np.asarray(settings.std), np.asarray(settings.mean)
    scale = writer.constant(f"{PIXELS}/scale", (1 / (255 * std)).reshape(1, 3, 1, 1))
    shift = writer.constant(f"{PIXELS}/shift", (-mean / std).reshape(1, 3, 1, 1))
    x = writer.node("Mul", [x, scale], f"{PIXELS}/scaled")
    writer.node("Add", [x, shift], INPUT)


def _sizes(writer, shorter):
    """(H, W) with the shorter side as asked; rounded as Python's ``round`` does, in float64."""
    name = f"{PIXELS}/sizes"
    sides = writer.node("Shape", [PIXELS], f"{name}/from", start=1, end=3)
    sides = writer.node("Cast", [sides], f"{name}/sides", to=TensorProto.DOUBLE)
    least = writer.node("ReduceMin", [sides], f"{name}/least", keepdims=1)
    scale = writer.node("Div", [writer.double(f"{name}/wanted", shorter), least], f"{name}/scale")
    sides = writer.node("Mul", [sides, scale], f"{name}/scaled")
    sides = writer.node("Round", [sides], f"{name}/rounded")
    return writer.node("Cast", [sides], name, to=TensorProto.INT64)


def _resized(writer, x, sizes, settings):
    if settings.interpolation not in RESIZES:
        raise UsageError(
            f"ONNX has no {settings.interpolation} resize like Pillow's, only "
            f"{', '.join(RESIZES)}: write the network for images that are resized already"
        )
    name = f"{PIXELS}/resized"
    batch = writer.node("Shape", [PIXELS], f"{name}/batch", start=0, end=1)
    sides = [batch, writer.constant(f"{name}/channels", [3]), sizes]
    shape = writer.node("Concat", sides, f"{name}/shape", axis=0)
    return writer.node("Resize", [x, "", "", shape], name, **RESIZES[settings.interpolation])


def _cropped(writer, x, sizes, crop):
    """The middle square; an odd pixel more is below and right of it."""
    name = f"{PIXELS}/crop"
    side, two = writer.constant(f"{name}/side", [crop]), writer.constant(f"{name}/two", [2])
    axes = writer.constant(f"{name}/axes", [2, 3])
    more = writer.node("Sub", [sizes, side], f"{name}/more")
    start = writer.node("Div", [more, two], f"{name}/start")
    stop = writer.node("Add", [start, side], f"{name}/stop")
    return writer.node("Slice", [x, start, stop, axes], name)
