"""Attention of short documents on a CPU: one compiled loop over documents, heads and queries.

    out(p) = sum_j softmax_j(q(p) . k(j) / sqrt(D)) v(j),  j = 0 … p

with queries and keys turned by their positions (rotary embedding, Su et al. 2021,
arXiv:2104.09864). For some dozens of tokens a general kernel spends most of its time
on calling matrix products of a few rows each. Here scores, their exponentials and the
sum of values of four queries stay in registers and the nearest cache, and what lies
behind a query is hardly computed.

Everything is computed in float32; arrays may hold bfloat16 numbers, as uint16. A document's
result depends on nothing but the document: not on the others of the batch, nor on how
many threads work on parts of it (the GIL is released).

The inner loops are written in vectors of LANES numbers, because what the compiler
makes of plain loops this short takes eight times as long. Those vectors are a type of
numba's here, with the few operations that attention needs.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES = 16  # float32 numbers in the widest register; where registers are narrower, the compiler takes several
_FLOAT, _INT = ir.FloatType(), ir.IntType(32)
_VECTOR, _INTEGERS, _HALVES = (ir.VectorType(kind, LANES) for kind in (_FLOAT, _INT, ir.IntType(16)))
_FAST = ("contract",)  # a product and a sum may become one instruction

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


def _splat(builder, value):
    """A vector of one number, a Python float or a float32 of the compiled program."""
    if isinstance(value, float):
        return ir.Constant(_VECTOR, [value] * LANES)
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, first, ir.Constant(_INTEGERS, [0] * LANES))


def _write(context, builder, kind, array, at, vector):
    """Store a vector `at` numbers behind the first one of an array; to the nearest bfloat16, ties to even."""
    if kind.dtype == types.uint16:
        bits = builder.bitcast(vector, _INTEGERS)
        shift, odd = ir.Constant(_INTEGERS, [16] * LANES), ir.Constant(_INTEGERS, [1] * LANES)
        up = builder.add(builder.and_(builder.lshr(bits, shift), odd), ir.Constant(_INTEGERS, [0x7FFF] * LANES))
        vector = builder.trunc(builder.lshr(builder.add(bits, up), shift), _HALVES)
    builder.store(vector, _place(context, builder, kind, array, at), align=2)


def _place(context, builder, kind, array, at):
    """Pointer to LANES numbers, `at` behind the first one of an array."""
    data = context.make_array(kind)(context, builder, array).data
    vector = _HALVES if kind.dtype == types.uint16 else _VECTOR
    return builder.bitcast(builder.gep(data, [at]), vector.as_pointer())


def _reduced(builder, name, *arguments):
    """Call one of LLVM's reductions of a vector to a number."""
    kind = ir.FunctionType(_FLOAT, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.{name}.v{LANES}f32")
    return builder.call(function, arguments, fastmath=("reassoc",))  # in whatever order the hardware likes best


@intrinsic
def _load(typing, array, at):
    """LANES numbers of an array without gaps, from number `at` on; nothing checks that they are there."""

    def code(context, builder, signature, arguments):
        vector = builder.load(_place(context, builder, array, *arguments), align=2)
        if array.dtype == types.uint16:
            shift = ir.Constant(_INTEGERS, [16] * LANES)
            vector = builder.bitcast(builder.shl(builder.zext(vector, _INTEGERS), shift), _VECTOR)
        return vector

    return _lanes(array, types.intp), code


@intrinsic
def _store(typing, array, at, vector):
    """Write a vector into an array without gaps, from number `at` on."""

    def code(context, builder, signature, arguments):
        _write(context, builder, array, *arguments)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), code


@intrinsic
def _all(typing, number):
    """A vector of one number."""
    return _lanes(types.float32), lambda context, builder, signature, arguments: _splat(builder, arguments[0])


@intrinsic
def _add_product(typing, total, vector, factor):
    """total + vector * factor, a number."""

    def code(context, builder, signature, arguments):
        product = builder.fmul(arguments[1], _splat(builder, arguments[2]), flags=_FAST)
        return builder.fadd(arguments[0], product, flags=_FAST)

    return _lanes(_lanes, _lanes, types.float32), code


@intrinsic
def _turn(typing, vector, cosines, sines):
    """Rotate pairs of neighbours; `sines` has the sign of each of a pair."""

    def code(context, builder, signature, arguments):
        given, cosines, sines = arguments
        swapped = builder.shuffle_vector(given, given, ir.Constant(_INTEGERS, [k ^ 1 for k in range(LANES)]))
        products = builder.fmul(given, cosines, flags=_FAST), builder.fmul(swapped, sines, flags=_FAST)
        return builder.fadd(*products, flags=_FAST)

    return _lanes(_lanes, _lanes, _lanes), code


