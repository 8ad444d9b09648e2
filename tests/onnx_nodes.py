"""The ONNX project's tests of single operators: what they hold, and how one is run.

As a script it prints how many of them pass.
"""

import functools
import warnings

import numpy as np

from rvcnn.errors import WeightsError
from rvcnn.onnx import Session
from rvcnn.onnx.control import CONTROL
from rvcnn.onnx.network import OLDEST_OPSET
from rvcnn.onnx.operators import OPERATORS
from rvcnn.onnx.read import read

_OWN = ("", "ai.onnx")

SUPPORTED = OPERATORS.keys() | CONTROL.keys()
"""Operators that rvcnn has, but for what ``rvcnn.onnx.supported`` says."""

NUMBERS = frozenset(
    {
        "BOOL",
        "DOUBLE",
        "FLOAT",
        "FLOAT16",
        *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
    }
)
"""Element types of what the README calls inference in float and int8."""

TRAINING = frozenset({"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"})
RANDOM = frozenset(
    {
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    }
)


@functools.cache
def tests():
    """Every test by its name."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {test.name: test for test in load_model_tests(kind="node")}


@functools.cache
def model(name):
    """The ModelProto of a test."""
    import onnx

    test = tests()[name]
    return test.model or onnx.load(f"{test.model_dir}/model.onnx")


def kinds(name):
    """Operators that a test needs, with the domain of those that are not ONNX's own."""
    return _kinds(model(name).graph)


def _kinds(graph):
    found = set()
    for node in graph.node:
        own = node.domain in _OWN
        found.add(node.op_type if own else f"{node.domain}::{node.op_type}")
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                found |= _kinds(inner)
    return found


def opset(name):
    """Version of ONNX's own operators, 0 where a test needs none of them."""
    return max((o.version for o in model(name).opset_import if o.domain in _OWN), default=0)


def is_inference(name):
    """Whether a test concerns inference on tensors of float and int8.

    Those are the tests all whose nodes are operators of ONNX's own domain, not in :data:`TRAINING`
    or :data:`RANDOM`, that take and make tensors of numbers, none of which holds a graph (control
    flow) or trains; whose inputs, outputs and conversions are of the types :data:`NUMBERS`; and
    whose operator set is 7 or newer. An operator written out in others goes with the operator.
    """
    whole = name.split("_expanded")[0]
    return _is_inference(name) and (whole not in tests() or _is_inference(whole))


def _is_inference(name):
    import onnx

    proto, needed = model(name), kinds(name)
    foreign = any("::" in kind for kind in needed)
    if foreign or opset(name) < OLDEST_OPSET or needed & (TRAINING | RANDOM):
        return False
    values = [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    return all(map(_is_numeric, values)) and all(
        _is_plain(node, onnx.defs.get_schema(node.op_type, opset(name)))
        for node in proto.graph.node
    )


def _is_numeric(value):
    import onnx

    kind = value.type.WhichOneof("value")
    number = value.type.tensor_type.elem_type
    return kind == "tensor_type" and onnx.TensorProto.DataType.Name(number) in NUMBERS


def _is_plain(node, schema):
    import onnx

    graphs = onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS
    for attribute in node.attribute:
        if attribute.type in graphs or (attribute.name == "training_mode" and attribute.i):
            return False
        if attribute.name == "to" and onnx.TensorProto.DataType.Name(attribute.i) not in NUMBERS:
            return False
    if node.op_type == "Dropout" and len(node.input) == 3:
        return False
    return all(map(_takes_numbers, [*schema.inputs, *schema.outputs]))


def _takes_numbers(formal):
    """Whether an input or output of an operator can be a tensor of numbers."""
    return any(t.startswith("tensor(") and t != "tensor(string)" for t in formal.types)


def failure(name):
    """Why a test fails, or None.

    Results have the type and shape that is wanted, and the values within the test's own tolerance.
    """
    test = tests()[name]
    session = Session(read(model(name)))
    for given, wanted in test.data_sets:
        inputs = {v.name: _array(a).copy() for v, a in zip(session.inputs, given, strict=True)}
        for array in inputs.values():
            array.flags.writeable = False
        results = session.run(inputs)
        for got, want in zip(results, wanted, strict=True):
            message = _difference(got, _array(want), test.rtol, test.atol)
            if message:
                return message
    return None


def _array(value):
    import onnx

    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    return np.asarray(value)


def _difference(got, want, rtol, atol):
    if (got.dtype, got.shape) != (want.dtype, want.shape):
        return f"{got.dtype}{got.shape} for {want.dtype}{want.shape}"
    if got.dtype.kind == "O":
        return None if np.array_equal(got, want) else f"{got} for {want}"
    if got.dtype.kind in "fV":
        got, want = got.astype(np.float64), want.astype(np.float64)
    if np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True):
        return None
    return f"{got} for {want}"


def passes(name):
    """Whether a test passes; False where rvcnn refuses its model."""
    try:
        return failure(name) is None
    except (WeightsError, ValueError):
        return False


def counts():
    """How many tests pass and how many there are: of all, and of those that are inference."""
    passed = {name for name in tests() if kinds(name) <= SUPPORTED and passes(name)}
    inference = {name for name in tests() if is_inference(name)}
    groups = {"all node tests": set(tests()), "inference in float and int8": inference}
    return {title: (len(passed & group), len(group)) for title, group in groups.items()}


def main():
    for title, (passed, total) in counts().items():
        print(f"{title}: {passed} of {total} pass, {passed / total:.1%}")


if __name__ == "__main__":
    main()
