"""Attention of short documents on a CPU, as compiled loops: with its gradient, and with keys and values kept.

    out(p) = sum_j w(p, j) v(j),  w(p, j) = softmax_j(q(p) . k(j) / sqrt(D)),  j = 0 … p

with queries and keys rotated by their positions (Su et al. 2021, arXiv:2104.09864). A general kernel spends most
of its time on calling matrix products of a few rows each. Here all that a document and head need stays in the
nearest caches, and scores of later positions are hardly computed. Of the forward pass one number a query is kept,
from which the backward pass computes its weights again: that takes less time than to write and read them.

Everything is computed in float32. A document's result depends on nothing but the document: neither on the others
of the batch nor on how many threads share them (the GIL is released).

Shapes: B documents, T positions, H heads of D dimensions, D a multiple of LANES; `qvk` (B, T, groups, 3, heads in
a group, D) queries, values, keys. `turns` (T, 2, D) float32, cosines and sines for pairs of neighbouring
dimensions: 1 and 0 where nothing is rotated, the sine of each pair's first negated. Arrays have no gaps, and
but for `turns` and `shifts` are float32, or bfloat16 as uint16.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from progsem.jobs.compiled import njit
from progsem.lm.lanes import (
    FAST,
    LANES,
    add_product,
    exponentials,
    larger,
    largest,
    load,
    load_rotated,
    pointer,
    splat,
    spread,
    store,
    sum_of,
    times,
    transpose,
    weigh,
)

_ROWS = 8  # that `_multiply` computes at once: as many sums as it takes to keep the multipliers busy


@intrinsic
def _multiply(typing, left, at, row, step, right, right_at, right_step, depth, out, out_at, out_row):
    """out[r, :] = sum_k left[r, k] right[k, :] for _ROWS rows and LANES columns, k = 0 … depth - 1.

    Where the three begin, and how far it is to the next row and the next k, is given in
    numbers of their flat arrays.
    """

    def code(context, builder, signature, arguments):
        left, at, row, step, right, right_at, right_step, depth, out, out_at, out_row = arguments
        kinds = signature.args
        sums = [cgutils.alloca_once_value(builder, splat(builder, 0.0)) for _ in range(_ROWS)]
        data = context.make_array(kinds[0])(context, builder, left).data
        starts = [at]
        for _ in range(_ROWS - 1):
            starts.append(builder.add(starts[-1], row))
        with cgutils.for_range(builder, depth) as loop:
            place = builder.add(right_at, builder.mul(loop.index, right_step))
            vector = builder.load(pointer(context, builder, kinds[4], right, place), align=4)
            further = builder.mul(loop.index, step)
            for start, total in zip(starts, sums, strict=True):
                number = builder.load(builder.gep(data, [builder.add(start, further)]))
                product = builder.fmul(vector, splat(builder, number), flags=FAST)
                builder.store(builder.fadd(builder.load(total), product, flags=FAST), total)
        for total in sums:
            builder.store(builder.load(total), pointer(context, builder, kinds[8], out, out_at), align=4)
            out_at = builder.add(out_at, out_row)
        return context.get_dummy_value()

    numbers = [types.intp] * 3
    return types.void(left, *numbers, right, *numbers[:2], types.intp, out, *numbers[:2]), code


@njit(error_model="numpy", forceinline=True)
def _take(source, at, step, rows, into):
    """Copy the first rows of (…, D) float32 from an array where they are `step` apart."""
    size = into.shape[1]
    for t in range(rows):
        for d in range(0, size, LANES):
            store(into, t * size + d, load(source, at + t * step + d))


@njit(error_model="numpy", forceinline=True)
def _take_rotated(source, at, step, rows, turns, into):
    """As `_take`, each row rotated by its position."""
    size = into.shape[1]
    for t in range(rows):
        for d in range(0, size, LANES):
            store(into, t * size + d, load_rotated(source, at + t * step + d, turns, t * 2 * size + d, size))


@njit(error_model="numpy", forceinline=True)
def _give(source, rows, into, at, step):
    """Copy the first rows of (…, D) float32 into an array where they are to be `step` apart."""
    size = source.shape[1]
    for t in range(rows):
        for d in range(0, size, LANES):
            store(into, at + t * step + d, load(source, t * size + d))


@njit(error_model="numpy", forceinline=True)
def _flip(rows, columns):
    """Write (S, D) as (D, S)."""
    count, size = rows.shape
    for t in range(0, count, LANES):
        for d in range(0, size, LANES):
            transpose(rows, t * size + d, size, columns, d * count + t, count)


@njit(error_model="numpy", forceinline=True)
def _dot(left, first, right, into, at):
    """Products of _ROWS rows of left (S, D), from row `first` on, with the columns of right (D, S) up to theirs."""
    size, columns = right.shape
    for j in range(0, first + _ROWS, LANES):
        _multiply(left, first * size, size, 1, right, j, columns, size, into, at + j, columns)


@njit(error_model="numpy", forceinline=True)
def _mix(left, at, row, step, right, first, count, into):
    """_ROWS sums over `count` rows of right (S, D) from row `first` on, times numbers of left: into (_ROWS, D)."""
    size = right.shape[1]
    for d in range(0, size, LANES):
        _multiply(left, at, row, step, right, first * size + d, size, count, into, d, size)


@njit(nogil=True, cache=True, error_model="numpy")
def attend(first, last, qvk, turns, keys, values, out, shifts):
    """Attention of documents first … last - 1: of their last P positions to `out` (B, P, H, D).

    Rotated keys and values are kept in `keys` and `values` (B, S, H, D), for `attend_next`, unless these are
    empty. To `shifts` (B, H, P) float32 is written what makes weights of scores: w = exp((score - shift) / sqrt(D)).
    """
    length, groups, inner, size = qvk.shape[1], qvk.shape[2], qvk.shape[4], qvk.shape[5]
    heads, step, room = groups * inner, groups * 3 * inner * size, -(-length // LANES) * LANES
    asked, behind = out.shape[1], length - out.shape[1]
    query, value = np.zeros((room, size), np.float32), np.zeros((room, size), np.float32)
    key, columns = np.zeros((room, size), np.float32), np.empty((size, room), np.float32)
    scores, mixed = np.empty((_ROWS, room), np.float32), np.empty((_ROWS, size), np.float32)
    share = np.empty(_ROWS, np.float32)
    scale, nothing = np.float32(1 / np.sqrt(size)), spread(np.float32(0))
    for b in range(first, last):
        for h in range(heads):
            at = b * length * step + (h // inner * 3 * inner + h % inner) * size
            _take_rotated(qvk, at, step, length, turns, query)
            _take(qvk, at + inner * size, step, length, value)
            _take_rotated(qvk, at + 2 * inner * size, step, length, turns, key)
            _flip(key, columns)
            if len(keys) > 0:
                kept = (b * keys.shape[1] * heads + h) * size
                _give(key, length, keys, kept, heads * size)
                _give(value, length, values, kept, heads * size)
            for i in range(behind // _ROWS * _ROWS, length, _ROWS):
                _dot(query, i, columns, scores, 0)
                blocks = (i + _ROWS - 1) // LANES + 1
                for r in range(_ROWS):
                    scores[r, i + r + 1 : blocks * LANES] = -np.inf
                    top = load(scores, r * room)
                    for j in range(LANES, blocks * LANES, LANES):
                        top = larger(top, load(scores, r * room + j))
                    highest = largest(top)
                    share[r] = weigh(scores, r * room, blocks, highest, scale)
                    if behind <= i + r < length:
                        shifts[b, h, i + r - behind] = highest - np.log(share[r]) / scale
                _mix(scores, 0, room, 1, value, 0, i + _ROWS, mixed)
                for r in range(max(0, behind - i), min(_ROWS, length - i)):
                    for d in range(0, size, LANES):
                        written = ((b * asked + i + r - behind) * heads + h) * size + d
                        store(out, written, add_product(nothing, load(mixed, r * size + d), share[r]))


@njit(nogil=True, cache=True, error_model="numpy")
def pass_back(first, last, qvk, turns, shifts, outer, gradient):
    """The gradient of `attend` for these documents, where that of its output is `outer`: in the shape of qvk.

    `shifts` are those that `attend` has written.
    """
    length, groups, inner, size = qvk.shape[1], qvk.shape[2], qvk.shape[4], qvk.shape[5]
    heads, step, room = groups * inner, groups * 3 * inner * size, -(-length // LANES) * LANES
    query, value = np.zeros((room, size), np.float32), np.zeros((room, size), np.float32)
    key, arriving = np.zeros((room, size), np.float32), np.zeros((room, size), np.float32)
    keys, values = np.empty((size, room), np.float32), np.empty((size, room), np.float32)
    weights, slopes = np.empty((room, room), np.float32), np.empty((room, room), np.float32)
    mixed = np.empty((_ROWS, size), np.float32)
    scale, back = np.float32(1 / np.sqrt(size)), turns.copy()
    back[:, 1] *= np.float32(-1)
    for b in range(first, last):
        for h in range(heads):
            at = b * length * step + (h // inner * 3 * inner + h % inner) * size
            _take_rotated(qvk, at, step, length, turns, query)
            _take(qvk, at + inner * size, step, length, value)
            _take_rotated(qvk, at + 2 * inner * size, step, length, turns, key)
            _take(outer, (b * length * heads + h) * size, heads * size, length, arriving)
            _flip(key, keys)
            _flip(value, values)
            for i in range(0, length, _ROWS):
                _dot(query, i, keys, weights, i * room)
                _dot(arriving, i, values, slopes, i * room)
                stop = ((i + _ROWS - 1) // LANES + 1) * LANES
                for p in range(i, min(i + _ROWS, length)):
                    weights[p, p + 1 : stop] = -np.inf
                    total = spread(np.float32(0))
                    for j in range(p * room, p * room + stop, LANES):
                        weight = exponentials(load(weights, j), shifts[b, h, p], scale)
                        store(weights, j, weight)
                        total = add_product(total, times(weight, load(slopes, j)), np.float32(1))
                    mean = spread(-scale * sum_of(total))
                    for j in range(p * room, p * room + stop, LANES):
                        store(slopes, j, times(load(weights, j), add_product(mean, load(slopes, j), scale)))
                _mix(slopes, i * room, room, 1, key, 0, i + _ROWS, mixed)
                _give_rotated(mixed, i, min(_ROWS, length - i), back, gradient, at, step)
            for j in range(0, length, _ROWS):
                rows = min(_ROWS, length - j)
                _mix(weights, j * room + j, 1, room, arriving, j, length - j, mixed)
                _give(mixed, rows, gradient, at + inner * size + j * step, step)
                _mix(slopes, j * room + j, 1, room, query, j, length - j, mixed)
                _give_rotated(mixed, j, rows, back, gradient, at + 2 * inner * size, step)


@njit(error_model="numpy", forceinline=True)
def _give_rotated(mixed, first, rows, turns, target, at, step):
    """As `_give`, each row rotated by its position: the first one's is `first`, that of `at` is 0."""
    size = mixed.shape[1]
    for r in range(rows):
        for d in range(0, size, LANES):
            vector = load_rotated(mixed, r * size + d, turns, (first + r) * 2 * size + d, size)
            store(target, at + (first + r) * step + d, vector)


