"""Vectors for compiled loops: a numba type, and the few operations that attention needs.

Plain loops as short as those of `attention.py` take eight times as long, whatever the compiler
makes of them. A vector has LANES float32 numbers. Arrays that vectors are loaded from and stored
to have no gaps, and hold float32 or, as uint16, bfloat16 numbers.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from progsem.jobs.compiled import njit

LANES = 16  # float32 numbers in the widest registers; where these are narrower, the compiler uses several
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS, _HALVES = (ir.VectorType(kind, LANES) for kind in (_FLOAT, _INT, ir.IntType(16)))
FAST = ("contract",)  # a product and a sum may become one instruction

_LOWEST = -87.0  # exp of less is no normal number: 0
_PER_OCTAVE, _OCTAVE_HIGH, _OCTAVE_LOW = 1.44269504, 0.693359375, -2.12194440e-4
# exp(x) = 1 + x + x^2 (c0 x^5 + … + c5) within half an octave of 0 (Cephes, expf); relative error 2e-7.
_SERIES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)


class _Lanes(types.Type):
    def __init__(self):
        super().__init__("progsem_lanes")


_lanes = _Lanes()


@register_model(_Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def splat(builder, value):
    """A vector of one number, a Python float or a float32 of the compiled program."""
    if isinstance(value, float):
        return ir.Constant(_VECTOR, [value] * LANES)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_INTEGERS, [0] * LANES))


def pointer(context, builder, kind, array, at):
    """Pointer to LANES numbers, `at` behind the first one of an array."""
    data = context.make_array(kind)(context, builder, array).data
    vector = _HALVES if kind.dtype == types.uint16 else _VECTOR
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _reduced(builder, name, *arguments):
    """Call one of LLVM's reductions of a vector to a number."""
    kind = ir.FunctionType(_FLOAT, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.{name}.v{LANES}f32")
    return builder.call(function, arguments, fastmath=("reassoc",))  # in whichever order is fastest


@intrinsic
def load(typing, array, at):
    """LANES numbers of an array without gaps, from number `at` on; nothing checks that they are there."""

    def code(context, builder, signature, arguments):
        vector = builder.load(pointer(context, builder, array, *arguments), align=2)
        if array.dtype == types.uint16:
            shift = ir.Constant(_INTEGERS, [16] * LANES)
            vector = builder.bitcast(builder.shl(builder.zext(vector, _INTEGERS), shift), _VECTOR)
        return vector

    return _lanes(array, types.intp), code


@intrinsic
def store(typing, array, at, vector):
    """Write a vector into an array without gaps, from number `at` on."""

    def code(context, builder, signature, arguments):
        target, at, vector = arguments
        if array.dtype == types.uint16:  # to the nearest bfloat16, ties to even
            bits = builder.bitcast(vector, _INTEGERS)
            shift, odd = ir.Constant(_INTEGERS, [16] * LANES), ir.Constant(_INTEGERS, [1] * LANES)
            up = builder.add(builder.and_(builder.lshr(bits, shift), odd), ir.Constant(_INTEGERS, [0x7FFF] * LANES))
            vector = builder.trunc(builder.lshr(builder.add(bits, up), shift), _HALVES)
        builder.store(vector, pointer(context, builder, array, target, at), align=2)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), code


@intrinsic
def spread(typing, number):
    """A vector of one number."""
    return _lanes(types.float32), lambda context, builder, signature, arguments: splat(builder, arguments[0])


@intrinsic
def add_product(typing, total, vector, factor):
    """total + vector * factor, a number."""

    def code(context, builder, signature, arguments):
        product = builder.fmul(arguments[1], splat(builder, arguments[2]), flags=FAST)
        return builder.fadd(arguments[0], product, flags=FAST)

    return _lanes(_lanes, _lanes, types.float32), code


@intrinsic
def times(typing, one, other):
    """The product of each pair of numbers."""
    return _lanes(_lanes, _lanes), lambda context, builder, signature, arguments: builder.fmul(*arguments, flags=FAST)


@intrinsic
def turn(typing, vector, cosines, sines):
    """Rotate pairs of neighbours; each pair's first sine is negated."""

    def code(context, builder, signature, arguments):
        given, cosines, sines = arguments
        swapped = builder.shuffle_vector(given, given, ir.Constant(_INTEGERS, [k ^ 1 for k in range(LANES)]))
        products = builder.fmul(given, cosines, flags=FAST), builder.fmul(swapped, sines, flags=FAST)
        return builder.fadd(*products, flags=FAST)

    return _lanes(_lanes, _lanes, _lanes), code


