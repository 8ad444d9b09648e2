"""What each operator over sequences (N, C, W) is over maps of one row (N, C, 1, W).

A rule takes a node and its constant inputs by position, and gives the new attributes and those
constants that change; it raises ``Apart`` for what stays as it is.
"""

import numpy as np

from .operators.moved import as_inputs
from .region import Apart

_OF_A_ROW = {"kernel_shape": 1, "strides": 1, "dilations": 1}
_OF_A_ROW |= {"output_padding": 0, "output_shape": 1}
"""What attributes of windows say of the new axis."""


def _window(node, constants):
    attributes = dict(node.attributes)
    for name, number in _OF_A_ROW.items():
        if name in attributes:
            attributes[name] = (number, *attributes[name])
    if "pads" in attributes:
        left, right = attributes["pads"]
        attributes["pads"] = (0, left, 0, right)
    return attributes, {}


def _convolution(node, constants):
    return _window(node, constants)[0], {1: constants[1][:, :, None]}


def _same(node, constants):
    return node.attributes, {}


def _broadcast(node, constants):
    arrays = {i: value for i, value in constants.items() if value.ndim > 1}
    return node.attributes, {i: value[..., None, :] for i, value in arrays.items()}


def _put_together(node, constants):
    changed = _broadcast(node, constants)[1]
    return _of_axis(node.attributes), changed


def _taken_apart(node, constants):
    return _of_axis(node.attributes), {}


def _of_axis(attributes):
    return {**attributes, "axis": _raised(attributes.get("axis", 0))}


def _raised(axis):
    """An axis of a sequence among those of its map."""
    return (0, 1, 3)[axis]


def _newest(node, constants):
    """Attributes and constants as the newest operator set has them."""
    given = tuple(constants.get(i) for i in range(len(node.inputs)))
    constants, attributes = as_inputs(node.op, node.attributes, given)
    return attributes, {i: value for i, value in enumerate(constants) if value is not None}


def _pad(node, constants):
    attributes, constants = _newest(node, constants)
    if 3 in constants:
        raise Apart("padding of chosen axes")
    return attributes, constants | {1: np.insert(constants[1], (2, 5), 0)}


def _slice(node, constants):
    attributes, constants = _newest(node, constants)
    axes = constants.get(3, np.arange(np.size(constants[1])))
    return attributes, constants | {3: np.array([_raised(axis) for axis in np.ravel(axes)])}


def _reduce(node, constants):
    attributes, constants = _newest(node, constants)
    axes = [_raised(axis) for axis in np.ravel(constants[1])]
    if 3 not in axes and not attributes.get("keepdims", 1):
        raise Apart("a result that has the width, but not its row")
    return attributes, {1: np.array([*axes, *([2] if 3 in axes else [])])}


def _resize(node, constants):
    attributes, constants = _newest(node, constants)
    places = [i for i, value in constants.items() if value.size]
    if 1 in places and node.op == "Resize":
        raise Apart("a region of interest")
    if any(constants[i].shape != (3,) for i in places) or attributes.get("axes"):
        raise Apart("sizes of chosen axes")
    return attributes, constants | {i: np.insert(constants[i], 2, 1) for i in places}


LEADERS = {
    "AveragePool": _window,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "GlobalAveragePool": _same,
    "GlobalMaxPool": _same,
    "MaxPool": _window,
    "Pad": _pad,
}
"""Those for whose sake sequences become maps."""

FOLLOWERS = {
    **dict.fromkeys(("Abs", "BatchNormalization", "Clip", "Elu", "Erf", "Exp", "Gelu"), _same),
    **dict.fromkeys(("HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "Neg", "Relu"), _same),
    **dict.fromkeys(("Selu", "Sigmoid", "Softplus", "Sqrt", "Swish", "Tanh"), _same),
    **dict.fromkeys(("Add", "Div", "Mul", "PRelu", "Pow", "Sub", "Sum"), _broadcast),
    "Concat": _put_together,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _taken_apart,
    "Upsample": _resize,
}
"""Those that are over maps wherever what they read has become one."""
