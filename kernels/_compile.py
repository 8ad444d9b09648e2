"""Compile a kernel with Numba: the only place, with ``_simd`` and ``_curves``, that needs it.

What Numba makes of a kernel is self-contained machine code, so it is kept as an object file and a
later process loads it without Numba.
"""

import ast
from types import FunctionType

import llvmlite.binding as llvm
from llvmlite import ir
from numba import cfunc, types
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.extending import intrinsic

from . import _control, _curves, _flags, _int, _narrow, _pairs, _simd, _target, _unroll, _winograd

_DESCRIPTOR = types.void(types.CPointer(types.int64))

IDLE = ("InlineClosureLikes", "NopythonRewrites", "IRLegalization")
"""Numba's passes for closures, expressions of arrays and counted references, by their classes."""


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
    "_unpack_F32": _pointer_to(types.float32),
    "_unpack_U8": _pointer_to(types.uint8),
    "_unpack_S8": _pointer_to(types.int8),
    "_unpack_S16": _pointer_to(types.int16),
    "_unpack_S32": _pointer_to(types.int32),
    "_unpack_I64": _pointer_to(types.int64),
    "_unpack_float": _bits_to_float,
    "_unpack_int": _itself,
}
_VOCABULARY = {
    **vars(_simd),
    **vars(_int),
    **vars(_narrow),
    **vars(_pairs),
    **vars(_curves),
    **vars(_control),
    **vars(_winograd),
    **_UNPACK,
}


class _Compiler(CompilerBase):
    """Numba's own, without passes that find nothing to do in a template."""

    def define_pipelines(self):
        pipeline = DefaultPassBuilder.define_nopython_pipeline(self.state)
        pipeline.passes = [step for step in pipeline.passes if step[0].__name__ not in IDLE]
        pipeline.finalize()
        return [pipeline]


def llvm_ir(kernel):
    """Optimised LLVM IR of a kernel, a function of the kernel's name that takes a descriptor."""

    def unpack_descriptor(function):
        lines = [
            f"{name} = _unpack_{kind.__name__}(descriptor[{i}])"
            for i, (name, kind) in enumerate(kernel.parameters.items())
        ]
        function.args = ast.parse("lambda descriptor: 0", mode="eval").body.args
        docstring = ast.get_docstring(function) is not None
        function.body[:docstring] = ast.parse("\n".join(lines)).body

    template = kernel.family.template
    code = _unroll.expand(template, kernel.name, kernel.constants, unpack_descriptor)
    function = FunctionType(code, {**_VOCABULARY, **template.__globals__})
    flags = _flags.EXACT if kernel.family.exact else _flags.FLAGS
    # What is not inlined is asked for exceptions, by functions that only Numba has.
    callback = cfunc(_DESCRIPTOR, pipeline_class=_Compiler, forceinline=True, **flags)(function)
    return callback.inspect_llvm().replace(callback.native_name, kernel.name)


def object_code(kernel):
    """Machine code of a kernel for this machine, as an object file's bytes."""
    module = llvm.parse_assembly(llvm_ir(kernel))
    return _target.machine(module.triple).emit_object(module)