@intrinsic
def transpose(typing, source, at, step, target, to, stride):
    """Copy a square of LANES rows, `step` apart, transposed: its rows are then `stride` apart. Both are float32."""

    def code(context, builder, signature, arguments):
        source_array, at, step, target_array, to, stride = arguments
        rows = []
        for _ in range(LANES):
            rows.append(builder.load(pointer(context, builder, source, source_array, at), align=4))
            at = builder.add(at, step)
        width = 1
        while width < LANES:  # exchange what stands `width` beside the diagonal, in squares of twice that size
            low = [k if k & width == 0 else LANES + k - width for k in range(LANES)]
            high = [k + width if k & width == 0 else LANES + k for k in range(LANES)]
            for k in (k for k in range(LANES) if k & width == 0):
                pair = rows[k], rows[k + width]
                rows[k] = builder.shuffle_vector(*pair, ir.Constant(_INTEGERS, low))
                rows[k + width] = builder.shuffle_vector(*pair, ir.Constant(_INTEGERS, high))
            width *= 2
        for row in rows:
            builder.store(row, pointer(context, builder, target, target_array, to), align=4)
            to = builder.add(to, stride)
        return context.get_dummy_value()

    numbers = [types.intp] * 2
    return types.void(source, *numbers, target, *numbers), code


@intrinsic
def larger(typing, one, other):
    """The larger number of each pair."""

    def code(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return _lanes(_lanes, _lanes), code


@intrinsic
def sum_of(typing, vector):
    """Sum of a vector's numbers."""

    def code(context, builder, signature, arguments):
        return _reduced(builder, "fadd", ir.Constant(_FLOAT, 0.0), arguments[0])

    return types.float32(_lanes), code


@intrinsic
def largest(typing, vector):
    """The largest of a vector's numbers."""
    return types.float32(_lanes), lambda context, builder, signature, arguments: _reduced(builder, "fmax", arguments[0])


@intrinsic
def exponentials(typing, vector, highest, scale):
    """exp((vector - highest) * scale), for a highest that no number exceeds."""

    def code(context, builder, signature, arguments):
        def times(x, y):
            return builder.fmul(x, y if isinstance(y, ir.Instruction) else splat(builder, y), flags=FAST)

        def plus(x, y):
            return builder.fadd(x, y if isinstance(y, ir.Instruction) else splat(builder, y), flags=FAST)

        given = builder.fsub(arguments[0], splat(builder, arguments[1]), flags=FAST)
        given = builder.fmul(given, splat(builder, arguments[2]), flags=FAST)
        small = builder.fcmp_ordered("<", given, splat(builder, _LOWEST))
        x = builder.select(small, splat(builder, _LOWEST), given)
        octaves = builder.fptosi(plus(times(x, _PER_OCTAVE), -0.5), _INTEGERS)  # towards 0, so to the nearest
        whole = builder.sitofp(octaves, _VECTOR)
        x = plus(plus(x, times(whole, -_OCTAVE_HIGH)), times(whole, -_OCTAVE_LOW))
        series = times(x, _SERIES[0])
        for coefficient in _SERIES[1:-1]:
            series = times(plus(series, coefficient), x)
        series = plus(plus(times(times(plus(series, _SERIES[-1]), x), x), x), 1.0)
        # 2 to the power of `octaves`, by the exponent's bits.
        exponents = builder.add(octaves, ir.Constant(_INTEGERS, [127] * LANES))
        power = builder.bitcast(builder.shl(exponents, ir.Constant(_INTEGERS, [23] * LANES)), _VECTOR)
        return builder.select(small, splat(builder, 0.0), times(series, power))

    return _lanes(_lanes, types.float32, types.float32), code


@njit(error_model="numpy", forceinline=True)
def load_rotated(vectors, at, turns, angles, size):
    """LANES numbers of a query or key, rotated by its position."""
    return turn(load(vectors, at), load(turns, angles), load(turns, angles + size))


@njit(error_model="numpy", forceinline=True)
def weigh(scores, at, blocks, highest, scale):
    """Replace a query's scores by exp((score - highest) * scale); returns 1 over their sum."""
    total = spread(np.float32(0))
    for j in range(at, at + blocks * LANES, LANES):
        weights = exponentials(load(scores, j), highest, scale)
        store(scores, j, weights)
        total = add_product(total, weights, np.float32(1))
    return np.float32(1) / sum_of(total)
