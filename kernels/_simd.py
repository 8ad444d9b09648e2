"""Vector registers as Numba values: one vocabulary for every instruction set.

A value of type ``Vector(lanes)`` is ``<lanes x float>`` in LLVM: AVX-512, AVX2, SSE or NEON come
from the same source, and LLVM splits or widens where lanes and registers differ. Vectors support
``+ - * /`` among themselves and with scalars. Loads and stores need no alignment beyond the
element's. Kernels work on whole vectors; what calls them covers the rest of an array with
vectors of fewer lanes, down to one, or with a last vector that overlaps the one before.
"""

import operator

from llvmlite import ir
from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)


class Vector(types.Type):
    """``lanes`` float32 values in a vector register."""

    def __init__(self, lanes):
        self.lanes = lanes
        super().__init__(f"f32x{lanes}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, ir.VectorType(_FLOAT, fe_type.lanes))


def _llvm(vector):
    return ir.VectorType(_FLOAT, vector.lanes)


def _splat(builder, scalar, lanes):
    kind = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    mask = ir.Constant(ir.VectorType(_INT, lanes), [0] * lanes)
    return builder.shuffle_vector(one, undefined, mask)


def _call(builder, name, result, *args, flags=()):
    """Call an LLVM intrinsic by its mangled name, with fast-math flags."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args, fastmath=flags)


def _address(builder, pointer, offset, lanes):
    place = builder.gep(pointer, [offset])
    return builder.bitcast(place, ir.VectorType(pointer.type.pointee, lanes).as_pointer())


def _vectors(context, builder, kinds, values, lanes):
    """Values as vectors: scalars are rounded to float32 and repeated."""
    return [
        value
        if isinstance(kind, Vector)
        else _splat(builder, context.cast(builder, value, kind, types.float32), lanes)
        for kind, value in zip(kinds, values, strict=True)
    ]


# --- memory -----------------------------------------------------------------------------------


@intrinsic(prefer_literal=True)
def load(typingctx, pointer, offset, lanes):
    """``lanes`` float32 values from ``pointer[offset]`` on."""
    result = Vector(lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = builder.load(_address(builder, args[0], args[1], result.lanes))
        value.align = 4
        return value

    return result(pointer, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def broadcast(typingctx, pointer, offset, lanes):
    """``pointer[offset]`` in every lane."""
    result = Vector(lanes.literal_value)

    def codegen(context, builder, sig, args):
        scalar = builder.load(builder.gep(args[0], [args[1]]))
        return _splat(builder, scalar, result.lanes)

    return result(pointer, types.int64, lanes), codegen


@intrinsic(prefer_literal=True)
def splat(typingctx, scalar, lanes):
    """A scalar in every lane."""
    result = Vector(lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = context.cast(builder, args[0], sig.args[0], types.float32)
        return _splat(builder, value, result.lanes)

    return result(scalar, lanes), codegen


@intrinsic
def store(typingctx, pointer, offset, vector):
    """Write all lanes to ``pointer[offset]`` on."""

    def codegen(context, builder, sig, args):
        place = builder.store(args[2], _address(builder, args[0], args[1], vector.lanes))
        place.align = 4
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector), codegen


@intrinsic(prefer_literal=True)
def room(typingctx, count):
    """Pointer to ``count`` float32 values of a kernel's own memory."""
    kind = ir.ArrayType(_FLOAT, count.literal_value)

    def codegen(context, builder, sig, args):
        with builder.goto_entry_block():
            place = builder.alloca(kind)
        place.align = 64
        return builder.bitcast(place, _FLOAT.as_pointer())

    return types.CPointer(types.float32)(count), codegen


@intrinsic(prefer_literal=True)
def load_u8(typingctx, pointer, offset, lanes):
    """``lanes`` uint8 values from ``pointer[offset]`` on, as float32."""
    result = Vector(lanes.literal_value)

    def codegen(context, builder, sig, args):
        value = builder.load(_address(builder, args[0], args[1], result.lanes))
        value.align = 1
        return builder.uitofp(value, _llvm(result))

    return result(pointer, types.int64, lanes), codegen


@intrinsic
def store_u8(typingctx, pointer, offset, vector):
    """Write lanes from 0 to 255 as uint8, rounded to the nearest, halves up."""

    def codegen(context, builder, sig, args):
        half = ir.Constant(args[2].type, [0.5] * vector.lanes)
        wide = builder.fptosi(builder.fadd(args[2], half), ir.VectorType(_INT, vector.lanes))
        narrow = builder.trunc(wide, ir.VectorType(ir.IntType(8), vector.lanes))
        place = builder.store(narrow, _address(builder, args[0], args[1], vector.lanes))
        place.align = 1
        return context.get_dummy_value()

    return types.void(pointer, types.int64, vector), codegen


# --- arithmetic ---------------------------------------------------------------------------------


def _arithmetic(op, instruction):
    @infer_global(op)
    class Typing(AbstractTemplate):
        def generic(self, args, kws):
            vectors = [a for a in args if isinstance(a, Vector)]
            fits = all(a == vectors[0] for a in vectors) if vectors else False
            if fits and all(isinstance(a, (Vector, types.Number)) for a in args):
                return signature(vectors[0], *args)

    def lower(context, builder, sig, args):
        operands = _vectors(context, builder, sig.args, args, sig.return_type.lanes)
        return getattr(builder, instruction)(*operands)

    for kinds in ((Vector, Vector), (Vector, types.Number), (types.Number, Vector)):
        lower_builtin(op, *kinds)(lower)


for _op, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_op, _instruction)


