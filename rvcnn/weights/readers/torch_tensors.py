"""What PyTorch's pickles may name, and the way from their objects to a state dict."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from rvcnn.weights.contents import DTYPES, Contents, Refusal, Stored, check_shape, shown

from .unpickle import Function, Marker, set_items

STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}

ENTRIES = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "network",
    "net",
    "params",
)
"""Where training scripts put the state dict; averaged weights, which they evaluate, come first."""

_DEEPEST = 4


class Storage(NamedTuple):
    """Values that tensors are views of: `size` elements from `first` on of what `key` names."""

    dtype: str
    key: str
    size: int
    first: int = 0


class Tensor(NamedTuple):
    """A view of a storage; `offset` and `strides` in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def storage_of(identity: Any) -> Storage:
    """Return the storage that a persistent id names.

    It is ``("storage", type, key, location, size)``; legacy files add None or a view of another,
    ``(key, offset, size)``.
    """
    match identity:
        case ("storage", Marker(str(dtype)), str(key), _, int(size), *view):
            first = 0
            if view and view[0] is not None:
                match view:
                    case [(_, int(first), int(size))]:
                        pass
                    case _:
                        raise Refusal(f"a storage that is a view of {shown(view)}")
            if size < 0 or first < 0:
                raise Refusal(f"a storage of {size} elements from {first}")
            return Storage(dtype, key, size, first)
    raise Refusal(f"a persistent id that is no storage: {shown(identity)}")


def _tensor(arguments: tuple) -> Tensor:
    match arguments:
        case (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_):
            _check_view(storage, offset, shape, strides)
            return Tensor(storage, offset, shape, strides)
    raise Refusal(f"a tensor made of {shown(arguments)}")


def _check_view(storage, offset, shape, strides):
    """Raise Refusal unless a view lies within its storage and has no more elements than it."""
    check_shape("a tensor", shape)
    check_shape("a tensor's strides", strides)
    if len(shape) != len(strides) or offset < 0:
        raise Refusal(f"a tensor of {shape} with strides {strides} from {offset}")
    size, last = 1, offset
    for side, stride in zip(shape, strides, strict=True):
        size *= side
        last += max(side - 1, 0) * stride
    if size and (last >= storage.size or size > storage.size - offset):
        raise Refusal(f"a tensor of {shape} in a storage of {storage.size} elements")


def _parameter(arguments: tuple) -> Tensor:
    if not arguments or type(arguments[0]) is not Tensor:
        raise Refusal(f"a parameter made of {shown(arguments)}")
    return arguments[0]


def _dict(arguments: tuple) -> dict:
    made = {}
    match arguments:
        case ():
            pass
        case ([*pairs],) if all(isinstance(p, (list, tuple)) and len(p) == 2 for p in pairs):
            set_items(made, pairs)
        case _:
            raise Refusal(f"a dict made of {shown(arguments)}")
    return made


def _sequence(arguments: tuple) -> tuple:
    match arguments:
        case ():
            return ()
        case ((list() | tuple()) as items,):
            return tuple(items)
    raise Refusal(f"a sequence made of {shown(arguments)}")


KNOWN: Mapping[tuple[str, str], Function | Marker] = {
    ("collections", "OrderedDict"): Function(_dict),
    ("torch._utils", "_rebuild_tensor"): Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_parameter),
    ("torch", "Size"): Function(_sequence),
    ("builtins", "set"): Function(_sequence),
    ("__builtin__", "set"): Function(_sequence),
    **{("torch", name): Marker(dtype) for name, dtype in STORAGES.items()},
}
"""Every name that a checkpoint may use, and what it means here."""


def contents_of(
    checkpoint: Any, entry: str | None, data: Callable[[Storage], memoryview], order: str
) -> Contents:
    """Find a checkpoint's state dict, and its tensors in the file.

    Parameters
    ----------
    checkpoint : object
        What the pickle held.
    entry : str, optional
        Where in it the state dict is; by default the first of ``ENTRIES`` that is there.
    data : callable
        Gives the bytes of a storage.
    order : {"<", ">"}
    """
    found, notes = _state_dict(checkpoint, entry)
    tensors, sizes = {}, {}
    for name, tensor in _tensors(found):
        if tensor.storage not in sizes:
            sizes[tensor.storage] = len(data(tensor.storage))
        needed = tensor.storage.size * DTYPES[tensor.storage.dtype].itemsize
        if sizes[tensor.storage] != needed:
            raise Refusal(f"tensor {shown(name)} has a storage of another size than it states")
        tensors[name] = Stored(
            tensor.storage.dtype,
            tensor.shape,
            functools.partial(data, tensor.storage),
            tensor.offset,
            tensor.strides,
            order,
        )
    return Contents(tensors, {}, notes)


def _tensors(found: Mapping) -> Iterable[tuple[str, Tensor]]:
    return ((name, t) for name, t in found.items() if type(name) is str and type(t) is Tensor)


def _state_dict(checkpoint, entry):
    """The mapping of names to tensors, and a note on where it was."""
    if entry is not None:
        inner = checkpoint.get(entry) if type(checkpoint) is dict else None
        if type(inner) is not dict or not any(_tensors(inner)):
            raise Refusal(f"a checkpoint without tensors under {shown(entry)}")
        return inner, ()
    path, others = [], []
    for _ in range(_DEEPEST):
        here = [name for name in ENTRIES if _holds_tensors(checkpoint, name)]
        if not here:
            break
        path.append(here[0])
        others += here[1:]
        checkpoint = checkpoint[here[0]]
    if type(checkpoint) is not dict or not any(_tensors(checkpoint)):
        raise Refusal("a checkpoint without a state dict: tensors by name")
    if not path:
        return checkpoint, ()
    also = f"; {' and '.join(others)} left aside" if others else ""
    return checkpoint, (f"took the tensors under {'.'.join(path)}{also}",)


def _holds_tensors(checkpoint, name):
    """Whether an entry of a checkpoint is, or leads to, a state dict."""
    for _ in range(_DEEPEST):
        checkpoint = checkpoint.get(name) if type(checkpoint) is dict else None
        if type(checkpoint) is not dict:
            return False
        if any(_tensors(checkpoint)):
            return True
        name = next((key for key in ENTRIES if type(checkpoint.get(key)) is dict), "")
    return False
