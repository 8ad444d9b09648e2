"""From an ONNX file to a :class:`Network`: checked, ordered, and free of the package `onnx`."""

import os
from collections import Counter
from pathlib import Path

from rvcnn.errors import UsageError, WeightsError
from rvcnn.weights.contents import Refusal, shown
from rvcnn.weights.readers import map_file

from . import microsoft, wire
from .network import NEWEST_OPSET, OLDEST_OPSET, Network, Node, Value
from .order import ordered
from .tensors import Tensors

LARGEST = (1 << 31) - 1
"""Bytes of a file that a protobuf can be; larger networks keep their tensors in other files."""

_OWN = ("", "ai.onnx")


def read(source) -> Network:
    """Read an ONNX model.

    Nothing in it is run. Every size is compared with the bytes there are, and data outside the file
    is only read from the file's own folder.

    Parameters
    ----------
    source : path-like, bytes or onnx.ModelProto

    Raises
    ------
    WeightsError
        If the package `onnx` is missing, or the file is absent, damaged, cyclic, or of an opset
        that is not understood.
    """
    where = os.fspath(source) if isinstance(source, (str, os.PathLike)) else "the ONNX model"
    try:
        return _read(source)
    except Refusal as refusal:
        reason = str(refusal)
    raise WeightsError(f"{where}: {reason}")


def _read(source):
    onnx = _package()
    if isinstance(source, onnx.ModelProto):
        return _network(source, Tensors(None))
    folder = None
    if isinstance(source, (str, os.PathLike)):
        folder = Path(source).absolute().parent
        source = map_file(Path(source))
    elif not isinstance(source, (bytes, bytearray, memoryview)):
        raise UsageError(f"an ONNX model is a path or bytes, not a {type(source).__name__}")
    if len(source) > LARGEST:
        raise Refusal(f"{len(source)} bytes, more than an ONNX file can have")
    return network_of(source, folder)[0]


def network_of(data, folder=None) -> tuple[Network, tuple[memoryview, ...]]:
    """The network of a file's bytes, and the other files that its tensors lie in.

    Raises Refusal, whose message lacks the file's name.

    Parameters
    ----------
    data : bytes-like
    folder : Path, optional
        Where tensors outside the file may lie; without it they may not.
    """
    onnx = _package()
    wire.check(data, onnx.ModelProto.DESCRIPTOR)
    tensors = Tensors(folder)
    return _network(_parsed(onnx.ModelProto, bytes(data)), tensors), tensors.outside


def _package():
    try:
        import onnx
    except ImportError:
        raise WeightsError(
            "reading ONNX files needs the package onnx: pip install 'rvcnn[onnx]'"
        ) from None
    return onnx


def _parsed(kind, data):
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except (DecodeError, ValueError, RecursionError) as error:
        raise Refusal(f"a damaged file: {shown(str(error))}") from None


def _network(model, tensors):
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    opset = max((opsets[d] for d in _OWN if d in opsets), default=None)
    if not model.HasField("graph") or opset is None:
        raise Refusal("no ONNX model: it lacks a graph or the version of its operators")
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise Refusal(
            f"its operators are of version (opset) {opset}; {OLDEST_OPSET} to {NEWEST_OPSET} are "
            "understood"
        )
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return _graph(model.graph, tensors, opset, frozenset(), metadata)


def _graph(graph, tensors, opset, outer, metadata=None):
    """A graph whose nodes may also read values of ``outer``, the graphs round it."""
    if graph.sparse_initializer:
        raise Refusal("sparse tensors, which rvcnn does not read")
    constants = {}
    for tensor in graph.initializer:
        if tensor.name in constants:
            raise Refusal(f"two tensors are called {shown(tensor.name)}")
        constants[tensor.name] = tensors.array(tensor, f"tensor {shown(tensor.name)}")
    inputs = tuple(_value(v, tensors) for v in graph.input if v.name not in constants)
    outputs = tuple(_value(v, tensors) for v in graph.output)
    given = outer | constants.keys() | {v.name for v in inputs}
    made = [name for node in graph.node for name in node.output if name]
    names = Counter([v.name for v in inputs] + list(constants) + made)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise Refusal(f"two values are called {shown(twice[0])}")
    known = given | names.keys()
    read = [_node(n, tensors, opset, known) for n in graph.node]
    read = [node for one in read for node in microsoft.expanded(one, known)]
    nodes = ordered(read, given)
    missing = [v.name for v in outputs if v.name not in known]
    if missing:
        raise Refusal(f"nothing makes its output {shown(missing[0])}")
    return Network(nodes, inputs, outputs, constants, opset, metadata or {})


def _value(value, tensors):
    kind = value.type.tensor_type
    if value.type.WhichOneof("value") != "tensor_type":
        return Value(value.name, None, None)
    shape = None
    if kind.HasField("shape"):
        shape = tuple(_side(side) for side in kind.shape.dim)
    return Value(value.name, tensors.dtype(kind.elem_type), shape)


def _side(side):
    """A side's length; None or a name where it is open (PaddlePaddle writes -1)."""
    if side.WhichOneof("value") == "dim_value":
        return side.dim_value if side.dim_value >= 0 else None
    return side.dim_param or None


def _node(node, tensors, opset, outer):
    if len({a.name for a in node.attribute}) < len(node.attribute):
        raise Refusal(f"a node {shown(node.op_type)} with the same attribute twice")
    return Node(
        node.name or next(iter(node.output), ""),
        node.op_type,
        "" if node.domain in _OWN else node.domain,
        tuple(node.input),
        tuple(node.output),
        {a.name: _attribute(a, node.op_type, tensors, opset, outer) for a in node.attribute},
    )


def _attribute(attribute, op, tensors, opset, outer):
    kinds = attribute.AttributeType
    what = f"attribute {shown(attribute.name)} of a node {shown(op)}"
    readers = {
        kinds.FLOAT: lambda: attribute.f,
        kinds.INT: lambda: attribute.i,
        kinds.STRING: lambda: _text(attribute.s),
        kinds.TENSOR: lambda: tensors.array(attribute.t, what),
        kinds.GRAPH: lambda: _graph(attribute.g, tensors, opset, outer),
        kinds.FLOATS: lambda: tuple(attribute.floats),
        kinds.INTS: lambda: tuple(attribute.ints),
        kinds.STRINGS: lambda: tuple(map(_text, attribute.strings)),
        kinds.TENSORS: lambda: tuple(tensors.array(t, what) for t in attribute.tensors),
        kinds.GRAPHS: lambda: tuple(_graph(g, tensors, opset, outer) for g in attribute.graphs),
    }
    if attribute.type not in readers:
        raise Refusal(f"{what} is of a kind that rvcnn does not read")
    return readers[attribute.type]()


def _text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data
