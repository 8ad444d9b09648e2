"""ONNX Runtime's own operators, said in ONNX's: what its quantiser and its optimiser write.

An operator of bytes becomes the one of real values between what reads the bytes and what makes
them again, and one that does several things becomes a node for each.
"""

from itertools import count

import numpy as np

from .network import Node

DOMAIN = "com.microsoft"


def expanded(node: Node, taken=frozenset()) -> list[Node]:
    """The nodes that do what a node does; itself where they are not known.

    Parameters
    ----------
    node : Node
        Of any domain.
    taken : set of str
        Names that new values may not have.
    """
    rule = RULES.get(node.op) if node.domain == DOMAIN else None
    if rule is None or not node.outputs:
        return [node]
    writer = _Writer(node, taken)
    try:
        rule(writer, *node.inputs)
    except (_Unknown, TypeError, ValueError, LookupError):
        return [node]
    return writer.nodes


class _Unknown(Exception):
    """A kind of the operator that is not said here."""


class _Writer:
    """The nodes so far that stand for one.

    Parameters
    ----------
    node : Node
    taken : set of str
    """

    def __init__(self, node, taken):
        self.node, self.nodes = node, []
        self._taken, self._numbers = taken, count()

    def new(self):
        """The name of a new value."""
        names = (f"{self.node.outputs[0]}/part {n}" for n in self._numbers)
        return next(name for name in names if name not in self._taken)

    def made(self, op, *inputs, outputs=None, **attributes):
        """The name of what a new node of ONNX's own makes; by default of a new value."""
        names = outputs or (self.new(),)
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        self.nodes.append(Node(self.node.name, op, "", inputs, names, attributes))
        return names[0]

    def last(self, op, *inputs, **attributes):
        """The node that makes the results."""
        outputs = self.node.outputs[:1]
        if any(self.node.outputs[1:]):
            raise _Unknown("more results")
        self.made(op, *inputs, outputs=outputs, **attributes)

    def constant(self, value):
        return self.made("Constant", value=np.asarray(value))

    def setting(self, name, default=0):
        return self.node.attributes.get(name, default)

    def others(self, *names):
        """The attributes but for these."""
        return {k: v for k, v in self.node.attributes.items() if k not in names}

    def real(self, x, scale, zero="", **attributes):
        return self.made("DequantizeLinear", x, scale, zero, **attributes)

    def activated(self, x):
        """The result: a value through the activation that attributes name."""
        name = self.setting("activation", "")
        if not name:
            return self.last("Identity", x)
        if name not in ACTIVATIONS:
            raise _Unknown(name)
        keys = ACTIVATIONS[name]
        numbers = self.setting("activation_params", ())
        numbers = dict(zip(keys, numbers, strict=False)) | {
            key: self.node.attributes[f"activation_{key}"]
            for key in keys
            if f"activation_{key}" in self.node.attributes
        }
        return self.last(name, x, **numbers)


ACTIVATIONS = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign"), ()),
    **{"LeakyRelu": ("alpha",), "Elu": ("alpha",), "HardSigmoid": ("alpha", "beta")},
    "Clip": ("min", "max"),
}
"""Activations within other operators, and their attributes in the order of the parameters."""


def _bytes(op, count=1):
    """An operator of ``count`` values, each with its scale and zero point, then the result's."""

    def rule(w, *inputs):
        reals = [w.real(*inputs[i : i + 3]) for i in range(0, 3 * count, 3)]
        kept = {} if op != "Softmax" else {"axis": w.setting("axis", -1)}
        kept |= {} if op != "LeakyRelu" else {"alpha": w.setting("alpha", 0.01)}
        w.last("QuantizeLinear", w.made(op, *reals, **kept), *inputs[3 * count :])

    return rule


def _softmax(w, x, x_scale, x_zero, *out):
    """That of operator sets below 13 is one over all axes from the one that is named."""
    if w.setting("opset", 13) < 13 and w.setting("axis", -1) != -1:
        raise _Unknown("a softmax over several axes")
    _bytes("Softmax")(w, x, x_scale, x_zero, *out)


