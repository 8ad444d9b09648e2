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
            if code not in _OPERATIONS:
                raise Refusal(f"a pickle with an operation that rvcnn does not know: {code!r}")
            _OPERATIONS[code](self)

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

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self._memo:
            raise Refusal("a pickle that asks for what it never kept")
        self._push(self._memo[index])

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
        self._put(len(self._memo))

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
        self._refuse_object("INST")

    def _refuse_object(self, operation: str) -> None:
        raise Refusal(f"a pickle that makes objects ({operation}); nothing of it was run")

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


_OPERATIONS: dict[bytes, Callable[[Unpickler], None]] = {
    PROTO: Unpickler._proto,
    MARK: Unpickler._mark,
    b"\x95": Unpickler._frame,
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
    b"N": lambda m: m._push(None),
    b"\x88": lambda m: m._push(True),
    b"\x89": lambda m: m._push(False),
    b"}": lambda m: m._push({}),
    b")": lambda m: m._push(()),
    b"]": lambda m: m._push([]),
    b"\x8f": lambda m: m._push([]),  # a set, which is read as a list
    b"K": lambda m: m._push(m._number(1)),
    b"M": lambda m: m._push(m._number(2)),
    b"J": lambda m: m._push(int.from_bytes(m._take(4), "little", signed=True)),
    b"G": lambda m: m._push(struct.unpack(">d", m._take(8))[0]),
    b"\x8a": lambda m: m._push(int.from_bytes(m._counted(1), "little", signed=True)),
    b"\x8b": lambda m: m._push(int.from_bytes(m._counted(4), "little", signed=True)),
    b"\x8c": lambda m: m._push(str(m._counted(1), "utf-8")),
    b"X": lambda m: m._push(str(m._counted(4), "utf-8")),
    b"\x8d": lambda m: m._push(str(m._counted(8), "utf-8")),
    b"U": lambda m: m._push(str(m._counted(1), "latin-1")),  # what Python 2 called str
    b"T": lambda m: m._push(str(m._counted(4), "latin-1")),
    b"C": lambda m: m._push(m._counted(1)),
    b"B": lambda m: m._push(m._counted(4)),
    b"\x8e": lambda m: m._push(m._counted(8)),
    b"\x85": lambda m: m._push(tuple(m._pop_last(1))),
    b"\x86": lambda m: m._push(tuple(m._pop_last(2))),
    b"\x87": lambda m: m._push(tuple(m._pop_last(3))),
    b"q": lambda m: m._put(m._number(1)),
    b"r": lambda m: m._put(m._number(4)),
    b"h": lambda m: m._get(m._number(1)),
    b"j": lambda m: m._get(m._number(4)),
    b"\x81": lambda m: m._refuse_object("NEWOBJ"),
    b"\x92": lambda m: m._refuse_object("NEWOBJ_EX"),
    b"o": lambda m: m._refuse_object("OBJ"),
    b"\x82": lambda m: m._refuse_object("EXT1"),
    b"\x83": lambda m: m._refuse_object("EXT2"),
    b"\x84": lambda m: m._refuse_object("EXT4"),
}
"""What each operation does; one that is not here ends the reading."""


def set_items(target: dict, pairs) -> None:
    """Put pairs into a dict whose keys must be plain: nothing else can be hashed at no risk."""
    for key, value in pairs:
        if type(key) not in _KEYS:
            raise Refusal(f"a pickle whose dict has the key {shown(key)}")
        target[key] = value
