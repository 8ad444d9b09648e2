"""Shapes of all values, and the values that follow from them, for inputs of known shapes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rvcnn.errors import RvcnnError, ShapeError, WeightsError
from rvcnn.kernels import Window
from rvcnn.weights.contents import shown

from .network import Network, Node
from .operators import OPERATORS

ROOM = 64 << 20
"""Bytes that values which follow from constants may take, or as many as eight times those."""

GROWTH = 8

MOST = 1 << 33
"""Elements of the largest value that is believed."""


TRIED = 1 << 25
"""Elements of an operator's inputs and results up to which it runs on zeros."""

MALFORMED = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, MemoryError)
"""What attributes of the wrong kind lead to."""


@dataclass
class Facts:
    """What is known of a network's values before it runs.

    Attributes
    ----------
    values : dict of str to ndarray
        Those that do not depend on what the inputs hold.
    shapes : dict of str to tuple of int
    dtypes : dict of str to dtype
    quantised : dict of str to Node
        What makes those of ``values`` that are the real values of other constants.
    """

    values: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: dict[str, np.dtype] = field(default_factory=dict)
    quantised: dict[str, Node] = field(default_factory=dict)

    def know(self, name, value):
        """Take in a value."""
        self.values[name] = value
        self.expect(name, value.shape, value.dtype)

    def expect(self, name, shape, dtype):
        """Take in a shape."""
        self.shapes[name] = tuple(int(side) for side in shape)
        self.dtypes[name] = dtype
        if math.prod(self.shapes[name]) > MOST or min(self.shapes[name], default=0) < 0:
            raise ShapeError(f"{shown(name)} has the shape {shown(self.shapes[name])}")


RANDOM = {"RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"}
RANDOM |= {"Multinomial"}

BY_CONTENT = {"Compress", "ImageDecoder", "NonMaxSuppression", "NonZero", "Unique"} | RANDOM
"""Operators whose results' shapes depend on what the inputs hold, or which are no functions."""

SHAPED_BY: Mapping[str, tuple[int, ...]] = {
    "CenterCropPad": (1,),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    "AffineGrid": (1,),
    "Col2Im": (1, 2),
    **{
        f"Reduce{name}": (1,)
        for name in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum")
    },
    "ReduceSumSquare": (1,),
    "HannWindow": (0,),
    "HammingWindow": (0,),
    "BlackmanWindow": (0,),
    "DFT": (1, 2),
    "STFT": (1, 3),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "MaxUnpool": (2,),
}
"""Inputs that decide the shape of the result by their values."""

