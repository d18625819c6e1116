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

The inner loops are written in vectors of LANES numbers (`lanes.py`).
"""

from __future__ import annotations

import numpy as np

from progsem.jobs.compiled import njit
from progsem.lm.lanes import LANES, add_product, larger, largest, load, load_turned, spread, store, transpose, weigh

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
                    store(valued, t * size + d, load(pairs, given + d))
            for d in range(0, size, LANES):
                for t in range(0, new, LANES):
                    for k in range(LANES):
                        p = min(t + k, new - 1)  # behind the last position is written what nobody reads
                        given = ((r * new + p) * 2 * heads + h) * size + d
                        store(square, k * LANES, load_turned(pairs, given, turns, (start + p) * 2 * size + d, size))
                    transpose(square, known, d * room + t, room)
            kept = (rows[r] * heads + h) * size * room  # where the document's keys and values of this head begin
            for d in range(size):
                for t in range(0, new, LANES):
                    store(keys, kept + d * room + start + t, load(known, d * room + t))
            for at in range(0, new * size, LANES):
                store(values, kept + start * size + at, load(valued, at))
            for p in range(0, asked, 4):
                for k in range(4):  # where there are not four left, the last one is computed again
                    last = min(p + k, asked - 1)
                    angles = (start + new - asked + last) * 2 * size
                    given = ((r * asked + last) * heads + h) * size
                    for d in range(0, size, LANES):
                        store(turned, k * size + d, load_turned(queries, given + d, turns, angles + d, size))
                at, written, asking = start + new - asked + p, ((r * asked + p) * heads + h) * size, min(4, asked - p)
                if start == 0:  # all there is was just written into the nearest cache
                    _attend_four(turned, known, valued, 0, room, at, asking, scores, out, written, heads * size)
                else:
                    _attend_four(turned, keys, values, kept, room, at, asking, scores, out, written, heads * size)


@njit(error_model="numpy", forceinline=True)
def _attend_four(turned, keys, values, kept, room, at, count, scores, out, written, stride):
    """Attention of `count` of four queries (4, D) at positions `at` …, one written `stride` behind the other."""
    size = turned.shape[1]
    at0, at1, at2, at3 = at, at + min(1, count - 1), at + min(2, count - 1), at + count - 1
    blocks = at3 // LANES + 1
    lowest = spread(np.float32(-np.inf))
    top0, top1, top2, top3 = lowest, lowest, lowest, lowest
    for block in range(blocks):
        j = block * LANES
        s0 = load(_BEHIND, min(max(j + LANES - 1 - at0, 0), LANES))
        s1 = load(_BEHIND, min(max(j + LANES - 1 - at1, 0), LANES))
        s2 = load(_BEHIND, min(max(j + LANES - 1 - at2, 0), LANES))
        s3 = load(_BEHIND, min(max(j + LANES - 1 - at3, 0), LANES))
        for d in range(size):
            key = load(keys, kept + d * room + j)
            s0 = add_product(s0, key, turned[0, d])
            s1 = add_product(s1, key, turned[1, d])
            s2 = add_product(s2, key, turned[2, d])
            s3 = add_product(s3, key, turned[3, d])
        store(scores, j, s0)
        store(scores, room + j, s1)
        store(scores, 2 * room + j, s2)
        store(scores, 3 * room + j, s3)
        top0, top1, top2, top3 = larger(top0, s0), larger(top1, s1), larger(top2, s2), larger(top3, s3)
    scale = np.float32(1 / np.sqrt(size))
    m0 = weigh(scores, 0, blocks, largest(top0), scale)
    m1 = weigh(scores, room, blocks, largest(top1), scale)
    m2 = weigh(scores, 2 * room, blocks, largest(top2), scale)
    m3 = weigh(scores, 3 * room, blocks, largest(top3), scale)
    nothing = spread(np.float32(0))
    for d in range(0, size, LANES):
        t0, t1, t2, t3 = nothing, nothing, nothing, nothing
        for j in range(at3 + 1):
            value = load(values, kept + j * size + d)
            t0 = add_product(t0, value, scores[0, j])
            t1 = add_product(t1, value, scores[1, j])
            t2 = add_product(t2, value, scores[2, j])
            t3 = add_product(t3, value, scores[3, j])
        # From the last one on, all are the same query.
        store(out, written + d, add_product(nothing, t0, m0))
        store(out, written + (at1 - at) * stride + d, add_product(nothing, t1, m1))
        store(out, written + (at2 - at) * stride + d, add_product(nothing, t2, m2))
        store(out, written + (at3 - at) * stride + d, add_product(nothing, t3, m3))
