"""Kernels: Python templates compiled to C functions that take one descriptor.

A template's parameters are annotated: ``F32``, ``U8`` and ``I64`` are pointers, ``int`` and
``float`` scalars. Compiled, the kernel takes the address of as many 64-bit words, in that order:
its descriptor. So every kernel has the same C signature, a program is a table of addresses, and
calling one costs nanoseconds. All compiler flags of the project are in this file.
"""

import ast
import marshal
import struct
import threading
from types import FunctionType

import numba
import numpy as np
from llvmlite import ir
from numba import cfunc, types
from numba.extending import intrinsic

from . import _target, _unroll

_FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}
_DESCRIPTOR = types.void(types.CPointer(types.int64))
_compiling = threading.RLock()

inline = numba.njit(forceinline=True, **_FLAGS)
"""Decorator of helpers that kernels call; they become part of the kernel."""


class F32:
    """Annotation: pointer to float32."""

    dtype = np.dtype(np.float32)


class U8:
    """Annotation: pointer to uint8."""

    dtype = np.dtype(np.uint8)


class I64:
    """Annotation: pointer to int64."""

    dtype = np.dtype(np.int64)


def _pointer_to(element):
    @intrinsic
    def pointer(typingctx, address):
        def codegen(context, builder, sig, args):
            return builder.inttoptr(args[0], context.get_value_type(sig.return_type))

        return types.CPointer(element)(types.int64), codegen

    return pointer


@intrinsic
def _bits_to_float(typingctx, word):
    def codegen(context, builder, sig, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def _itself(typingctx, word):
    def codegen(context, builder, sig, args):
        return args[0]

    return types.int64(types.int64), codegen


_UNPACK = {
    F32: _pointer_to(types.float32),
    U8: _pointer_to(types.uint8),
    I64: _pointer_to(types.int64),
    float: _bits_to_float,
    int: _itself,
}


def word(value):
    """A scalar as a descriptor's 64-bit word: integers as they are, floats by their bits."""
    return struct.unpack("<q", struct.pack("<d", value))[0] if isinstance(value, float) else value


def address_of(array):
    """Address of an array's first element."""
    return array.__array_interface__["data"][0]


class Kernel:
    """One expansion of a template, compiled when first needed and kept in the disk cache.

    Attributes
    ----------
    family : Family
    name : str
        ``<dtype>_<op>_<tile>__v<lanes>``.
    constants : dict of str to int
        What the template was expanded with.
    parameters : dict of str to type
        Kind of each parameter, in the descriptor's order.
    """

    def __init__(self, family, name, constants):
        self.family = family
        self.name = name
        self.constants = constants
        self.parameters = dict(family.template.__annotations__)
        self._template = family.template
        self._compiled = None

    def __repr__(self):
        return f"<kernel {self.name}>"

    def compiled(self):
        """The Numba C callback, compiled or loaded from the disk cache at the first call."""
        if self._compiled is None:
            with _compiling:
                if self._compiled is None:
                    self._compiled = self._compile()
        return self._compiled

    def _compile(self):
        unpack = {f"_unpack_{kind.__name__}": convert for kind, convert in _UNPACK.items()}
        function = FunctionType(self._code(), {**self._template.__globals__, **unpack})
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = str(_target.cache_dir())
        try:
            return cfunc(_DESCRIPTOR, cache=True, **_FLAGS)(function)
        finally:
            numba.config.CACHE_DIR = before

    def _code(self):
        """The expanded template's code, kept beside the compiled kernel: unrolling takes time."""
        path = _target.cache_dir() / f"{self.name}.code"
        try:
            return marshal.loads(path.read_bytes())
        except (OSError, ValueError, EOFError, TypeError):
            code = _unroll.expand(
                self._template, self.name, self.constants, self._unpack_descriptor
            )
            _target.write_atomically(path, marshal.dumps(code))
            return code

    def _unpack_descriptor(self, function):
        """Replace the parameters by one descriptor that the first statements take apart."""
        lines = [
            f"{name} = _unpack_{kind.__name__}(descriptor[{i}])"
            for i, (name, kind) in enumerate(self.parameters.items())
        ]
        function.args = ast.parse("lambda descriptor: 0", mode="eval").body.args
        docstring = ast.get_docstring(function) is not None
        function.body[:docstring] = ast.parse("\n".join(lines)).body

    @property
    def address(self):
        """Address of the C function ``void(int64 *descriptor)``."""
        return self.compiled().address

    def is_cached(self):
        """Whether the disk cache holds this kernel for this machine."""
        return any(_target.cache_dir().glob(f"*/*.{self.name}-*.nbc"))


FAMILIES = {}
"""Every kernel template by name."""


class Family:
    """A kernel template; called with its constants it gives the :class:`Kernel`.

    Attributes
    ----------
    work : callable
        Operations on one lane that a call does, from its arguments and constants by name.
    axes : tuple of Axis
        Loops along which a call can be divided.
    """

    def __init__(self, template, pattern, work, axes):
        self.name = template.__name__
        self.__doc__ = template.__doc__
        self.template = template
        self.pattern = pattern
        self.work = work
        self.axes = axes
        self.kernels = {}

    def __call__(self, **constants):
        name = self.pattern.format(**constants)
        if name not in self.kernels:
            self.kernels.setdefault(name, Kernel(self, name, constants))
        return self.kernels[name]


def kernel(pattern, work=lambda values: 0, axes=()):
    """Declare a kernel template; ``pattern`` names its expansions, as ``f32_relu__v{LANES}``."""

    def declare(template):
        if template.__name__ in FAMILIES:
            raise ValueError(f"two kernels are called {template.__name__}")
        return FAMILIES.setdefault(template.__name__, Family(template, pattern, work, axes))

    return declare


def unroll(*bounds):
    """Mark a loop in a template that is unrolled before compilation."""
    return range(*bounds)
