"""Integer registers as Numba values: bytes in, exact sums of products out.

``Integers(lanes)`` is ``<lanes x i32>``; ``Groups(lanes)`` holds, for every such lane, the
``GROUP`` bytes that one dot product takes. How many those are, and which instruction adds their
products, is the target's (``_target.dot``); the sums are exact everywhere. Kernels in this
vocabulary are declared with ``exact=True``, so that nothing is fused behind their back.
"""

import functools
import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from . import _target
from ._simd import Vector, _address, _call, _llvm, _splat, _vectors

_BYTE, _SHORT, _INT = ir.IntType(8), ir.IntType(16), ir.IntType(32)
GROUP = _target.dot().group
"""Bytes of a group."""


class Integers(types.Type):
    """``lanes`` int32 values in a vector register."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(f"s32x{lanes}")


class Groups(types.Type):
    """``lanes`` groups of bytes in a vector register, all unsigned or all signed."""

    def __init__(self, lanes, signed):
        self.lanes = lanes
        self.signed = signed
        super().__init__(f"{'su'[not signed]}8x{lanes}x{GROUP}")


@register_model(Integers)
class _IntegersModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_INT, fe_type.lanes))


@register_model(Groups)
class _GroupsModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_BYTE, fe_type.lanes * GROUP))


@infer_global(operator.add)
class _Sum(AbstractTemplate):
    def generic(self, args, kws):
        if isinstance(args[0], Integers) and args[0] == args[1]:
            return signature(args[0], *args)


@lower_builtin(operator.add, Integers, Integers)
def _add(context, builder, sig, args):
    return builder.add(*args)


# --- memory -----------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def zeros_s32(typingctx, lanes):
    """Zero in every lane."""
    result = Integers(lanes.literal_value)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.VectorType(_INT, result.lanes), [0] * result.lanes)

    return result(lanes), codegen


@intrinsic(prefer_literal=True)
def load_s32(typingctx, pointer, offset, lanes):
    """``lanes`` int32 values from ``pointer[offset]`` on."""
    result = Integers(lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = builder.load(_address(builder, args[0], args[1], result.lanes))
        value.align = 4
        return value

    return result(pointer, types.int64, lanes), codegen


def _load_bytes(widened):
    @intrinsic(prefer_literal=True)
    def load(typingctx, pointer, offset, lanes):
        result = Integers(lanes.literal_value)

        def codegen(context, builder, sig, args):
            value = builder.load(_address(builder, args[0], args[1], result.lanes))
            value.align = 1
            return getattr(builder, widened)(value, ir.VectorType(_INT, result.lanes))

        return result(pointer, types.int64, lanes), codegen

    return load


load_u8_s32 = _load_bytes("zext")
"""``load_u8_s32(pointer, offset, lanes)``: uint8 values as int32."""

load_s8_s32 = _load_bytes("sext")
"""``load_s8_s32(pointer, offset, lanes)``: int8 values as int32."""


@intrinsic
def store_s32(typingctx, pointer, offset, vector):
    """Write all lanes to ``pointer[offset]`` on."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _address(builder, args[0], args[1], vector.lanes)).align = 4
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector), codegen


def _load_groups(signed):
    @intrinsic(prefer_literal=True)
    def load(typingctx, pointer, offset, lanes):
        result = Groups(lanes.literal_value, signed)

        def codegen(context, builder, sig, args):
            value = builder.load(_address(builder, args[0], args[1], result.lanes * GROUP))
            value.align = 1
            return value

        return result(pointer, types.int64, lanes), codegen

    return load


load_groups_u8 = _load_groups(signed=False)
"""``load_groups_u8(pointer, offset, lanes)``: GROUP bytes for each lane, one lane after another."""

load_groups_s8 = _load_groups(signed=True)
"""As :data:`load_groups_u8`, of signed bytes."""


