"""Weights files that want something: code to be run, memory, time. By name, as bytes."""

import io
import os
import pickle
import struct
import zipfile

import checkpoints as c
import numpy as np

MEGABYTE = 1 << 20
ONE = np.ones(4, np.float32)
GOOD = {"a": c.tensor(ONE, "0")}
DATA = {"0": ONE.tobytes()}
COMMAND = "echo ran > ran"
RUN = f"__import__('os').system({COMMAND!r})"


class Reduced:
    """Pickles as a call of whatever it is given, as an attacker would write it."""

    def __init__(self, function, *arguments):
        self._call = (function, arguments)

    def __reduce__(self):
        return self._call


def call(module, name, *arguments):
    """Return the call of a function by name."""
    return c.Call(c.Global(module, name), arguments)


def built(target, state):
    """Return a value with a state put on it, as pickle's BUILD does."""
    return c.Raw(c.operations(target) + c.operations(state) + b"b")


def inst(module, name, argument):
    """Return a call by INST, which older pickles have."""
    return c.Raw(b"(" + c.operations(argument) + f"i{module}\n{name}\n".encode())


def named_on_the_stack(module, name):
    """Return a name as protocol 4 spells it."""
    return c.Raw(c.operations(module) + c.operations(name) + b"\x93")


CALLS = {
    "os.system": call("os", "system", COMMAND),
    "posix.system": call("posix", "system", COMMAND),
    "nt.system": call("nt", "system", COMMAND),
    "subprocess.Popen": call("subprocess", "Popen", COMMAND),
    "builtins.eval": call("builtins", "eval", RUN),
    "builtins.exec": call("builtins", "exec", RUN),
    "__builtin__.eval": call("__builtin__", "eval", RUN),
    "builtins.__import__": call("builtins", "__import__", "os"),
    "builtins.getattr": call("builtins", "getattr", GOOD, "clear"),
    "builtins.open": call("builtins", "open", "ran", "w"),
    "runpy._run_code": call("runpy", "_run_code", RUN),
    "numpy.load": call("numpy", "load", "x.npy"),
    "torch.load": call("torch", "load", "x.pth"),
    "torch.hub.load": call("torch.hub", "load", "x"),
    "torch.jit.load": call("torch.jit", "load", "x"),
    "torch.os.system": call("torch", "os.system", COMMAND),
    "torch._utils._rebuild_tensor_v2.__globals__": c.Global(
        "torch._utils", "_rebuild_tensor_v2.__globals__"
    ),
    "collections.OrderedDict.clear": c.Global("collections", "OrderedDict.clear"),
    "rvcnn.weights.load_weights": c.Global("rvcnn.weights", "load_weights"),
    "numpy.core.multiarray._reconstruct": call("numpy.core.multiarray", "_reconstruct", 1),
    "argparse.Namespace": c.Global("argparse", "Namespace"),
    "inst os.system": inst("os", "system", COMMAND),
    "stack os.system": c.Call(named_on_the_stack("os", "system"), (COMMAND,)),
}
"""Pickles that name what they may not, by the name; each in a state dict beside a good tensor."""

TRICKS = {
    "object by NEWOBJ": c.Raw(c.operations(c.Global("collections", "OrderedDict")) + b")\x81"),
    "object by OBJ": c.Raw(b"(" + c.operations(c.Global("collections", "OrderedDict")) + b"o"),
    "name by number": c.Raw(b"\x82\x01"),
    "call of a text": c.Call("os.system", (COMMAND,)),
    "call of a tensor": c.Call(GOOD["a"], ()),
    "call of a storage type": call("torch", "FloatStorage", 4),
    "arguments that are no tuple": c.Raw(
        c.operations(c.Global("collections", "OrderedDict")) + c.operations([1]) + b"R"
    ),
    "state on a tensor": built(GOOD["a"], {"__class__": "x"}),
    "state on a list": built([1], {"append": c.Global("collections", "OrderedDict")}),
    "items put into a tensor": c.Raw(c.operations(GOOD["a"]) + b"(NNu"),
    "names that are no text": c.Raw(c.operations(1) + c.operations(2) + b"\x93"),
    "parameter of a text": call("torch._utils", "_rebuild_parameter", "x"),
    "set of a number": call("builtins", "set", 7),
    "dict of a text": call("collections", "OrderedDict", "ab"),
    "dict of a dict": call("collections", "OrderedDict", {"a": 1}),
    "persistent id of a text": c.Persistent("0"),
    "persistent id of a module": c.Persistent(("module", c.Global("torch", "FloatStorage"), "x")),
    "storage of a type that is none": c.Persistent(("storage", "FloatStorage", "0", "cpu", 4)),
    "empty stack": c.Raw(b"0" * 9),
    "no mark": c.Raw(b"t"),
    "nothing kept": c.Raw(b"h\x07"),
    "unknown operation": c.Raw(b"\xff"),
    "old text operation": c.Raw(b"I1\n"),
}
"""Pickles that misuse what they may name; each beside a good tensor."""


