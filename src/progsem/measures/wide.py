"""Adding rows of small counts, 8 of them in a word of 64 bits, with the widest instructions that there are.

Numba makes no such instructions of a loop over words, as it cannot know that what is
written does not overlap what is read. So the vectors are spelt out for LLVM, which knows
what the machine has for them.
"""

from __future__ import annotations

import functools

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORDS = 8  # in a row
_EVEN = 0x00FF00FF00FF00FF  # every other one of 8 counts
_WORD = ir.IntType(64)
_ROW = ir.VectorType(_WORD, WORDS)


@intrinsic
def add_rows(typing, rows, which, added, place):
    """Add rows of counts of 8 bits to counts of 16 bits: `added[place] += rows[which].sum()`.

    rows: (n, WORDS) uint64. which: a tuple of tuples of row numbers; the sums of those in one tuple must be below 256.
    added: (m, 2 * WORDS) uint64, in the first half the even counts of every word, in the second half the odd ones.
    Both arrays are contiguous. Nothing is checked.
    """

    def generate(context, builder, signature, arguments):
        data = [
            context.make_array(kind)(context, builder, argument).data
            for kind, argument in ((rows, arguments[0]), (added, arguments[2]))
        ]

        def at(base, index):
            return builder.bitcast(builder.gep(base, [index]), _ROW.as_pointer())

        def each(value):
            return ir.Constant(_ROW, [ir.Constant(_WORD, value)] * WORDS)

        sums = []
        for together in cgutils.unpack_tuple(builder, arguments[1]):
            numbers = cgutils.unpack_tuple(builder, together)
            read = [builder.load(at(data[0], builder.mul(number, _WORD(WORDS))), align=8) for number in numbers]
            sums.append(functools.reduce(builder.add, read))
        for half in range(2):
            first = builder.add(builder.mul(arguments[3], _WORD(2)), _WORD(half))
            target = at(data[1], builder.mul(first, _WORD(WORDS)))
            total = builder.load(target, align=8)
            for whole in sums:
                shown = builder.lshr(whole, each(8)) if half else whole
                total = builder.add(total, builder.and_(shown, each(_EVEN)))
            builder.store(total, target, align=8)
        return context.get_dummy_value()

    return types.void(rows, which, added, types.int64), generate