LIKE_FIRST = {
    *("Abs", "BatchNormalization", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu"),
    *("HardSigmoid", "HardSwish", "InstanceNormalization", "LRN", "LeakyRelu", "Log", "LogSoftmax"),
    *("Mish", "Neg", "PRelu", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Softmax"),
    *("Softplus", "Softsign", "Sqrt", "Swish", "Tanh"),
}
BROADCAST = {"Add", "Sub", "Mul", "Div", "Pow"}


def infer(network: Network, inputs: Mapping[str, tuple[int, ...]], dtypes=None) -> Facts:
    """Follow shapes and constants through a network.

    A rule gives the shape of what is large or frequent; any other operator runs on zeros.

    Parameters
    ----------
    network : Network
    inputs : mapping of str to tuple of int
        Shapes of the inputs that are known; none for plain constant folding.
    dtypes : mapping of str to dtype, optional
        Of those whose type the network does not say; float32 by default.

    Raises
    ------
    ShapeError
        Naming the node whose inputs do not fit.
    WeightsError
        If what follows from the constants takes too much memory.
    """
    facts = Facts()
    for name, value in network.constants.items():
        facts.know(name, value)
    for value in network.inputs:
        if value.name in inputs:
            dtype = value.dtype or (dtypes or {}).get(value.name, np.dtype(np.float32))
            facts.expect(value.name, inputs[value.name], dtype)
    room = max(ROOM, GROWTH * sum(v.nbytes for v in network.constants.values()))
    for node in network.nodes:
        try:
            _follow(node, facts, network.opset)
        except RvcnnError as error:
            raise type(error)(f"node {shown(node.name)}: {error}") from None
        except MALFORMED as error:
            reason = shown(str(error))
            raise ShapeError(f"node {shown(node.name)} ({shown(node.op)}): {reason}") from None
        room -= sum(facts.values[n].nbytes for n in node.outputs if n in facts.values)
        if room < 0:
            raise WeightsError("its constants, worked out, take more memory than any network's")
    return facts


def _follow(node, facts, opset):
    given = [name for name in node.inputs if name]
    if node.kind not in OPERATORS or node.op in BY_CONTENT:
        return
    if all(name in facts.values for name in given):
        inputs = [facts.values[name] if name else None for name in node.inputs]
        results = OPERATORS[node.kind].run(
            node.attributes, opset, *inputs, outputs=len(node.outputs)
        )
        for name, value in zip(node.outputs, results, strict=False):
            facts.know(name, np.ascontiguousarray(value).reshape(value.shape))
        if node.kind == "DequantizeLinear":
            facts.quantised[node.outputs[0]] = node
        return
    if not all(name in facts.shapes for name in given):
        return
    if node.op in ("Shape", "Size") and not node.domain:
        shape = facts.shapes[node.inputs[0]]
        start, end = (node.attributes.get(key) for key in ("start", "end"))
        value = shape[slice(start, end)] if node.op == "Shape" else math.prod(shape)
        facts.know(node.outputs[0], np.array(value, np.int64))
        return
    shaping = [node.inputs[i] for i in SHAPED_BY.get(node.op, ()) if i < len(node.inputs)]
    if all(name in facts.values for name in shaping if name):
        _expect(node, facts, opset)


def _expect(node, facts, opset):
    shapes = [facts.shapes[name] if name else None for name in node.inputs]
    rule = RULES.get(node.kind)
    if rule is not None and len([name for name in node.outputs if name]) == 1:
        facts.expect(node.outputs[0], rule(node, *shapes), facts.dtypes[node.inputs[0]])
        return
    if sum(math.prod(shape) for shape in shapes if shape is not None) > TRIED:
        return
    inputs = [_stand_in(name, facts) for name in node.inputs]
    results = OPERATORS[node.kind].run(node.attributes, opset, *inputs, outputs=len(node.outputs))
    for name, value in zip(node.outputs, results, strict=False):
        facts.expect(name, value.shape, value.dtype)


def _stand_in(name, facts):
    if not name:
        return None
    if name in facts.values:
        return facts.values[name]
    return np.zeros(facts.shapes[name], facts.dtypes[name])


def _like_first(node, x, *others):
    return x


def _broadcast(node, a, b):
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ShapeError(f"{a} and {b} do not broadcast") from None


def window_of(node: Node, size, kernel) -> Window:
    """The window of a convolution or pooling over maps of this size, its padding in numbers.

    Where a result's size is rounded up, the padding below and right is as wide as that takes.

    Raises
    ------
    ShapeError
        If the attributes are no window.
    """
    rank = len(size)
    attributes = node.attributes
    kernel = tuple(attributes.get("kernel_shape", kernel))
    stride = tuple(attributes.get("strides", (1,) * rank))
    dilation = tuple(attributes.get("dilations", (1,) * rank))
    pads = tuple(attributes.get("pads", (0,) * 2 * rank))
    auto = attributes.get("auto_pad", "NOTSET")
    numbers = (*kernel, *stride, *dilation)
    if len(numbers) != 3 * rank or len(pads) != 2 * rank or min(numbers) < 1 or min(pads) < 0:
        raise ShapeError(f"no window over {size}: {kernel}, {stride}, {dilation}, {pads}")
    sides = []
    for i, length in enumerate(size):
        before, after = pads[i], pads[i + rank]
        reach = (kernel[i] - 1) * dilation[i] + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            total = max((-(-length // stride[i]) - 1) * stride[i] + reach - length, 0)
            before, after = total // 2, total - total // 2
            if auto == "SAME_LOWER":
                before, after = after, before
        elif auto == "VALID":
            before = after = 0
        if attributes.get("ceil_mode"):
            steps = -(-(length + before + after - reach) // stride[i])
            # The last window must begin inside the map or the padding before it.
            steps -= steps * stride[i] >= length + before
            after = max(after, steps * stride[i] + reach - length - before)
        sides.append((before, after))
    return Window(kernel, stride, tuple(sides), dilation)


def _sizes(node, size, kernel):
    window = window_of(node, size, kernel)
    lengths = [
        (length + sum(pad) - (k - 1) * d - 1) // s + 1
        for length, k, s, d, pad in zip(
            size, window.kernel, window.stride, window.dilation, window.padding, strict=True
        )
    ]
    if min(lengths, default=1) < 1:
        raise ShapeError(f"maps of {size} are too small for {window.kernel}")
    return lengths


def _conv(node, x, w, *bias):
    groups = node.attributes.get("group", 1)
    if len(x) != len(w) or groups < 1 or x[1] != w[1] * groups or w[0] % groups:
        raise ShapeError(f"a convolution of {x} by {w} in {groups} groups")
    return (x[0], w[0], *_sizes(node, x[2:], w[2:]))


def _pool(node, x):
    return (*x[:2], *_sizes(node, x[2:], ()))


def _global_pool(node, x):
    return (*x[:2], *(1,) * (len(x) - 2))


def _concat(node, *inputs):
    axis = node.attributes["axis"]
    first = inputs[0]
    if not -len(first) <= axis < len(first):
        raise ShapeError(f"no axis {axis} in {first}")
    axis %= len(first)
    if any((*s[:axis], *s[axis + 1 :]) != (*first[:axis], *first[axis + 1 :]) for s in inputs):
        raise ShapeError(f"cannot put {inputs} together along axis {axis}")
    return (*first[:axis], sum(s[axis] for s in inputs), *first[axis + 1 :])


def _matmul(node, a, b):
    if len(a) < 2 or len(b) < 2:
        return np.matmul(np.zeros(a), np.zeros(b)).shape
    if a[-1] != b[-2]:
        raise ShapeError(f"a product of {a} and {b}")
    return (*_broadcast(node, a[:-2], b[:-2]), a[-2], b[-1])


def _gemm(node, a, b, *c):
    turned = [node.attributes.get(key) for key in ("transA", "transB")]
    (rows, inner), (same, columns) = (
        s[::-1] if t else s for s, t in zip((a, b), turned, strict=True)
    )
    if inner != same:
        raise ShapeError(f"a product of {a} and {b}")
    return (rows, columns)


RULES = {
    **dict.fromkeys(LIKE_FIRST, _like_first),
    **dict.fromkeys(BROADCAST, _broadcast),
    "Conv": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "Concat": _concat,
    "MatMul": _matmul,
    "Gemm": _gemm,
}
"""Shape of an operator's one result from those of its inputs; its type is the first input's."""