def views():
    """Tensors that do not fit their storage of four elements."""
    stored = c.storage("FloatStorage", "0", 4)
    wrong = {
        "beyond the end": ((5,), (1,), 0),
        "beyond the end by its strides": ((2, 2), (4, 1), 0),
        "from beyond the end": ((1,), (1,), 4),
        "from a huge offset": ((1,), (1,), 2**62),
        "from before the beginning": ((1,), (1,), -1),
        "backwards": ((4,), (-1,), 3),
        "a negative side": ((-1,), (1,), 0),
        "two negative sides": ((-2, -2), (1, 1), 0),
        "one value a terabyte long": ((1 << 40,), (0,), 0),
        "one value over and over": ((1 << 20, 1 << 20), (0, 0), 0),
        "huge sides": ((1 << 62, 1 << 62), (0, 0), 0),
        "huge sides of nothing": ((0, 1 << 62, 1 << 62), (1, 1, 1), 0),
        "a hundred dimensions": ((1,) * 100, (1,) * 100, 0),
        "strides for another shape": ((2, 2), (1,), 0),
        "sides that are floats": ((2.0,), (1,), 0),
        "sides that are text": (("2",), (1,), 0),
        "sides that are truths": ((True,), (1,), 0),
        "a shape that is a list": (c.Raw(c.operations([4])), (1,), 0),
    }
    for name, (shape, strides, offset) in wrong.items():
        rebuild = c.Global("torch._utils", "_rebuild_tensor_v2")
        shape = shape if isinstance(shape, c.Raw) else tuple(shape)
        yield name, {"a": c.Call(rebuild, (stored, offset, shape, strides, False, {}))}


def storages():
    """Storages that are not what the checkpoint says of them."""
    for name, size in {"long": 5, "huge": 2**62, "negative": -4}.items():
        yield f"a {name} storage", {"a": c.view(c.storage("FloatStorage", "0", size), (1,), (1,))}
    yield "a missing storage", {"a": c.view(c.storage("FloatStorage", "9", 4), (4,), (1,))}
    climbing = c.storage("FloatStorage", "../../../etc/passwd", 4)
    yield "a storage elsewhere", {"a": c.view(climbing, (4,), (1,))}


def doubled(depth):
    """Operations for a tuple of a tuple of ... twice each: 2^depth leaves in a few bytes."""
    return b"N" + b"q\x00h\x00\x86" * depth


def bombs():
    """Pickles that are small and want much."""
    yield "key that takes for ever to hash", {c.Raw(doubled(60)): 1, **GOOD}
    yield "call that takes for ever to show", c.Raw(doubled(60) + b")R")
    yield "tensor that takes for ever to show", {"a": _shown(doubled(60))}
    ordered = c.operations(c.Global("collections", "OrderedDict"))
    pairs = c.operations([(f"k{i}", i) for i in range(5000)])
    copies = b"(" + ordered + b"q\x01" + pairs + b"\x85q\x02" + b"R" + b"h\x01h\x02R" * 100_000
    yield "copies without end", c.Raw(copies + b"l")
    yield "items without end", c.Raw(b"(" + b"}" * 1_900_000 + b"t")
    yield "marks without end", c.Raw(b"(" * 1_900_000)
    yield "a memo without end", c.Raw(b"N" + b"\x94" * 1_900_000)
    yield "a pickle without end", c.Raw(b"N0" * 8_000_000)
    yield "nested without end", c.Raw(b"]" * 300_000 + b"a" * 299_999)
    yield "a memo of two billion places", c.Raw(b"Nr\xff\xff\xff\x7f")
    yield "text of four gigabytes", c.Raw(b"X\xff\xff\xff\xffab")
    yield "text of many exabytes", c.Raw(b"\x8d" + b"\xff" * 8 + b"ab")
    yield "bytes of many exabytes", c.Raw(b"\x8e" + b"\xff" * 8 + b"ab")
    yield "a number of two gigabytes", c.Raw(b"\x8b\xff\xff\xff\x7fab")
    yield "a number of a million bytes", {"a": c.Raw(_long(1_000_000))}
    yield "itself", c.Raw(b"}q\x00(" + c.operations("model") + b"h\x00u")
    yield "twice itself", c.Raw(b"}q\x00(X\x05\x00\x00\x00modelh\x00X\x03\x00\x00\x00emah\x00u")


