"""ONNX files that nobody should trust. Each must be refused by its name here."""

from contextlib import suppress

import numpy as np

with suppress(ImportError):  # whoever uses this asks for the package
    import onnx
    from onnx import TensorProto, helper

FLOAT = 1
IMAGE = ("image", FLOAT, [1, 3, 8, 8])


def model(nodes, tensors=(), inputs=(IMAGE,), outputs=("y",), opsets=(("", 17),)):
    """Bytes of a model; nothing is checked on the way."""
    made = onnx.ModelProto(ir_version=8)
    made.graph.name = "g"
    made.graph.node.extend(nodes)
    made.graph.initializer.extend(tensors)
    made.graph.input.extend(helper.make_tensor_value_info(*i) for i in inputs)
    made.graph.output.extend(helper.make_tensor_value_info(o, FLOAT, None) for o in outputs)
    for domain, version in opsets:
        made.opset_import.add(domain=domain, version=version)
    return made.SerializeToString()


def node(op, inputs, output="y", **attributes):
    """One node; inputs and outputs by names with spaces between."""
    return helper.make_node(op, inputs.split(), output.split(), **attributes)


def tensor(name, array):
    """An array with its bytes."""
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def shaped(name, dims, data=b"", kind=FLOAT, **fields):
    """A tensor that says what it likes."""
    made = TensorProto(name=name, data_type=kind, raw_data=data, **fields)
    made.dims.extend(dims)
    return made


def outside(location, offset="0", length="4", dims=(1,)):
    """A tensor in another file."""
    made = TensorProto(name="w", data_type=FLOAT, data_location=TensorProto.EXTERNAL)
    made.dims.extend(dims)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        made.external_data.add(key=key, value=value)
    return made


def good():
    """A small network, which loads."""
    rng = np.random.default_rng(1)
    tensors = [
        tensor("w", rng.standard_normal((8, 3, 3, 3)).astype(np.float32)),
        tensor("b", rng.standard_normal(8).astype(np.float32)),
        tensor("six", np.float32(6)),
        tensor("zero", np.float32(0)),
        tensor("three", np.float32(3)),
        tensor("shape", np.array([1, -1])),
        tensor("v", rng.standard_normal((8, 5)).astype(np.float32)),
    ]
    nodes = [
        node("Conv", "image w b", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Add", "c three", "d"),
        node("Clip", "d zero six", "e"),
        node("Mul", "e c", "f"),
        node("Div", "f six", "g"),
        node("GlobalAveragePool", "g", "h"),
        node("Reshape", "h shape", "i"),
        node("MatMul", "i v", "y"),
    ]
    return model(nodes, tensors)


def _field(number, content):
    """A protobuf's field of bytes."""
    length, digits = len(content), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2]) + bytes([*digits, length]) + content


def _nested(depth):
    """Branches inside each other, which the package does not write itself."""
    graph = b""
    for _ in range(depth):
        attribute = _field(1, b"then_branch") + _field(6, graph) + b"\xa0\x01\x05"
        graph = _field(1, _field(1, b"image") + _field(4, b"If") + _field(5, attribute))
    return model([]) + _field(7, graph)


def _doubling(times):
    """The billion laughs: a constant put beside itself again and again."""
    nodes = [node("Concat", f"x{i} x{i}", f"x{i + 1}", axis=0) for i in range(times)]
    last = node("Add", f"image x{times}")
    return model([*nodes, last], [tensor("x0", np.ones(1000, np.float32))])


def _sized(op, sizes, *more):
    """An operator that makes a result of a size that a tensor says."""
    tensors = [tensor("x", np.ones((1, 1, 1, 1), np.float32)), tensor("s", np.array(sizes))]
    inputs = {"ConstantOfShape": "s", "Pad": "x s", "Range": "a b c"}.get(op, "x s")
    if op == "Range":
        tensors = [tensor(n, np.int64(v)) for n, v in zip("abc", sizes, strict=True)]
    return model([node(op, inputs, "h"), node("Shape", "h"), *more], tensors)


def _conv(**attributes):
    weight = tensor("w", np.ones((3, 3, 3, 3), np.float32))
    return model([node("Conv", "image w", **attributes)], [weight])


def files():
    """Names and contents."""
    relu, base = [node("Relu", "image")], good()
    one = np.float32([1]).tobytes()
    yield "empty graph", onnx.ModelProto(ir_version=8).SerializeToString()
    yield "nothing makes the output", model([])
    for at in (1, 20, len(base) // 2, len(base) - 1):
        yield f"cut after {at} bytes", base[:at]
    yield "no opset", model(relu, opsets=())
    for version in (-1, 0, 6, 99, 2**62):
        yield f"opset {version}", model(relu, opsets=[("", version)])
    add = [node("Add", "image w")]
    for dims in ([-1], [2**62], [2**31, 2**31], [0, -5], [2**40], [1] * 40, [3]):
        yield f"a tensor of {dims}", model(add, [shaped("w", dims, one)])
    for kind in (0, 15, 99):
        yield f"a tensor of type {kind}", model(add, [shaped("w", [1], one, kind)])
    yield "values in another field", model(add, [shaped("w", [1], b"", int32_data=[1])])
    yield "text that is none", model(add, [shaped("w", [1], kind=8, string_data=[b"\xff"])])
    for place in ("../w.bin", "/etc/passwd", "", "a\0b", "missing.bin", ".", "a/../../w.bin"):
        yield f"data in {place!r}", model(add, [outside(place)])
    yield "a tensor twice", model(add, [tensor("w", np.ones(1)), tensor("w", np.ones(1))])
    yield "a value twice", model([node("Relu", "image"), node("Abs", "image")])
    yield "a circle", model([node("Add", "image b", "a"), node("Relu", "a", "b y")])
    yield "a circle of one", model([node("Add", "image y")])
    yield "nothing makes an input", model([node("Add", "image lost")])
    yield "unknown operators", model([node("Spell", "image", "a"), node("Curse", "a")])
    yield "unknown domain", model([node("Relu", "image", domain="com.example")])
    yield "branches 59 deep", _nested(25)
    yield "branches 300 deep", _nested(90)
    yield "a million nodes", model([]) + b"\x3a\x80\x89\x7a" + b"\x0a\x00" * 1_000_000
    yield "twice as much 40 times", _doubling(40)
    yield "twice as much 18 times", _doubling(18)
    for op, sizes in (
        ("ConstantOfShape", [2**40]),
        ("ConstantOfShape", [-1]),
        ("Expand", [2**20, 2**20, 1, 1]),
        ("Tile", [2**20, 2**20, 1, 1]),
        ("Pad", [0, 0, 0, 0, 0, 0, 2**20, 2**20]),
        ("Range", [0, 2**50, 1]),
    ):
        yield f"{op} {sizes}", _sized(op, sizes)
    for name, attributes in {
        "strides of 0": {"strides": [0, 0]},
        "strides below 0": {"strides": [-1, -1]},
        "strides of text": {"strides": "fast"},
        "pads below 0": {"pads": [-5, -5, -5, -5]},
        "one pad": {"pads": [1]},
        "no groups": {"group": 0},
        "groups below 0": {"group": -3},
        "a huge kernel": {"kernel_shape": [2**40, 2**40]},
        "a huge dilation": {"dilations": [2**40, 2**40]},
    }.items():
        yield f"a convolution with {name}", _conv(**attributes)
