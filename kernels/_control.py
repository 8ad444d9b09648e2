"""Calls by address, words that threads share, and memory asked for ahead of its use."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def call_address(typingctx, address, argument):
    def codegen(context, builder, sig, args):
        pointer = ir.IntType(64).as_pointer()
        function = ir.FunctionType(ir.VoidType(), [pointer]).as_pointer()
        builder.call(builder.inttoptr(args[0], function), [builder.inttoptr(args[1], pointer)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def fetch_add(typingctx, words, index, amount):
    """Atomically add to ``words[index]``; the value before."""

    def codegen(context, builder, sig, args):
        place = builder.gep(args[0], [args[1]])
        return builder.atomic_rmw("add", place, args[2], "seq_cst")

    return types.int64(words, types.int64, types.int64), codegen


@intrinsic
def peek(typingctx, words, index):
    """Atomically read ``words[index]``."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.gep(args[0], [args[1]]), "seq_cst", 8)

    return types.int64(words, types.int64), codegen


@intrinsic
def prefetch(typingctx, pointer, offset):
    """Ask for the cache line of ``pointer[offset]``, which may lie anywhere."""

    def codegen(context, builder, sig, args):
        byte = ir.IntType(8).as_pointer()
        place = builder.bitcast(builder.gep(args[0], [args[1]]), byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, *[ir.IntType(32)] * 3])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, keep, data = (ir.Constant(ir.IntType(32), n) for n in (0, 3, 1))
        builder.call(function, [place, read, keep, data])
        return context.get_dummy_value()

    return types.void(pointer, types.int64), codegen


@intrinsic
def hidden(typingctx, number):
    """A whole number that the compiler cannot know: a loop that stores it calls no ``memset``."""

    def codegen(context, builder, sig, args):
        value = context.cast(builder, args[0], number, types.int64)
        kind = ir.FunctionType(value.type, [value.type])
        return builder.call(ir.InlineAsm(kind, "", "=r,0"), [value])

    return types.int64(number), codegen
