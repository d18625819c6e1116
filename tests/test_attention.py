"""The compiled attention against plain loops in float64."""

import numpy as np
import pytest
import torch

from progsem.lm.attention import attend, room
from progsem.lm.lanes import LANES

HEADS = 3


def drawn(seed: int, *shape: int, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def angles(positions: int, size: int, rotary: int) -> np.ndarray:
    """Cosines and sines of arbitrary angles (positions, 2, D); behind `rotary` nothing is turned."""
    angle = np.zeros((positions, size // 2))
    angle[:, : rotary // 2] = np.random.default_rng(3).uniform(-4, 4, (positions, rotary // 2))
    sines = np.stack([-np.sin(angle), np.sin(angle)], axis=2).reshape(positions, size)
    return np.stack([np.cos(angle).repeat(2, axis=1), sines], axis=1).astype(np.float32)


def turned(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Each pair of neighbours as a complex number, times one."""
    vector = vector.astype(np.float64)
    pairs = (vector[0::2] + 1j * vector[1::2]) * (angle[0, 0::2] + 1j * angle[1, 1::2].astype(np.float64))
    return np.stack([pairs.real, pairs.imag], axis=1).reshape(-1)


def plain(queries, pairs, turns, first):
    """Attention of queries (R, P, H, D) at positions `first` … to pairs (R, T, 2, H, D) from position 0 on."""
    out = np.empty(queries.shape)
    for r, p, h in np.ndindex(queries.shape[:3]):
        at = first + p
        query = turned(queries[r, p, h], turns[at])
        keys = np.array([turned(pairs[r, j, 0, h], turns[j]) for j in range(at + 1)])
        scores = keys @ query / np.sqrt(len(query))
        weights = np.exp(scores - scores.max())
        out[r, p, h] = weights / weights.sum() @ pairs[r, : at + 1, 1, h]
    return out


def bfloat(array: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 numbers, ties to even, as uint16."""
    return torch.from_numpy(array).bfloat16().view(torch.uint16).numpy()


def widened(array: np.ndarray) -> np.ndarray:
    """bfloat16 numbers, given as uint16, as float32."""
    return torch.from_numpy(array).view(torch.bfloat16).float().numpy()


def memory(documents: int, size: int, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """What another batch may have left behind."""
    kept = room(positions)
    return drawn(8, documents, HEADS, size, kept, scale=50), drawn(9, documents, HEADS, kept, size, scale=50)


@pytest.mark.parametrize("size, rotary", [(LANES, LANES), (2 * LANES, 2 * LANES), (2 * LANES, 6)])
@pytest.mark.parametrize("length", [1, 3, 16, 33, 71])
def test_same_as_plain_loops(size, rotary, length):
    queries, pairs = drawn(1, 2, length, HEADS, size, scale=2), drawn(2, 2, length, 2, HEADS, size)
    turns, out = angles(length, size, rotary), np.empty(queries.shape, np.float32)
    attend(queries, pairs, turns, np.array([0, 1]), 0, *memory(2, size, length), out)
    np.testing.assert_allclose(out, plain(queries, pairs, turns, 0), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("start", [14, 15, 16, 31])
def test_the_last_queries_then_token_by_token(start):
    """Queries of the last positions only, then one position after the other of some of the documents."""
    size, asked, more = LANES, 5, 7
    positions = start + more
    pairs, turns = drawn(2, 4, positions, 2, HEADS, size), angles(positions, size, size)
    queries = drawn(1, 4, positions, HEADS, size)
    kept = memory(6, size, positions)
    rows = np.array([5, 0, 2, 3])
    out = np.empty((4, asked, HEADS, size), np.float32)
    first = np.ascontiguousarray(pairs[:, :start])
    attend(np.ascontiguousarray(queries[:, start - asked : start]), first, turns, rows, 0, *kept, out)
    expected = plain(queries[:, start - asked : start], pairs, turns, start - asked)
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    some = np.array([3, 1])
    for at in range(start, positions):
        one = np.ascontiguousarray(queries[some, at : at + 1])
        out = np.empty(one.shape, np.float32)
        attend(one, np.ascontiguousarray(pairs[some, at : at + 1]), turns, rows[some], at, *kept, out)
        np.testing.assert_allclose(out, plain(one, pairs[some], turns, at), rtol=2e-5, atol=2e-5)


def test_bfloat16_is_rounded_once_on_the_way_in_and_once_on_the_way_out():
    """Numbers are widened, computed with in float32, and rounded; keys and values are kept rounded."""
    size, length, rows = 2 * LANES, 37, np.array([1, 0])
    queries, pairs = (bfloat(drawn(seed, 2, length, *shape, HEADS, size)) for seed, shape in ((1, ()), (2, (2,))))
    turns = angles(length, size, size)
    keys, values = (bfloat(array) for array in memory(2, size, length))
    out = np.empty(queries.shape, np.uint16)
    first = length - 1
    attend(queries[:, :first].copy(), pairs[:, :first].copy(), turns, rows, 0, keys, values, out[:, :first].copy())
    kept = widened(keys[1, 0, :, :first]).T
    exact = np.array([turned(widened(pairs)[0, j, 0, 0], turns[j]) for j in range(first)])
    np.testing.assert_allclose(kept, exact, rtol=2**-8, atol=1e-6)
    np.testing.assert_array_equal(values[rows, :, :first], pairs[:, :first, 1].swapaxes(1, 2))
    attend(queries, pairs, turns, rows, 0, keys, values, out)
    expected = plain(widened(queries), widened(pairs), turns, 0)
    np.testing.assert_allclose(widened(out), expected, rtol=2**-8, atol=2e-5)
    last = np.empty(queries[:, -1:].shape, np.uint16)  # the same again, from what was kept
    attend(queries[:, -1:].copy(), pairs[:, -1:].copy(), turns, rows, first, keys, values, last)
    np.testing.assert_allclose(widened(last), expected[:, -1:], rtol=2**-6, atol=1e-2)


def test_scores_far_apart_neither_overflow_nor_count():
    size, length = LANES, 20
    queries, pairs = drawn(1, 1, length, HEADS, size, scale=60), drawn(2, 1, length, 2, HEADS, size, scale=60)
    turns, out = angles(length, size, size), np.empty(queries.shape, np.float32)
    attend(queries, pairs, turns, np.array([0]), 0, *memory(1, size, length), out)
    np.testing.assert_allclose(out, plain(queries, pairs, turns, 0), rtol=1e-3, atol=1e-2)


def test_a_document_alone_gets_the_same_bits():
    size, length, count = 2 * LANES, 37, 5
    queries, pairs = drawn(1, count, length, HEADS, size), drawn(2, count, length, 2, HEADS, size)
    turns, out = angles(length, size, size), np.empty(queries.shape, np.float32)
    attend(queries, pairs, turns, np.arange(count), 0, *memory(count, size, length), out)
    for r in range(count):
        alone = np.empty(queries[:1].shape, np.float32)
        kept = (array * 0 for array in memory(1, size, length))
        attend(queries[r : r + 1], pairs[r : r + 1], turns, np.array([0]), 0, *kept, alone)
        np.testing.assert_array_equal(alone[0], out[r])
