"""Two registers as one row of pairs."""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ._simd import _INT, _address


@intrinsic
def store_pairs(typingctx, pointer, offset, a, b):
    """Write ``a[0], b[0], a[1], b[1], ...`` to ``pointer[offset]`` on."""

    def codegen(context, builder, sig, args):
        order = [lane + side * a.lanes for lane in range(a.lanes) for side in (0, 1)]
        mask = ir.Constant(ir.VectorType(_INT, 2 * a.lanes), order)
        pairs = builder.shuffle_vector(args[2], args[3], mask)
        place = builder.store(pairs, _address(builder, args[0], args[1], 2 * a.lanes))
        place.align = 4
        return context.get_dummy_value()

    return types.void(pointer, types.int64, a, b), codegen
