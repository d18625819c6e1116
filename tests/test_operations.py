"""Lookup, rotation and attention, with their gradients, against the plain calls that they stand for."""

import math

import pytest
import torch
from torch.nn import functional as F

from progsem.lm.codegen import operations

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the largest value


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def assert_near(found: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    assert (found.float() - expected).abs().max() <= TOLERANCE[dtype] * expected.abs().max()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_lookup_is_an_embedding(dtype):
    tokens = torch.randint(0, 7, (40, 50), generator=torch.Generator().manual_seed(0))  # 7 and 8 never occur
    tables = [normal(9, width, dtype=dtype, seed=width).requires_grad_() for width in (3, 5)]
    gradients = [normal(40, 50, width, dtype=dtype, seed=1) for width in (3, 5)]
    found = operations.lookup(tokens, *tables)
    torch.autograd.backward(found, gradients)
    for table, gradient, value in zip(tables, gradients, found, strict=True):
        assert torch.equal(value, F.embedding(tokens, table))
        exact = table.detach().double().requires_grad_()
        F.embedding(tokens, exact).backward(gradient.double())
        # The sum of 2 000 terms is rounded once, not after each.
        torch.testing.assert_close(
            table.grad, exact.grad.to(dtype), rtol=1e-5 if dtype == torch.float32 else 4e-3, atol=1e-4
        )


def test_lookup_needs_no_gradient_of_every_table():
    tables = normal(4, 2), normal(4, 3).requires_grad_()
    _, used = operations.lookup(torch.tensor([1, 1, 3]), *tables)
    used.sum().backward()
    assert tables[0].grad is None
    assert tables[1].grad.tolist() == [[0] * 3, [2] * 3, [0] * 3, [1] * 3]


def turns(length: int, size: int, rotated: int) -> torch.Tensor:
    """Cosines and sines as `model.CodeGen` has them, pair by pair, of arbitrary angles: (T, 2, D)."""
    angle = F.pad(normal(length, rotated // 2, seed=5), (0, (size - rotated) // 2))
    out = torch.empty(length, 2, size)
    for pair in range(size // 2):
        out[:, 0, 2 * pair] = out[:, 0, 2 * pair + 1] = angle[:, pair].cos()
        out[:, 1, 2 * pair], out[:, 1, 2 * pair + 1] = -angle[:, pair].sin(), angle[:, pair].sin()
    return out


def test_rotation_turns_neighbouring_pairs():
    x, given = normal(2, 5, 3, 8), turns(5, 8, 6)
    found = operations.rotate(x, given)
    for position, pair in ((0, 0), (4, 2), (2, 1)):
        span = slice(2 * pair, 2 * pair + 2)
        cosine, sine = given[position, 0, 2 * pair], given[position, 1, 2 * pair + 1]
        matrix = torch.tensor([[cosine, -sine], [sine, cosine]])
        torch.testing.assert_close(found[:, position, :, span], x[:, position, :, span] @ matrix.T)
    assert torch.equal(found[..., 6:], x[..., 6:])


def plain_attention(qvk: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Head by head and query by query: (B, T, H, D)."""
    documents, length, groups, _, inner, size = qvk.shape
    heads = []
    for group in range(groups):
        for head in range(inner):
            query, value, key = qvk[:, :, group, :, head].unbind(2)  # (B, T, D)
            query, key = (operations.rotate(part[:, :, None], turns)[:, :, 0] for part in (query, key))
            seen = [
                torch.softmax((key[:, : p + 1] @ query[:, p, :, None]).squeeze(2) / size**0.5, 1)[:, None]
                @ value[:, : p + 1]
                for p in range(length)
            ]
            heads.append(torch.cat(seen, 1))
    return torch.stack(heads, 2)


CASES = [(1, 1, 16, 4), (7, 2, 16, 16), (16, 1, 32, 32), (17, 1, 48, 8), (70, 1, 32, 32), (9, 2, 8, 4)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length, inner, size, turned", CASES)
@pytest.mark.parametrize("share", [1.0, 0.6], ids=["all", "last"])
def test_attention_and_its_gradient(dtype, length, inner, size, turned, share):
    turn = turns(length, size, turned)
    qvk = normal(3, length, 4, 3, inner, size, dtype=dtype)
    last = math.ceil(share * length)
    outer = normal(3, last, 4 * inner, size, dtype=dtype, seed=1)
    ours, plain = qvk.clone().requires_grad_(), qvk.float().requires_grad_()
    expected = plain_attention(plain, turn)[:, -last:]
    expected.backward(outer.float())
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = operations.attention(ours, turn, last)
        found.backward(outer)
    assert_near(found, expected, dtype)
    assert_near(ours.grad, plain.grad, dtype)


def test_attention_of_large_scores():
    """Scores whose exponentials are no float32 numbers, and some that leave nothing of the others."""
    turn = turns(20, 16, 16)
    ours = (normal(2, 20, 4, 3, 1, 16) * 10).requires_grad_()
    plain = ours.detach().clone().requires_grad_()
    outer = normal(2, 20, 4, 16, seed=1)
    found, expected = operations.attention(ours, turn, ours.shape[1]), plain_attention(plain, turn)
    found.backward(outer)
    expected.backward(outer)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-3, atol=2e-3)


def test_attention_says_what_is_no_number():
    turn = turns(20, 16, 16)
    qvk = normal(2, 20, 4, 3, 1, 16)
    qvk[0, 3, 1, 2, 0, 5] = torch.nan  # a key of the fourth position
    found = operations.attention(qvk, turn, qvk.shape[1])
    assert found[0, 3:, 1].isnan().all()
    assert not found[0, :3].isnan().any() and not found[0, :, [0, 2, 3]].isnan().any() and not found[1].isnan().any()


def test_attention_does_not_depend_on_threads():
    turn, threads, results = turns(20, 16, 16), torch.get_num_threads(), []
    for number in (1, 3):
        torch.set_num_threads(number)
        qvk = normal(5, 20, 4, 3, 1, 16, dtype=torch.bfloat16).requires_grad_()
        found = operations.attention(qvk, turn, qvk.shape[1])
        found.backward(normal(5, 20, 4, 16, dtype=torch.bfloat16, seed=1))
        results.append((found, qvk.grad))
    torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