def _mean(w, x, x_scale, x_zero, *out):
    x = w.real(x, x_scale, x_zero)
    if w.setting("channels_last"):
        x = w.made("ReduceMean", x, axes=(1, 2), keepdims=1)
    else:
        x = w.made("GlobalAveragePool", x)
    w.last("QuantizeLinear", x, *out)


def _pool(w, x, x_scale, x_zero, *out):
    if w.setting("channels_last"):
        raise _Unknown("channels that are last")
    pooled = w.made("AveragePool", w.real(x, x_scale, x_zero), **w.others("channels_last"))
    w.last("QuantizeLinear", pooled, *out)


def _reduced(w, x, x_scale, x_zero, *out):
    mean = w.made("ReduceMean", w.real(x, x_scale, x_zero), **w.node.attributes)
    w.last("QuantizeLinear", mean, *out)


def _concat(w, scale, zero, *inputs):
    reals = [w.real(*inputs[i : i + 3]) for i in range(0, len(inputs), 3)]
    w.last("QuantizeLinear", w.made("Concat", *reals, axis=w.setting("axis")), scale, zero)


def _where(w, condition, *inputs):
    reals = [w.real(*inputs[i : i + 3]) for i in (0, 3)]
    w.last("QuantizeLinear", w.made("Where", condition, *reals), *inputs[6:])


def _gemm_of_bytes(w, a, a_scale, a_zero, b, b_scale, b_zero, bias="", *out):
    """The bias counts in steps of the product, after ``alpha``."""
    attributes = w.others("alpha")
    alpha = np.float32(w.setting("alpha", 1.0))
    columns = {"axis": 0 if w.setting("transB") else 1}
    factors = [w.real(a, a_scale, a_zero), w.real(b, b_scale, b_zero, **columns)]
    if bias:
        unit = w.made("Mul", a_scale, b_scale)
        unit = unit if alpha == 1 else w.made("Mul", unit, w.constant(alpha))
        factors.append(w.real(bias, unit, axis=0))
    if alpha != 1:
        attributes["alpha"] = float(alpha)
    if not any(out):
        return w.last("Gemm", *factors, **attributes)
    return w.last("QuantizeLinear", w.made("Gemm", *factors, **attributes), *out)


def _of_integers(w, a, b, unit, a_zero, b_zero, bias):
    sums = w.made("Cast", w.made("MatMulInteger", a, b, a_zero, b_zero), to=1)
    if bias:
        return w.last("Add", w.made("Mul", sums, unit), bias)
    return w.last("Mul", sums, unit)


def _integer_product(w, a, b, a_scale, b_scale, a_zero="", b_zero="", bias=""):
    _of_integers(w, a, b, w.made("Mul", a_scale, b_scale), a_zero, b_zero, bias)


def _dynamic_product(w, a, b, b_scale, b_zero="", bias=""):
    names = w.new(), w.new(), w.new()
    w.made("DynamicQuantizeLinear", a, outputs=names)
    _of_integers(w, names[0], b, w.made("Mul", names[1], b_scale), names[2], b_zero, bias)


def _conv(w, x, weights, bias="", added=""):
    window = w.others("activation", "activation_params")
    made = w.made("Conv", x, weights, bias, **window)
    w.activated(w.made("Add", made, added) if added else made)


def _gemm(w, *inputs):
    attributes = {k: v for k, v in w.node.attributes.items() if not k.startswith("activation")}
    w.activated(w.made("Gemm", *inputs, **attributes))