@intrinsic
def _transpose(typing, square, array, at, stride):
    """Write a square (LANES, LANES) transposed into an array, from number `at` on, each row `stride` further on."""

    def code(context, builder, signature, arguments):
        rows = []
        for k in range(LANES):
            at = ir.Constant(arguments[2].type, k * LANES)
            rows.append(builder.load(_place(context, builder, square, arguments[0], at), align=2))
        step = 1
        while step < LANES:  # exchange what stands `step` beside the diagonal, in squares of twice that size
            low = [k if k & step == 0 else LANES + k - step for k in range(LANES)]
            high = [k + step if k & step == 0 else LANES + k for k in range(LANES)]
            for k in (k for k in range(LANES) if k & step == 0):
                pair = rows[k], rows[k + step]
                rows[k] = builder.shuffle_vector(*pair, ir.Constant(_INTEGERS, low))
                rows[k + step] = builder.shuffle_vector(*pair, ir.Constant(_INTEGERS, high))
            step *= 2
        place = arguments[2]
        for row in rows:
            _write(context, builder, array, arguments[1], place, row)
            place = builder.add(place, arguments[3])
        return context.get_dummy_value()

    return types.void(square, array, types.intp, types.intp), code


@intrinsic
def _larger(typing, one, other):
    """The larger number of each pair."""

    def code(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return _lanes(_lanes, _lanes), code


@intrinsic
def _sum(typing, vector):
    """Sum of a vector's numbers."""

    def code(context, builder, signature, arguments):
        return _reduced(builder, "fadd", ir.Constant(_FLOAT, 0.0), arguments[0])

    return types.float32(_lanes), code


@intrinsic
def _largest(typing, vector):
    """The largest of a vector's numbers."""
    return types.float32(_lanes), lambda context, builder, signature, arguments: _reduced(builder, "fmax", arguments[0])


@intrinsic
def _exponentials(typing, vector, highest, scale):
    """exp((vector - highest) * scale), for a highest that no number exceeds."""

    def code(context, builder, signature, arguments):
        def times(x, y):
            return builder.fmul(x, y if isinstance(y, ir.Instruction) else _splat(builder, y), flags=_FAST)

        def plus(x, y):
            return builder.fadd(x, y if isinstance(y, ir.Instruction) else _splat(builder, y), flags=_FAST)

        given = builder.fsub(arguments[0], _splat(builder, arguments[1]), flags=_FAST)
        given = builder.fmul(given, _splat(builder, arguments[2]), flags=_FAST)
        small = builder.fcmp_ordered("<", given, _splat(builder, _LOWEST))
        x = builder.select(small, _splat(builder, _LOWEST), given)
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
        return builder.select(small, _splat(builder, 0.0), times(series, power))

    return _lanes(_lanes, types.float32, types.float32), code


# What a score begins with: 0 up to the query's own position, and behind it what no exponential is left of.
_BEHIND = np.array([0.0] * LANES + [-np.inf] * LANES, np.float32)


def room(positions: int) -> int:
    """Positions that keys and values need room for: whole vectors, one of them behind the last position."""
    return (positions // LANES + 2) * LANES


@njit(nogil=True, cache=True, error_model="numpy")
def attend(queries, pairs, turns, rows, start, keys, values, out):
    """Take up new positions of documents, and let the last of them attend to all positions up to their own.

    queries: (R, P, H, D), of the last P of the T new positions `start` … of R documents. pairs:
    (R, T, 2, H, D), keys and values of all new positions. turns: (positions, 2, D) float32, cosines
    and sines for pairs of neighbouring dimensions: 1 and 0 where nothing is turned, the sine of each
    pair's first with a minus. rows: (R,) int64, where each document stands in keys (B, H, D, S) and
    values (B, H, S, D), which are finite; both are written at the new positions. D is a multiple of
    LANES, S of `room` of all positions. Arrays have no gaps, and are float32 or bfloat16 (uint16)
    but for turns. Writes (R, P, H, D) to `out`.
    """
    count, asked, heads, size = queries.shape
    new, room = pairs.shape[1], keys.shape[3]
    turned, scores = np.empty((4, size), np.float32), np.empty((4, room), np.float32)
    square = np.empty((LANES, LANES), np.float32)
    known, valued = np.zeros((size, room), np.float32), np.zeros((room, size), np.float32)
    for r in range(count):
        for h in range(heads):
            for t in range(new):
                given = (((r * new + t) * 2 + 1) * heads + h) * size
                for d in range(0, size, LANES):
                    _store(valued, t * size + d, _load(pairs, given + d))
            for d in range(0, size, LANES):
                for t in range(0, new, LANES):
                    for k in range(LANES):
                        p = min(t + k, new - 1)  # behind the last position is written what nobody reads
                        given = ((r * new + p) * 2 * heads + h) * size + d
                        _store(square, k * LANES, _turned(pairs, given, turns, (start + p) * 2 * size + d, size))
                    _transpose(square, known, d * room + t, room)
            kept = (rows[r] * heads + h) * size * room  # where the document's keys and values of this head begin
            for d in range(size):
                for t in range(0, new, LANES):
                    _store(keys, kept + d * room + start + t, _load(known, d * room + t))
            for at in range(0, new * size, LANES):
                _store(values, kept + start * size + at, _load(valued, at))
            for p in range(0, asked, 4):
                for k in range(4):  # where there are not four left, the last one is computed again
                    last = min(p + k, asked - 1)
                    angles = (start + new - asked + last) * 2 * size
                    given = ((r * asked + last) * heads + h) * size
                    for d in range(0, size, LANES):
                        _store(turned, k * size + d, _turned(queries, given + d, turns, angles + d, size))
                at, written, asking = start + new - asked + p, ((r * asked + p) * heads + h) * size, min(4, asked - p)
                if start == 0:  # all there is was just written into the nearest cache
                    _attend_four(turned, known, valued, 0, room, at, asking, scores, out, written, heads * size)
                else:
                    _attend_four(turned, keys, values, kept, room, at, asking, scores, out, written, heads * size)


@njit(error_model="numpy", forceinline=True)
def _turned(vectors, at, turns, angles, size):
    """LANES numbers of a query or key, turned."""
    return _turn(_load(vectors, at), _load(turns, angles), _load(turns, angles + size))


@njit(error_model="numpy", forceinline=True)
def _attend_four(turned, keys, values, kept, room, at, count, scores, out, written, stride):
    """Attention of `count` of four queries (4, D) at positions `at` …, one written `stride` behind the other."""
    size = turned.shape[1]
    at0, at1, at2, at3 = at, at + min(1, count - 1), at + min(2, count - 1), at + count - 1
    blocks = at3 // LANES + 1
    lowest = _all(np.float32(-np.inf))
    top0, top1, top2, top3 = lowest, lowest, lowest, lowest
    for block in range(blocks):
        j = block * LANES
        s0 = _load(_BEHIND, min(max(j + LANES - 1 - at0, 0), LANES))
        s1 = _load(_BEHIND, min(max(j + LANES - 1 - at1, 0), LANES))
        s2 = _load(_BEHIND, min(max(j + LANES - 1 - at2, 0), LANES))
        s3 = _load(_BEHIND, min(max(j + LANES - 1 - at3, 0), LANES))
        for d in range(size):
            key = _load(keys, kept + d * room + j)
            s0 = _add_product(s0, key, turned[0, d])
            s1 = _add_product(s1, key, turned[1, d])
            s2 = _add_product(s2, key, turned[2, d])
            s3 = _add_product(s3, key, turned[3, d])
        _store(scores, j, s0)
        _store(scores, room + j, s1)
        _store(scores, 2 * room + j, s2)
        _store(scores, 3 * room + j, s3)
        top0, top1, top2, top3 = _larger(top0, s0), _larger(top1, s1), _larger(top2, s2), _larger(top3, s3)
    scale = np.float32(1 / np.sqrt(size))
    m0 = _weigh(scores, 0, blocks, _largest(top0), scale)
    m1 = _weigh(scores, room, blocks, _largest(top1), scale)
    m2 = _weigh(scores, 2 * room, blocks, _largest(top2), scale)
    m3 = _weigh(scores, 3 * room, blocks, _largest(top3), scale)
    nothing = _all(np.float32(0))
    for d in range(0, size, LANES):
        t0, t1, t2, t3 = nothing, nothing, nothing, nothing
        for j in range(at3 + 1):
            value = _load(values, kept + j * size + d)
            t0 = _add_product(t0, value, scores[0, j])
            t1 = _add_product(t1, value, scores[1, j])
            t2 = _add_product(t2, value, scores[2, j])
            t3 = _add_product(t3, value, scores[3, j])
        # From the last one on, all are the same query.
        _store(out, written + d, _add_product(nothing, t0, m0))
        _store(out, written + (at1 - at) * stride + d, _add_product(nothing, t1, m1))
        _store(out, written + (at2 - at) * stride + d, _add_product(nothing, t2, m2))
        _store(out, written + (at3 - at) * stride + d, _add_product(nothing, t3, m3))


@njit(error_model="numpy", forceinline=True)
def _weigh(scores, at, blocks, highest, scale):
    """Replace a query's scores by exp((score - highest) * scale); returns 1 over their sum."""
    total = _all(np.float32(0))
    for j in range(at, at + blocks * LANES, LANES):
        weights = _exponentials(_load(scores, j), highest, scale)
        _store(scores, j, weights)
        total = _add_product(total, weights, np.float32(1))
    return np.float32(1) / _sum(total)