@intrinsic
def fma(typingctx, x, y, z):
    """``x * y + z``: fused where the target has the instruction, two roundings elsewhere.

    Scalars among the arguments stand for vectors of themselves.
    """
    kinds = (x, y, z)
    result = next(kind for kind in kinds if isinstance(kind, Vector))

    def codegen(context, builder, sig, args):
        operands = _vectors(context, builder, kinds, args, result.lanes)
        return _call(builder, f"llvm.fmuladd.v{result.lanes}f32", _llvm(result), *operands)

    return result(x, y, z), codegen


def _clip(comparison):
    @intrinsic
    def clip(typingctx, x, bound):
        def codegen(context, builder, sig, args):
            value, limit = _vectors(context, builder, (x, bound), args, x.lanes)
            return builder.select(builder.fcmp_ordered(comparison, value, limit), limit, value)

        return x(x, bound), codegen

    return clip


at_least = _clip("<")
"""``at_least(x, bound)``: lanes below the bound become the bound; NaN stays NaN."""

at_most = _clip(">")
"""``at_most(x, bound)``: lanes above the bound become the bound; NaN stays NaN."""


def _unary(name):
    @intrinsic
    def function(typingctx, x):
        def codegen(context, builder, sig, args):
            return _call(builder, f"llvm.{name}.v{x.lanes}f32", _llvm(x), *args)

        return x(x), codegen

    return function


square_root = _unary("sqrt")


@intrinsic
def maximum(typingctx, x, y):
    """The larger of each pair of lanes; NaN if either is NaN; of two zeros, either."""

    def codegen(context, builder, sig, args):
        return _call(builder, f"llvm.maximum.v{x.lanes}f32", _llvm(x), *args, flags=("nsz",))

    return x(x, y), codegen


@intrinsic
def power_of_minus(typingctx, biased):
    """``2 ** -n`` of ``biased = n + 1.5 * 2**23``, ``n`` from -126 to 127; NaN gives any."""

    def codegen(context, builder, sig, args):
        integers = ir.VectorType(_INT, biased.lanes)
        exponent = builder.shl(
            builder.bitcast(args[0], integers), ir.Constant(integers, [23] * biased.lanes)
        )
        one = ir.Constant(integers, [127 << 23] * biased.lanes)
        return builder.bitcast(builder.sub(one, exponent), args[0].type)

    return biased(biased), codegen


@intrinsic(prefer_literal=True)
def part(typingctx, x, first, lanes):
    """``lanes`` lanes of a register from lane ``first`` on."""
    result, start = Vector(lanes.literal_value), first.literal_value

    def codegen(context, builder, sig, args):
        chosen = list(range(start, start + result.lanes))
        mask = ir.Constant(ir.VectorType(_INT, result.lanes), chosen)
        return builder.shuffle_vector(args[0], args[0], mask)

    return result(x, first, lanes), codegen


@intrinsic
def sum_lanes(typingctx, x):
    """Sum of all lanes as a float32 scalar: halves are added until one lane is left."""

    def codegen(context, builder, sig, args):
        value, lanes = args[0], x.lanes
        while lanes > 1:
            lanes //= 2
            kind = ir.VectorType(_INT, lanes)
            halves = [
                builder.shuffle_vector(
                    value, value, ir.Constant(kind, list(range(first, first + lanes)))
                )
                for first in (0, lanes)
            ]
            value = builder.fadd(*halves)
        return builder.extract_element(value, ir.Constant(_INT, 0))

    return types.float32(x), codegen


@intrinsic
def any_at_least(typingctx, x, bound):
    """Whether any lane is at least a bound; NaN is not."""

    def codegen(context, builder, sig, args):
        value, least = _vectors(context, builder, (x, bound), args, x.lanes)
        mask = builder.fcmp_ordered(">=", value, least)
        bits = ir.IntType(x.lanes)
        return builder.icmp_unsigned("!=", builder.bitcast(mask, bits), ir.Constant(bits, 0))

    return types.boolean(x, bound), codegen


@intrinsic
def lane_of(typingctx, x, index):
    """One lane as a float32 scalar."""

    def codegen(context, builder, sig, args):
        return builder.extract_element(args[0], args[1])

    return types.float32(x, index), codegen