def _product(w, a, b):
    """The rows of either may also lie before the other axes."""
    terms = []
    for name, letters in (("A", "ij"), ("B", "jk")):
        one, other = letters[::-1] if w.setting(f"trans{name}") else letters
        terms.append(f"{one}...{other}" if w.setting(f"transBatch{name}") else f"...{one}{other}")
    op, equation = "Einsum", {"equation": f"{','.join(terms)}->...ik"}
    if terms == ["...ij", "...jk"]:
        op, equation = "MatMul", {}
    alpha = np.float32(w.setting("alpha", 1.0))
    if alpha == 1:
        return w.last(op, a, b, **equation)
    return w.last("Mul", w.made(op, a, b, **equation), w.constant(alpha))


def _gelu(**attributes):
    def rule(w, x, bias=""):
        w.last("Gelu", w.made("Add", x, bias) if bias else x, **attributes)

    return rule


def _swish(w, x):
    w.last("Swish", x, alpha=w.setting("alpha", 1.702))


def _normal_sum(w, x, skip, scale, shift="", bias=""):
    """Its fourth result is the sum."""
    total = w.made("Add", x, skip)
    total = w.made("Add", total, bias) if bias else total
    name, *more = w.node.outputs
    if any(more[:2]):
        raise _Unknown("statistics")
    for other in more[2:]:
        w.made("Identity", total, outputs=(other,))
    epsilon = w.setting("epsilon", 1e-12)
    w.made("LayerNormalization", total, scale, shift, outputs=(name,), axis=-1, epsilon=epsilon)


def _attended(w, parts):
    """The result of attention, of queries, keys and values (N, T, heads * size)."""
    heads = w.constant(np.array([0, 0, w.node.attributes["num_heads"], -1]))
    known = {"num_heads", "scale", "mask_filter_value", "unidirectional", "do_rotary"}
    if set(w.node.attributes) - known or w.setting("unidirectional") or w.setting("do_rotary"):
        raise _Unknown("attention of another kind")
    split = [
        w.made("Transpose", w.made("Reshape", part, heads), perm=(0, 2, 1, 3)) for part in parts
    ]
    scale = {"scale": w.setting("scale")} if w.setting("scale") else {}
    mixed = w.made("Transpose", w.made("Attention", *split, **scale), perm=(0, 2, 1, 3))
    w.last("Reshape", mixed, w.constant(np.array([0, 0, -1])))


def _attention(w, x, weights, bias="", *more):
    if any(more):
        raise _Unknown("attention with a mask or a past")
    x = w.made("MatMul", x, weights)
    x = w.made("Add", x, bias) if bias else x
    parts = w.new(), w.new(), w.new()
    w.made("Split", x, outputs=parts, axis=-1)
    _attended(w, parts)


def _heads(w, queries, keys="", values="", bias="", *more):
    if any(more) or bias or not (keys and values):
        raise _Unknown("attention with a mask, a past or all in one")
    _attended(w, (queries, keys, values))


def _same(w, *inputs):
    w.last(w.node.op, *inputs, **w.node.attributes)


RULES = {
    "Attention": _attention,
    "BiasGelu": _gelu(),
    "DequantizeLinear": _same,
    "DynamicQuantizeMatMul": _dynamic_product,
    "FastGelu": _gelu(approximate="tanh"),
    "FusedConv": _conv,
    "FusedGemm": _gemm,
    "FusedMatMul": _product,
    "Gelu": _gelu(),
    "MatMulIntegerToFloat": _integer_product,
    "MultiHeadAttention": _heads,
    "QGemm": _gemm_of_bytes,
    "QLinearAdd": _bytes("Add", 2),
    "QLinearAveragePool": _pool,
    "QLinearConcat": _concat,
    "QLinearGlobalAveragePool": _mean,
    "QLinearLeakyRelu": _bytes("LeakyRelu"),
    "QLinearMul": _bytes("Mul", 2),
    "QLinearReduceMean": _reduced,
    "QLinearSigmoid": _bytes("Sigmoid"),
    "QLinearSoftmax": _softmax,
    "QLinearWhere": _where,
    "QuantizeLinear": _same,
    "QuickGelu": _swish,
    "SkipLayerNormalization": _normal_sum,
}
"""By the operator's type: a function that writes its nodes."""
