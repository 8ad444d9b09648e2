"""Collects the nodes and tensors of an ONNX graph."""

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from rvcnn.ops.base import NO_BORDER, Shape

ACTIVATIONS = {
    "identity": ("Identity", {}),
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "hard_swish": ("HardSwish", {}),
}
"""Operator and attributes of the activations that are one; the others have more to say."""


class Writer:
    """Collects ONNX nodes; its methods return the name of the value they make.

    A layer's result has the layer's name: (N, C, H, W), or (N, C) where the layer is in ``flat``.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        (H, W, C) of every layer's result.
    any_size : bool
        Whether the network is written for images of every size; else for that of ``shapes``.
    """

    def __init__(self, shapes: Mapping[str, Shape], any_size: bool) -> None:
        self.shapes = shapes
        self.any_size = any_size
        self.flat: set[str] = set()
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self._turned: dict[str, str] = {}

    def constant(self, name: str, array) -> str:
        """A named tensor: float64 becomes float32, integers int64."""
        array = np.asarray(array)
        array = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        self.tensors.append(numpy_helper.from_array(array, name))
        return name

    def double(self, name: str, *values: float) -> str:
        """A named vector of float64."""
        self.tensors.append(numpy_helper.from_array(np.array(values, np.float64), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes) -> str:
        """One node with one output."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def vector(self, layer: str) -> str:
        """A layer's result as (N, C)."""
        if layer in self.flat:
            return layer
        if layer not in self._turned:
            self._turned[layer] = self.node("Flatten", [layer], f"{layer}/flat", axis=1)
        return self._turned[layer]

    def map(self, layer: str) -> str:
        """A layer's result as (N, C, H, W)."""
        if layer not in self.flat:
            return layer
        if layer not in self._turned:
            axes = self.constant(f"{layer}/axes", [2, 3])
            self._turned[layer] = self.node("Unsqueeze", [layer, axes], f"{layer}/map")
        return self._turned[layer]

    def activation(self, x: str, activation: str, output: str, slope: float) -> str:
        """An activation by rvcnn's name."""
        if activation == "leaky_relu":
            return self.node("LeakyRelu", [x], output, alpha=slope)
        if activation == "relu6":
            bounds = [self.constant(f"{output}/{bound}", float(bound)) for bound in (0, 6)]
            return self.node("Clip", [x, *bounds], output)
        if activation == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x], f"{output}/gate")], output)
        if "gelu" in activation:
            return self._gelu(x, activation, output)
        kind, attributes = ACTIVATIONS[activation]
        return self.node(kind, [x], output, **attributes)

    def _gelu(self, x: str, activation: str, output: str) -> str:
        """One of the three in the operators of older opsets."""

        def times(value, factor, end):
            factor = self.constant(f"{output}/{end} factor", factor)
            return self.node("Mul", [value, factor], f"{output}/{end}")

        if activation == "quick_gelu":
            share = self.node("Sigmoid", [times(x, 1.702, "steep")], f"{output}/share")
            return self.node("Mul", [x, share], output)
        if activation == "gelu":
            curve = self.node("Erf", [times(x, 0.5**0.5, "scaled")], f"{output}/curve")
        else:
            square = self.node("Mul", [x, x], f"{output}/square")
            cube = times(self.node("Mul", [square, x], f"{output}/cube"), 0.044715, "part")
            inner = self.node("Add", [x, cube], f"{output}/inner")
            inner = times(inner, (2 / np.pi) ** 0.5, "scaled")
            curve = self.node("Tanh", [inner], f"{output}/curve")
        one = self.constant(f"{output}/one", 1.0)
        share = self.node("Add", [curve, one], f"{output}/share")
        return self.node("Mul", [times(x, 0.5, "half"), share], output)

    def window(self, op, layer: str) -> dict:
        """Attributes of a convolution's or pooling's window over a layer's map.

        Padding that depends on the image's size is left to ONNX's own rule where every size is
        meant.
        """
        window = op.window(self.shapes[layer])
        attributes = {"kernel_shape": window.kernel, "strides": window.stride}
        if op.padding == "same" and self.any_size and window.stride != (1, 1):
            return attributes | {"auto_pad": "SAME_UPPER"}
        if window.padding == NO_BORDER:
            return attributes
        (top, bottom), (left, right) = window.padding
        return attributes | {"pads": [top, left, bottom, right]}

    def shuffle(self, x: str, name: str, groups: int, shape: Shape) -> str:
        """The channels of all groups by turns, as PyTorch writes it: two reshapes round a turn.

        Where every size is meant, a 0 in a reshape keeps the side that the map has at that place,
        which an axis of 1 beside the batch brings about.
        """
        height, width, channels = shape
        apart, together = [groups, channels // groups], [channels]
        if self.any_size:
            axis = self.constant(f"{name}/axis", [1])
            x = self.node("Unsqueeze", [x, axis], f"{name}/with axis")
            height = width = 0
            together = [1, channels]
        sides = self.constant(f"{name}/apart", [0, *apart, height, width])
        x = self.node("Reshape", [x, sides], f"{name}/groups")
        x = self.node("Transpose", [x], f"{name}/turned", perm=[0, 2, 1, 3, 4])
        sides = self.constant(f"{name}/together", [0, *together, height, width])
        if not self.any_size:
            return self.node("Reshape", [x, sides], name)
        x = self.node("Reshape", [x, sides], f"{name}/joined")
        return self.node("Squeeze", [x, axis], name)