def _shown(operations):
    return c.Call(c.Global("torch._utils", "_rebuild_parameter"), (c.Raw(operations),))


def _long(length):
    return b"\x8b" + struct.pack("<i", length) + b"\x7f" * length


def archives():
    """Zip archives that are not what they say."""
    big = {"a.npy": npy((24 * MEGABYTE,)) + bytes(96 * MEGABYTE)}
    yield "npz bomb", c.zipped(big, zipfile.ZIP_DEFLATED)
    yield "npz bomb by its header", c.zipped({"a.npy": npy((1 << 40,)) + bytes(64)})
    many = {f"{i}.npy": npy((MEGABYTE,)) + bytes(4 * MEGABYTE) for i in range(40)}
    yield "npz of many bombs", c.zipped(many, zipfile.ZIP_DEFLATED)
    small = {"a.npy": npy((4,)) + bytes(64 * MEGABYTE)}
    yield "npz with more than it says", c.zipped(small, zipfile.ZIP_DEFLATED)
    pickle_bomb = {"x/data.pkl": c.pickled([]) + bytes(64 * MEGABYTE)}
    yield "pickle bomb", c.zipped(pickle_bomb, zipfile.ZIP_DEFLATED)
    yield "overlapping entries", overlapping()
    yield "the same entry twice", doubled_entry()
    fine = bytearray(c.torch_zip(GOOD, DATA))
    yield "encrypted", bytes(_patched(fine, b"PK\x01\x02", 8, b"\x01\x00"))
    yield "another method", bytes(_patched(fine, b"PK\x01\x02", 10, b"\x0c\x00"))
    yield "wrong checksum", bytes(_patched(fine, b"PK\x01\x02", 16, b"\xde\xad\xbe\xef"))
    yield "place beyond the end", bytes(_patched(fine, b"PK\x01\x02", 42, b"\xf0\xff\xff\xff"))
    yield "directory beyond the end", bytes(_patched(fine, b"PK\x05\x06", 16, b"\xf0\xff\xff\x7f"))
    yield "count of entries", bytes(_patched(fine, b"PK\x05\x06", 10, b"\xff\xff"))
    yield "something behind", bytes(fine) + b"more"
    yield (
        "TorchScript",
        c.zipped(
            {"x/data.pkl": c.pickled(GOOD), "x/constants.pkl": c.pickled(()), "x/code/m.py": b"1"}
        ),
    )
    yield "two pickles", c.zipped({"x/data.pkl": c.pickled(GOOD), "y/data.pkl": c.pickled(GOOD)})
    yield "no pickle", c.zipped({"readme.txt": b"hello"})
    yield "unknown byte order", c.torch_zip(GOOD, DATA, order=b"middle")
    short = {"a": c.view(c.storage("FloatStorage", "0", 3), (1,), (1,))}
    yield "a short storage", c.torch_zip(short, DATA)
    yield "objects in npz", objects()
    for name, header in NPY_HEADERS.items():
        yield name, c.zipped({"a.npy": npy_raw(header) + bytes(64)})


NPY_HEADERS = {
    "npz of nothing": "",
    "npz of code": RUN,
    "npz of a call": f"{{'descr': {RUN}, 'fortran_order': False, 'shape': (2,), }}\n",
    "npz of a record": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }\n",
    "npz of text": "{'descr': '<U4', 'fortran_order': False, 'shape': (2,), }\n",
    "npz of a negative side": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }\n",
    "npz of huge sides": (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 18}, {'9' * 18}), }}\n"
    ),
    "npz of huge digits": (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 9000},), }}\n"
    ),
    "npz of digits without end": (
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 15_000}x"
    ),
    "npz of brackets": "(" * 15_000,
    "npz of spaces": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1 " * 6000 + "x",
}


