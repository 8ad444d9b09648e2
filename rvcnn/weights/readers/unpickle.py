"""Pickles as data: a machine for the operations that containers and tensors need, and no others.

Python's own unpickler imports and calls what a file names. This one imports nothing: a name that a
file asks for is looked up in a table, and one that is not in the table ends the reading there and
then. A file's calls reach only the functions of that table, which build plain values.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from rvcnn.weights.contents import HEADER_LIMIT, Refusal, shown

PROTO, STOP, MARK = b"\x80", b".", b"("

_CONSTANTS = {b"N": None, b"\x88": True, b"\x89": False}
_NUMBERS = {
    b"K": struct.Struct("<B"),
    b"M": struct.Struct("<H"),
    b"J": struct.Struct("<i"),
    b"G": struct.Struct(">d"),
}
_LONGS = {b"\x8a": 1, b"\x8b": 4}
_TEXTS = {b"\x8c": 1, b"X": 4, b"\x8d": 8}
_BYTES = {b"C": 1, b"B": 4, b"\x8e": 8}
_OLD_TEXTS = {b"U": 1, b"T": 4}  # what Python 2 called str
_EMPTY = {b"}": dict, b"]": list, b")": tuple, b"\x8f": list}
_TUPLES = {b"\x85": 1, b"\x86": 2, b"\x87": 3}
_PUTS = {b"q": 1, b"r": 4}
_GETS = {b"h": 1, b"j": 4}
_CALLS = {b"\x81": "NEWOBJ", b"\x92": "NEWOBJ_EX", b"o": "OBJ"}
_EXTENSIONS = {b"\x82", b"\x83", b"\x84"}
_MOST_COPIED = 1 << 17  # items that calls are handed: a file of a few bytes could ask for anything
_KEYS = (str, int, float, bool, bytes, type(None))


class Function(NamedTuple):
    """What a name in a file may stand for if the file may call it."""

    call: Callable[[tuple], Any]


class Marker(NamedTuple):
    """What a name may stand for if it may only be mentioned."""

    value: Any


class Unpickler:
    """One pickle in a buffer.

    Parameters
    ----------
    buffer : memoryview
    known : mapping of (str, str) to Function or Marker
        What a file may name, by module and name.
    persistent : callable
        Gives the object for a persistent id.
    """

    def __init__(
        self,
        buffer: memoryview,
        known: Mapping[tuple[str, str], Function | Marker],
        persistent: Callable[[Any], Any],
    ):
        self._buffer = buffer
        self._known = known
        self._persistent = persistent

    def load(self, start: int = 0) -> tuple[Any, int]:
        """Read one pickle from an offset; return its object and the offset behind it.

        Raises
        ------
        Refusal
            If it is damaged, longer than ``HEADER_LIMIT``, or names what is not in the table.
        """
        self._at = start
        self._end = min(len(self._buffer), start + HEADER_LIMIT)
        self._stack, self._outer, self._memo, self._copied = [], [], {}, 0
        while True:
            code = self._take(1)
            if code == STOP:
                return self._pop(), self._at
            self._step(code)

    def _step(self, code: bytes) -> None:
        if code in _CONSTANTS:
            self._push(_CONSTANTS[code])
        elif code in _NUMBERS:
            number = _NUMBERS[code]
            self._push(number.unpack(self._take(number.size))[0])
        elif code in _LONGS:
            self._push(int.from_bytes(self._counted(_LONGS[code]), "little", signed=True))
        elif code in _TEXTS:
            self._push(str(self._counted(_TEXTS[code]), "utf-8"))
        elif code in _BYTES:
            self._push(self._counted(_BYTES[code]))
        elif code in _OLD_TEXTS:
            self._push(str(self._counted(_OLD_TEXTS[code]), "latin-1"))
        elif code in _EMPTY:
            self._push(_EMPTY[code]())
        elif code in _TUPLES:
            self._push(tuple(self._pop_last(_TUPLES[code])))
        elif code in _PUTS:
            self._memo[self._number(_PUTS[code])] = self._top()
        elif code in _GETS:
            self._push(self._remembered(self._number(_GETS[code])))
        elif code in _CALLS:
            raise Refusal(f"a pickle that makes objects ({_CALLS[code]}); nothing of it was run")
        elif code in _EXTENSIONS:
            raise Refusal("a pickle that names things by number (copyreg extensions)")
        elif code in _OPERATIONS:
            _OPERATIONS[code](self)
        else:
            raise Refusal(f"a pickle with an operation that rvcnn does not know: {code!r}")

    # --- bytes and the stack ------------------------------------------------------------------

    def _take(self, count: int) -> bytes:
        at, self._at = self._at, self._at + count
        if self._at > self._end:
            raise Refusal("a pickle that was cut off, or is too long")
        return bytes(self._buffer[at : self._at])

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _counted(self, width: int) -> bytes:
        return self._take(self._number(width))

    def _line(self) -> str:
        taken = bytearray()
        while (byte := self._take(1)) != b"\n":
            taken += byte
        return str(taken, "utf-8")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if not self._stack:
            raise Refusal("a pickle that takes from an empty stack")
        return self._stack.pop()

    def _top(self) -> Any:
        self._push(value := self._pop())
        return value

    def _pop_last(self, count: int) -> list:
        return [self._pop() for _ in range(count)][::-1]

    def _pop_marked(self) -> list:
        if not self._outer:
            raise Refusal("a pickle without the mark it goes back to")
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _remembered(self, index: int) -> Any:
        if index not in self._memo:
            raise Refusal("a pickle that asks for what it never kept")
        return self._memo[index]

    # --- operations ---------------------------------------------------------------------------

    def _proto(self) -> None:
        protocol = self._number(1)
        if not 2 <= protocol <= 5:
            raise Refusal(f"a pickle of protocol {protocol}")

    def _frame(self) -> None:
        self._take(8)

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _pop_mark(self) -> None:
        self._pop_marked()

    def _memoize(self) -> None:
        self._memo[len(self._memo)] = self._top()

    def _tuple(self) -> None:
        self._push(tuple(self._pop_marked()))

    def _frozenset(self) -> None:
        self._push(self._pop_marked())

    def _append(self) -> None:
        value = self._pop()
        self._container(list).append(value)

    def _appends(self) -> None:
        items = self._pop_marked()
        self._container(list).extend(items)

    def _setitem(self) -> None:
        pair = self._pop_last(2)
        set_items(self._container(dict), [pair])

    def _setitems(self) -> None:
        items = self._pop_marked()
        if len(items) % 2:
            raise Refusal("a pickle with a key that has no value")
        set_items(self._container(dict), zip(items[::2], items[1::2], strict=True))

    def _container(self, kind: type) -> Any:
        target = self._top()
        if type(target) is not kind:
            raise Refusal(f"a pickle that puts items into {shown(target)}")
        return target

    def _global(self) -> None:
        module = self._line()
        self._push(self._find(module, self._line()))

    def _inst(self) -> None:
        self._global()
        raise Refusal("a pickle that makes objects (INST); nothing of it was run")

    def _stack_global(self) -> None:
        self._push(self._find(*self._pop_last(2)))

    def _find(self, module: Any, name: Any) -> Function | Marker:
        if type(module) is not str or type(name) is not str or (module, name) not in self._known:
            raise Refusal(
                f"it asks for {shown(f'{module}.{name}')}, and rvcnn reads tensors and plain "
                "containers only; nothing of the file was run. Save the model's state_dict() alone"
            )
        return self._known[module, name]

    def _reduce(self) -> None:
        function, arguments = self._pop_last(2)
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise Refusal(f"a pickle that calls {shown(function)}")
        self._copied += sum(len(a) for a in arguments if type(a) in (list, tuple))
        if self._copied > _MOST_COPIED:
            raise Refusal("a pickle that copies its containers again and again")
        self._push(function.call(arguments))

    def _build(self) -> None:
        self._pop()  # attributes, as the `_metadata` of a state dict; a plain value has none
        self._container(dict)

    def _persistent_id(self) -> None:
        self._push(self._persistent(self._pop()))


_OPERATIONS = {
    PROTO: Unpickler._proto,
    b"\x95": Unpickler._frame,
    MARK: Unpickler._mark,
    b"0": Unpickler._pop,
    b"1": Unpickler._pop_mark,
    b"\x94": Unpickler._memoize,
    b"t": Unpickler._tuple,
    b"\x91": Unpickler._frozenset,
    b"a": Unpickler._append,
    b"e": Unpickler._appends,
    b"\x90": Unpickler._appends,
    b"s": Unpickler._setitem,
    b"u": Unpickler._setitems,
    b"c": Unpickler._global,
    b"i": Unpickler._inst,
    b"\x93": Unpickler._stack_global,
    b"R": Unpickler._reduce,
    b"b": Unpickler._build,
    b"Q": Unpickler._persistent_id,
}


def set_items(target: dict, pairs) -> None:
    """Put pairs into a dict whose keys must be plain: nothing else can be hashed at no risk."""
    for key, value in pairs:
        if type(key) not in _KEYS:
            raise Refusal(f"a pickle whose dict has the key {shown(key)}")
        target[key] = value
