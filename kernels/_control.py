"""What programs are walked with: calls by address, and words that threads share."""

from llvmlite import ir
from numba import types
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
