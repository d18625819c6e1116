"""The compiled attention with keys and values kept, against plain loops in float64; gradients: test_operations.py."""

import numpy as np
import pytest
import torch

from progsem.lm.lanes import LANES
from progsem.lm.operations import attend_compiled, attend_next_compiled

GROUPS, INNER = 2, 3
HEADS = GROUPS * INNER


def drawn(seed: int, *shape: int, scale: float = 1.0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def angles(positions: int, size: int, rotary: int) -> torch.Tensor:
    """Cosines and sines of arbitrary angles (positions, 2, D); behind `rotary` nothing is rotated."""
    angle = np.zeros((positions, size // 2))
    angle[:, : rotary // 2] = np.random.default_rng(3).uniform(-4, 4, (positions, rotary // 2))
    sines = np.stack([-np.sin(angle), np.sin(angle)], axis=2).reshape(positions, size)
    return torch.from_numpy(np.stack([np.cos(angle).repeat(2, axis=1), sines], axis=1)).float()


def rotated(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Each pair of neighbours as a complex number, times one."""
    pairs = (vector[0::2] + 1j * vector[1::2]) * (angle[0, 0::2] + 1j * angle[1, 1::2])
    return np.stack([pairs.real, pairs.imag], axis=1).reshape(-1)


def plain(qvk: torch.Tensor, turns: torch.Tensor, last: int) -> torch.Tensor:
    """Attention of the last positions of qvk (B, T, groups, 3, heads in a group, D): (B, P, H, D) float64."""
    parts, turns = qvk.double().numpy().transpose(3, 0, 1, 2, 4, 5), turns.double().numpy()
    queries, values, keys = parts.reshape(3, *qvk.shape[:2], HEADS, -1)
    out = np.empty((len(qvk), last, *queries.shape[2:]))
    for b, p, h in np.ndindex(out.shape[:3]):
        at = qvk.shape[1] - last + p
        seen = np.array([rotated(keys[b, j, h], turns[j]) for j in range(at + 1)])
        scores = seen @ rotated(queries[b, at, h], turns[at]) / np.sqrt(qvk.shape[-1])
        weights = np.exp(scores - scores.max())
        out[b, p, h] = weights / weights.sum() @ values[b, : at + 1, h]
    return torch.from_numpy(out)


def left_behind(documents: int, positions: int, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Room for keys and values, where another batch has left its own."""
    return tuple(drawn(seed, documents, positions, HEADS, size, scale=50, dtype=dtype) for seed in (8, 9))


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    rounded = 2**-8 if found.dtype == torch.bfloat16 else 2e-5
    torch.testing.assert_close(found.double(), expected, rtol=rounded, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size, rotary", [(LANES, LANES), (3 * LANES, 2 * LANES), (2 * LANES, 6)])
@pytest.mark.parametrize("length, last", [(1, 1), (3, 2), (16, 16), (33, 1), (37, 9), (71, 71)])
def test_the_last_positions(length, last, size, rotary, dtype):
    """Numbers are widened, computed with in float32, and rounded once."""
    qvk, turns = drawn(1, 2, length, GROUPS, 3, INNER, size, scale=2, dtype=dtype), angles(length, size, rotary)
    found, _ = attend_compiled(qvk, turns, *left_behind(2, length, size, dtype), last)
    assert_near(found, plain(qvk, turns, last))


@pytest.mark.parametrize("start", [1, 15, 16, 31])
def test_then_token_by_token(start):
    """One position after the other of some of the documents, which stand among others."""
    size, stop = 2 * LANES, start + 3
    qvk, turns = drawn(2, 4, stop, GROUPS, 3, INNER, size), angles(stop, size, size)
    keys, values = left_behind(6, stop + 4, size, torch.float32)
    attend_compiled(qvk[:, :start].contiguous(), turns[:start], keys[2:], values[2:], 1)
    some = torch.tensor([3, 1])
    for at in range(start, stop):
        given = qvk[some, at : at + 1].contiguous()
        found = attend_next_compiled(some + 2, at, given, turns[at : at + 1], keys, values)
        assert_near(found, plain(qvk[some, : at + 1], turns[: at + 1], 1))


def test_keys_and_values_are_kept_rounded():
    size, length, dtype = LANES, 5, torch.bfloat16
    qvk, turns = drawn(1, 2, length, GROUPS, 3, INNER, size, dtype=dtype), angles(length, size, size)
    keys, values = left_behind(2, length, size, dtype)
    attend_compiled(qvk[:, :4].contiguous(), turns[:4], keys, values, 1)
    attend_next_compiled(torch.arange(2), 4, qvk[:, 4:].contiguous(), turns[4:], keys, values)
    given = qvk.double().numpy()[:, :, :, 2].reshape(2, length, HEADS, size)
    exact = np.array(
        [
            [[rotated(head, turn) for head in at] for at, turn in zip(row, turns.double().numpy(), strict=True)]
            for row in given
        ]
    )
    assert_near(keys, torch.from_numpy(exact))
    assert torch.equal(values, qvk[:, :, :, 1].flatten(2, 3))


def test_scores_far_apart_neither_overflow_nor_count():
    size, length = LANES, 20
    qvk, turns = drawn(1, 1, length, GROUPS, 3, INNER, size, scale=60), angles(length, size, size)
    keys, values = left_behind(1, length, size, torch.float32)
    first, _ = attend_compiled(qvk[:, :-1].contiguous(), turns[:-1], keys, values, length - 1)
    last = attend_next_compiled(torch.arange(1), length - 1, qvk[:, -1:].contiguous(), turns[-1:], keys, values)
    torch.testing.assert_close(torch.cat((first, last), 1).double(), plain(qvk, turns, length), rtol=1e-3, atol=1e-2)


def test_a_document_alone_gets_the_same_bits():
    size, length, count = 2 * LANES, 37, 5
    qvk, turns = drawn(1, count, length, GROUPS, 3, INNER, size), angles(length, size, size)
    together, _ = attend_compiled(qvk, turns, *left_behind(count, length, size, torch.float32), length)
    for b in range(count):
        alone, _ = attend_compiled(qvk[b : b + 1], turns, *left_behind(1, length + 1, size, torch.float32), length)
        assert torch.equal(alone[0], together[b])