@njit(nogil=True, cache=True, error_model="numpy")
def attend_next(rows, position, qvk, turns, keys, values, out):
    """Attention of one more position of the documents `rows` (R,) int64, to all up to itself: (R, 1, H, D) to `out`.

    qvk: (R, 1, groups, 3, heads in a group, D); turns: (1, 2, D), of that position. Its rotated key and its value
    are added to keys and values (B, S, H, D), which hold those of the positions before.
    """
    count, groups, inner, size = qvk.shape[0], qvk.shape[2], qvk.shape[4], qvk.shape[5]
    heads, step, blocks = groups * inner, groups * inner * size, position // LANES + 1
    query, scores = np.empty(size, np.float32), np.empty(blocks * LANES, np.float32)
    scale, nothing, one = np.float32(1 / np.sqrt(size)), spread(np.float32(0)), np.float32(1)
    for r in range(count):
        for h in range(heads):
            at = (r * 3 * heads + h // inner * 3 * inner + h % inner) * size
            kept = (rows[r] * keys.shape[1] * heads + h) * size  # the first position's key and value
            for d in range(0, size, LANES):
                store(query, d, load_rotated(qvk, at + d, turns, d, size))
                store(values, kept + position * step + d, load(qvk, at + inner * size + d))
                store(keys, kept + position * step + d, load_rotated(qvk, at + 2 * inner * size + d, turns, d, size))
            for j in range(position + 1):
                total = nothing
                for d in range(0, size, LANES):
                    total = add_product(total, times(load(query, d), load(keys, kept + j * step + d)), one)
                scores[j] = sum_of(total)
            scores[position + 1 :] = -np.inf
            top = load(scores, 0)
            for j in range(LANES, blocks * LANES, LANES):
                top = larger(top, load(scores, j))
            share = weigh(scores, 0, blocks, largest(top), scale)
            for d in range(0, size, LANES):
                total = nothing
                for j in range(position + 1):
                    total = add_product(total, load(values, kept + j * step + d), scores[j])
                store(out, (r * heads + h) * size + d, add_product(nothing, total, share))
