"""Kernels: Python templates compiled to C functions that take one descriptor.

A template is a Python function in the vocabulary of ``_simd``, ``_int``, ``_narrow``, ``_curves``
and ``_control``, with names for the constants that tell its expansions apart. Its parameters are
annotated: ``F32``, ``U8``, ``S8``, ``S16``, ``S32`` and ``I64`` are pointers, ``int`` and ``float``
scalars. Compiled, it takes the address of as many 64-bit words, in that order: its descriptor. So
every kernel has the same C signature, a program is a table of addresses, and calling one costs
nanoseconds.

Numba is imported only to compile: what is in the disk cache runs without it.
"""

import ctypes
import hashlib
import struct
import threading
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np

from . import _target

_compiling = threading.RLock()
_BYTE = ctypes.c_char
_SIGNATURE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class F32:
    """Annotation: pointer to float32."""

    dtype = np.dtype(np.float32)


class U8:
    """Annotation: pointer to uint8."""

    dtype = np.dtype(np.uint8)


class S8:
    """Annotation: pointer to int8."""

    dtype = np.dtype(np.int8)


class S16:
    """Annotation: pointer to int16."""

    dtype = np.dtype(np.int16)


class S32:
    """Annotation: pointer to int32."""

    dtype = np.dtype(np.int32)


class I64:
    """Annotation: pointer to int64."""

    dtype = np.dtype(np.int64)


def word(value):
    """A scalar as a descriptor's 64-bit word: integers as they are, floats by their bits."""
    return struct.unpack("<q", struct.pack("<d", value))[0] if isinstance(value, float) else value


def address_of(array):
    """Address of an array's first element."""
    try:
        return ctypes.addressof(_BYTE.from_buffer(array))
    except (TypeError, ValueError, BufferError):  # it is read-only, strided or empty
        return array.__array_interface__["data"][0]


class Kernel:
    """One expansion of a template, compiled when first needed and kept in the disk cache.

    Attributes
    ----------
    family : Family
    name : str
        ``<dtype>_<op>_<tile>__v<lanes>``.
    constants : dict of str to int or str
        What the template was expanded with.
    parameters : dict of str to type
        Kind of each parameter, in the descriptor's order.
    path : Path
        Its object code in the disk cache.
    """

    def __init__(self, family, name, constants):
        self.family = family
        self.name = name
        self.constants = constants
        self.parameters = dict(family.template.__annotations__)
        self.path = _target.cache_dir() / f"{name}{_origin(family.template)}.o"
        self._engine = None
        self._address = None
        self._function = None

    def __repr__(self):
        return f"<kernel {self.name}>"

    @property
    def address(self):
        """Address of the C function ``void(int64 *descriptor)``."""
        self.load()
        return self._address

    @property
    def function(self):
        """That function for Python: it takes a descriptor's address, and holds no GIL."""
        self.load()
        return self._function

    def load(self):
        """Load the kernel from the disk cache, or compile it, unless that was done."""
        if self._address is None:
            with _compiling:
                if self._address is None:
                    address = self._load()
                    self._function = _SIGNATURE(address)
                    self._address = address

    def _load(self):
        code = _target.kept(self.path)
        if code is None:
            from ._compile import object_code

            code = object_code(self)
            _target.keep(self.path, code)
        self._engine = _target.engine()
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        self._engine.finalize_object()
        return self._engine.get_function_address(self.name)

    def is_cached(self):
        """Whether the disk cache holds this kernel for this machine."""
        return self.path.exists()

    def llvm_ir(self):
        """Its optimised LLVM IR, compiled anew."""
        from ._compile import llvm_ir

        with _compiling:
            return llvm_ir(self)


def _origin(template):
    """What tells templates of other files apart: the cache folder stands for this package's."""
    source = Path(template.__code__.co_filename)
    if source.parent == Path(__file__).parent:
        return ""
    return "-" + hashlib.sha256(source.read_bytes()).hexdigest()[:16]


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
    exact : bool
        Whether each operation is rounded on its own, so that results are the same on every CPU.
    """

    def __init__(self, template, pattern, work, axes, exact=False):
        self.name = template.__name__
        self.__doc__ = template.__doc__
        self.template = template
        self.pattern = pattern
        self.work = work
        self.axes = axes
        self.exact = exact
        self.kernels = {}

    def __call__(self, **constants):
        name = self.pattern.format(**constants)
        if name not in self.kernels:
            self.kernels.setdefault(name, Kernel(self, name, constants))
        return self.kernels[name]


def kernel(pattern, work=lambda values: 0, axes=(), exact=False):
    """Declare a kernel template; ``pattern`` names its expansions, as ``f32_relu__v{LANES}``."""

    def declare(template):
        if template.__name__ in FAMILIES:
            raise ValueError(f"two kernels are called {template.__name__}")
        family = Family(template, pattern, work, axes, exact)
        return FAMILIES.setdefault(template.__name__, family)

    return declare


def unroll(*bounds):
    """Mark a loop in a template that is unrolled before compilation."""
    return range(*bounds)