@intrinsic(prefer_literal=True)
def broadcast_group_u8(typingctx, pointer, offset, lanes):
    """The GROUP bytes from ``pointer[offset]`` on, in every lane."""
    result = Groups(lanes.literal_value, False)

    def codegen(context, builder, sig, args):
        word = ir.IntType(8 * GROUP)
        place = builder.bitcast(builder.gep(args[0], [args[1]]), word.as_pointer())
        scalar = builder.load(place)
        scalar.align = 1
        vector = _splat(builder, scalar, result.lanes)
        return builder.bitcast(vector, ir.VectorType(_BYTE, result.lanes * GROUP))

    return result(pointer, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def empty_window(typingctx, lanes):
    """Groups of zeros, to :func:`push_u8` bytes into."""
    result = Groups(lanes.literal_value, False)

    def codegen(context, builder, sig, args):
        return ir.Constant(ir.VectorType(_BYTE, result.lanes * GROUP), [0] * result.lanes * GROUP)

    return result(lanes), codegen


@intrinsic
def push_u8(typingctx, window, pointer, offset):
    """Each group without its first byte, and with one from ``pointer[offset]`` on as its last."""

    def codegen(context, builder, sig, args):
        words = ir.VectorType(ir.IntType(8 * GROUP), window.lanes)
        byte = builder.load(_address(builder, args[1], args[2], window.lanes))
        byte.align = 1
        operands = (
            builder.zext(byte, words),
            builder.bitcast(args[0], words),
            ir.Constant(words, [8] * window.lanes),
        )
        name = f"llvm.fshr.v{window.lanes}i{8 * GROUP}"
        return builder.bitcast(_call(builder, name, words, *operands), args[0].type)

    return window(window, pointer, types.int64), codegen


# --- arithmetic ---------------------------------------------------------------------------------


@intrinsic
def as_unsigned(typingctx, groups):
    """Signed bytes plus 128, as unsigned ones."""

    def codegen(context, builder, sig, args):
        return _flip(builder, args[0])

    return Groups(groups.lanes, False)(groups), codegen


def _flip(builder, groups):
    return builder.xor(groups, ir.Constant(groups.type, [0x80] * groups.type.count))


@intrinsic
def dot(typingctx, total, unsigned, signed):
    """``total`` plus, in each lane, the dot product of its two groups, without saturation.

    Unsigned bytes count ``_target.dot().offset`` less than their value: what packs the signed ones
    makes up for it.
    """
    if (unsigned.signed, signed.signed) != (False, True):
        raise TypeError("dot takes unsigned groups, then signed ones")

    def codegen(context, builder, sig, args):
        native = _target.dot()
        width = next((w for w in native.lanes if total.lanes % w == 0), None)
        if width is None:
            return _widened(builder, *args, native.offset)
        count = total.lanes // width
        parts = zip(*(_parts(builder, a, count) for a in args), strict=True)
        return _joined(builder, [_DOTS[native.instruction](builder, *part) for part in parts])

    return total(total, unsigned, signed), codegen


def _parts(builder, vector, count):
    """So many equal parts of a vector."""
    size = vector.type.count // count
    starts = range(0, vector.type.count, size) if count > 1 else ()
    return [_pick(builder, vector, range(i, i + size)) for i in starts] or [vector]


def _pick(builder, vector, places, other=None):
    mask = ir.Constant(ir.VectorType(_INT, len(places)), list(places))
    return builder.shuffle_vector(vector, other or vector, mask)


def _joined(builder, parts):
    while len(parts) > 1:
        places = range(2 * parts[0].type.count)
        parts = [_pick(builder, a, places, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def _widened(builder, total, unsigned, signed, offset):
    """Neighbouring products added up: for two, there is an instruction almost anywhere."""
    wide = ir.VectorType(_INT, unsigned.type.count)
    a, b = builder.zext(unsigned, wide), builder.sext(signed, wide)
    if offset:
        a = builder.sub(a, ir.Constant(wide, [offset] * wide.count))
    products = builder.mul(a, b)
    lanes = [_pick(builder, products, range(i, wide.count, GROUP)) for i in range(GROUP)]
    return builder.add(functools.reduce(builder.add, lanes), total)


def _vpdpbusd(builder, total, unsigned, signed):
    words = [builder.bitcast(v, total.type) for v in (unsigned, signed)]
    name = f"llvm.x86.avx512.vpdpbusd.{32 * total.type.count}"
    return _call(builder, name, total.type, total, *words)


def _usdot(builder, total, unsigned, signed):
    return _call(
        builder, "llvm.aarch64.neon.usdot.v4i32.v16i8", total.type, total, unsigned, signed
    )


def _sdot(builder, total, unsigned, signed):
    less = _flip(builder, unsigned)
    return _call(builder, "llvm.aarch64.neon.sdot.v4i32.v16i8", total.type, total, less, signed)


_DOTS = {"vpdpbusd": _vpdpbusd, "usdot": _usdot, "sdot": _sdot}


@intrinsic
def to_f32(typingctx, x):
    """Integers as float32, rounded to the nearest."""
    result = Vector(x.lanes)

    def codegen(context, builder, sig, args):
        return builder.sitofp(args[0], _llvm(result))

    return result(x), codegen


@intrinsic
def sum_lanes_s32(typingctx, x):
    """Sum of all lanes as an int32 scalar."""

    def codegen(context, builder, sig, args):
        name = f"llvm.vector.reduce.add.v{x.lanes}i32"
        return _call(builder, name, _INT, args[0])

    return types.int32(x), codegen


@intrinsic
def clip(typingctx, x, low, high):
    """``x`` within bounds; NaN becomes ``low``."""
    kinds = (x, low, high)

    def codegen(context, builder, sig, args):
        value, least, most = _vectors(context, builder, kinds, args, x.lanes)
        value = builder.select(builder.fcmp_ordered(">", value, least), value, least)
        beyond = builder.fcmp_ordered(">", value, most, flags=("nnan",))
        return builder.select(beyond, most, value, flags=("nnan", "nsz"))

    return x(*kinds), codegen


@intrinsic
def store_u8_even(typingctx, pointer, offset, vector, zero):
    """Write ``vector + zero``, in lanes from 0 to 255, as uint8, rounded once, halves to even.

    ``zero`` holds whole numbers from 0 to 255.
    """

    def codegen(context, builder, sig, args):
        # Float32 values from 2**23 to 2**24 are whole: the last byte of the sum is the result.
        magic = ir.Constant(args[2].type, [12582912.0] * vector.lanes)
        total = builder.fadd(args[2], builder.fadd(args[3], magic))
        bits = builder.bitcast(total, ir.VectorType(_INT, vector.lanes))
        narrow = builder.trunc(bits, ir.VectorType(_BYTE, vector.lanes))
        builder.store(narrow, _address(builder, args[0], args[1], vector.lanes)).align = 1
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector, vector), codegen
