"""Operations with written-out gradients against the plain calls that they stand for."""

import pytest
import torch
from torch.nn import functional as F

from progsem import operations

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


def rotation(length: int, turned: int) -> torch.Tensor:
    angle = normal(length, turned // 2, seed=5)
    return torch.polar(torch.ones_like(angle), angle)


def test_rotation_turns_neighbouring_pairs():
    x, turns = normal(2, 3, 5, 8), rotation(5, 6)
    found = operations.rotate(x, turns)
    for position, pair in ((0, 0), (4, 2), (2, 1)):
        angle = turns[position, pair].angle()
        matrix = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
        span = slice(2 * pair, 2 * pair + 2)
        torch.testing.assert_close(found[:, :, position, span], x[:, :, position, span] @ matrix.T)
    assert torch.equal(found[..., 6:], x[..., 6:])


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length, size, turned", [(9, 8, 8), (9, 8, 4), (1, 4, 2), (33, 16, 16)])
def test_attention_is_that_of_torch(dtype, length, size, turned):
    turns = rotation(length, turned)
    # As the model gives them: heads before positions, without a copy.
    qvk = normal(2, length, 4, 3, 1, size, dtype=dtype).permute(3, 0, 2, 4, 1, 5).reshape(3, 2, 4, length, size)
    outer = normal(2, 4, length, size, dtype=dtype, seed=1)
    ours, plain = qvk.clone().requires_grad_(), qvk.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found = operations.RotatedAttention.apply(ours, turns)
        found.backward(outer)
    query, value, key = plain
    query, key = operations.rotate(query, turns), operations.rotate(key, turns)
    expected = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    expected.backward(outer.float())
    assert_near(found, expected, dtype)
    assert_near(ours.grad, plain.grad, dtype)
