"""From registers of int32 through int16 to bytes, with saturation.

Two registers become one of as many bits. Within each 128 bits of it lie first those of the one,
then those of the other, as x86 has it; what packs a kernel's arrays puts the channels where they
then come out in order (``requantise``).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, models, register_model

from . import _target
from ._int import _BYTE, _INT, _SHORT, Integers, _pick
from ._simd import _address, _call


class Shorts(types.Type):
    """``lanes`` int16 values in a vector register."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(f"s16x{lanes}")


@register_model(Shorts)
class _ShortsModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_SHORT, fe_type.lanes))


class Bytes(types.Type):
    """``lanes`` uint8 values in a vector register."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(f"u8x{lanes}")


@register_model(Bytes)
class _BytesModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_BYTE, fe_type.lanes))


@intrinsic
def to_s32_even(typingctx, x):
    """Float32 as int32, halves to even; for values that int32 can hold."""
    result = Integers(x.lanes)

    def codegen(context, builder, sig, args):
        integers = ir.VectorType(_INT, x.lanes)
        name = f"llvm.lrint.v{x.lanes}i32.v{x.lanes}f32"
        return _call(builder, name, integers, args[0])

    return result(x), codegen


@intrinsic(prefer_literal=True)
def load_s16(typingctx, pointer, offset, lanes):
    """``lanes`` int16 values from ``pointer[offset]`` on."""
    result = Shorts(lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = builder.load(_address(builder, args[0], args[1], result.lanes))
        value.align = 2
        return value

    return result(pointer, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def load_u8_s16(typingctx, pointer, offset, lanes, times):
    """``lanes`` uint8 values from ``pointer[offset]`` on, as int16, ``times`` a power of two."""
    result = Shorts(lanes.literal_value)
    bits = times.literal_value.bit_length() - 1

    def codegen(context, builder, sig, args):
        value = builder.load(_address(builder, args[0], args[1], result.lanes))
        value.align = 1
        kind = ir.VectorType(_SHORT, result.lanes)
        return builder.shl(builder.zext(value, kind), ir.Constant(kind, [bits] * result.lanes))

    return result(pointer, types.int64, lanes, times), codegen


@intrinsic(prefer_literal=True)
def load_bytes(typingctx, pointer, offset, lanes):
    """``lanes`` uint8 values from ``pointer[offset]`` on."""
    result = Bytes(lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = builder.load(_address(builder, args[0], args[1], result.lanes))
        value.align = 1
        return value

    return result(pointer, types.int64, lanes), codegen


@intrinsic
def larger_u8(typingctx, a, b):
    """The larger of each pair of bytes."""

    def codegen(context, builder, sig, args):
        return _call(builder, f"llvm.umax.v{a.lanes}i8", args[0].type, *args)

    return a(a, b), codegen


@intrinsic
def look_up_u8(typingctx, x, first, second, third, fourth):
    """For each of 64 bytes that of a table of 256, which lies in four registers.

    Only where ``_target.looks_up``.
    """

    def codegen(context, builder, sig, args):
        kind = args[0].type

        def half(low, high):
            name = "llvm.x86.avx512.vpermi2var.qi.512"
            return _call(builder, name, kind, low, args[0], high)

        above = builder.icmp_signed("<", args[0], ir.Constant(kind, [0] * kind.count))
        return builder.select(above, half(*args[3:]), half(*args[1:3]))

    return x(x, first, second, third, fourth), codegen


@intrinsic(prefer_literal=True)
def zeros_s16(typingctx, lanes):
    """Zero in every lane."""
    result = Shorts(lanes.literal_value)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.VectorType(_SHORT, result.lanes), [0] * result.lanes)

    return result(lanes), codegen


def _between(builder, value, low, high):
    """``value`` within constant bounds, as signed integers."""
    for name, bound in (("smax", low), ("smin", high)):
        limit = ir.Constant(value.type, [bound] * value.type.count)
        kind = f"v{value.type.count}i{value.type.element.width}"
        value = _call(builder, f"llvm.{name}.{kind}", value.type, value, limit)
    return value


def _packed(builder, a, b, narrow, instructions, bounds):
    """Two registers narrowed into one, in the order of 128-bit parts."""
    count, bits = a.type.count, a.type.count * a.type.element.width
    result = ir.VectorType(narrow, 2 * count)
    if bits in instructions and bits // 16 <= _target.packs():
        return _call(builder, f"llvm.x86.{instructions[bits]}", result, a, b)
    part = min(count, 128 // a.type.element.width)
    places = [
        start + side + i
        for start in range(0, count, part)
        for side in (0, count)
        for i in range(part)
    ]
    both = _pick(builder, a, places, b)
    return builder.trunc(_between(builder, both, *bounds), result)


@intrinsic
def pack_s16(typingctx, a, b):
    """Two registers of int32 as one of int16, saturated."""
    names = {512: "avx512.packssdw.512", 256: "avx2.packssdw", 128: "sse2.packssdw.128"}

    def codegen(context, builder, sig, args):
        return _packed(builder, *args, _SHORT, names, (-(2**15), 2**15 - 1))

    return Shorts(2 * a.lanes)(a, b), codegen


@intrinsic
def pack_u8(typingctx, a, b):
    """Two registers of int16 as one of uint8, saturated."""
    names = {512: "avx512.packuswb.512", 256: "avx2.packuswb", 128: "sse2.packuswb.128"}

    def codegen(context, builder, sig, args):
        return _packed(builder, *args, _BYTE, names, (0, 255))

    return Bytes(2 * a.lanes)(a, b), codegen


@intrinsic
def narrow_s16(typingctx, x):
    """A register of int32 as half a one of int16, saturated, in order."""

    def codegen(context, builder, sig, args):
        value = _between(builder, args[0], -(2**15), 2**15 - 1)
        return builder.trunc(value, ir.VectorType(_SHORT, x.lanes))

    return Shorts(x.lanes)(x), codegen


@intrinsic
def narrow_u8(typingctx, x):
    """A register of int16 as half a one of uint8, saturated, in order."""

    def codegen(context, builder, sig, args):
        value = _between(builder, args[0], 0, 255)
        return builder.trunc(value, ir.VectorType(_BYTE, x.lanes))

    return Bytes(x.lanes)(x), codegen


def _shorts(name):
    @intrinsic
    def function(typingctx, a, b):
        def codegen(context, builder, sig, args):
            return _call(builder, f"llvm.{name}.v{a.lanes}i16", args[0].type, *args)

        return a(a, b), codegen

    return function


add_s16 = _shorts("sadd.sat")
"""``a + b``, saturated."""

at_least_s16 = _shorts("smax")
at_most_s16 = _shorts("smin")


@intrinsic
def multiply_s16(typingctx, a, b):
    """``(a * b + 2**14) >> 15``, unless both are -2**15."""

    def codegen(context, builder, sig, args):
        kind = args[0].type
        if a.lanes <= _target.packs():
            names = {32: "avx512.pmul.hr.sw.512", 16: "avx2.pmul.hr.sw", 8: "ssse3.pmul.hr.sw.128"}
            if a.lanes in names:
                return _call(builder, f"llvm.x86.{names[a.lanes]}", kind, *args)
        wide = ir.VectorType(_INT, a.lanes)
        product = builder.mul(*(builder.sext(v, wide) for v in args))
        half = ir.Constant(wide, [2**14] * a.lanes)
        shifted = builder.ashr(builder.add(product, half), ir.Constant(wide, [15] * a.lanes))
        return builder.trunc(shifted, kind)

    return a(a, b), codegen


@intrinsic(prefer_literal=True)
def nth_of(typingctx, x, index, count):
    """One of ``count`` registers whose lanes take turns in ``x``, in parts of four if they can."""
    result = Bytes(x.lanes // count.literal_value)
    part = min(4, result.lanes)
    first, step = index.literal_value * part, count.literal_value * part

    def codegen(context, builder, sig, args):
        starts = range(first, x.lanes, step)
        return _pick(builder, args[0], [start + i for start in starts for i in range(part)])

    return result(x, index, count), codegen


@intrinsic
def store_bytes(typingctx, pointer, offset, vector):
    """Write all lanes to ``pointer[offset]`` on."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _address(builder, args[0], args[1], vector.lanes)).align = 1
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector), codegen