def npy_raw(header: str) -> bytes:
    """Return the beginning of an .npy file with a header of one's own."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def npy(shape) -> bytes:
    """Return the beginning of an .npy file of float32 zeros."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def objects() -> bytes:
    """Return an .npz file of Python objects that call a function when they are unpickled."""
    out = io.BytesIO()
    np.savez(out, a=np.array([Reduced(os.system, COMMAND)], object))
    return out.getvalue()


def _patched(data, before, at, new):
    """Replace bytes at an offset from the last place of a signature."""
    data = bytearray(data)
    start = data.rfind(before) + at
    data[start : start + len(new)] = new
    return data


def overlapping() -> bytes:
    """Return an archive with an entry inside another one's bytes, both well-formed."""
    inner = c.zipped({"x/data/1": ONE.tobytes()})
    start = inner.find(b"PK\x01\x02")
    pickle = c.pickled({"a": c.tensor(ONE, "0"), "b": c.tensor(ONE, "1")})
    outer = c.zipped({"x/data/0": inner[:start], "x/data.pkl": pickle})
    directory, end = outer.find(b"PK\x01\x02", len(inner)), outer.rfind(b"PK\x05\x06")
    entry = bytearray(inner[start : inner.rfind(b"PK\x05\x06")])
    struct.pack_into("<L", entry, 42, outer.find(inner[:start]))
    tail = bytearray(outer[end:])
    struct.pack_into("<2H2L", tail, 8, 3, 3, end - directory + len(entry), directory)
    return outer[:end] + bytes(entry) + bytes(tail)


def doubled_entry() -> bytes:
    """Return an archive whose directory lists an entry twice."""
    fine = c.zipped({"x/data.pkl": c.pickled(GOOD)})
    start, end = fine.find(b"PK\x01\x02"), fine.rfind(b"PK\x05\x06")
    tail = bytearray(fine[end:])
    struct.pack_into("<2H2L", tail, 8, 2, 2, 2 * (end - start), start)
    return fine[:end] + fine[start:end] + bytes(tail)


def legacy():
    """Checkpoints of old that lie."""
    fine = c.as_legacy({"a": ONE})
    yield "count beyond the end", fine[:-24] + struct.pack("<q", 2**61) + fine[-16:]
    yield "negative count", fine[:-24] + struct.pack("<q", -1) + fine[-16:]
    yield "storages not listed", c.torch_legacy(GOOD, {})
    one = {"a": c.view(c.storage("FloatStorage", "7", 4, ("8", 2**60, 4)), (4,), (1,))}
    yield "view beyond its storage", c.torch_legacy(one, {"7": ONE})
    two = {
        "a": c.tensor(ONE, "0", None),
        "b": c.view(c.storage("DoubleStorage", "0", 2, None), (2,), (1,)),
    }
    yield "one storage of two types", c.torch_legacy(two, {"0": ONE})
    yield "another magic number", fine.replace(b"\xfc\x9cF\xf9", b"\xfc\x9cF\xf8", 1)
    yield "a plain pickle", pickle.dumps({"a": 1})
    yield "a pickle that runs", pickle.dumps(Reduced(os.system, COMMAND))
    yield "a pickle of protocol 0", pickle.dumps(Reduced(eval, RUN), 0)
    for protocol in (2, 3, 4, 5):
        runs = pickle.dumps({"a": Reduced(exec, RUN)}, protocol)
        head = b"".join(c.pickled(v) for v in (c.MAGIC_NUMBER, 1001, {}))
        yield f"protocol {protocol} runs in a checkpoint", head + runs


def in_both(name, checkpoint):
    """A checkpoint in an archive and as one of old."""
    yield f"{name}, zip", c.torch_zip(checkpoint, DATA)
    yield f"{name}, legacy", c.torch_legacy(checkpoint, {"0": ONE})


def all_files():
    """Every hostile file, by name."""
    for table in (CALLS, TRICKS):
        for name, value in table.items():
            yield from in_both(name, {"a": GOOD["a"], "b": value})
    for make in (views, storages):
        for name, checkpoint in make():
            yield from in_both(name, checkpoint)
    for name, checkpoint in bombs():
        yield name, c.torch_zip(checkpoint, DATA)
    array = np.zeros(1 << 14, np.float32)
    tied = {f"t{i}": c.tensor(array, "0") for i in range(3000)}
    yield "one storage three thousand times", c.torch_zip(tied, {"0": array.tobytes()})
    yield from archives()
    yield from legacy()
