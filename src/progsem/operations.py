"""Operations of the language model whose gradients are written out.

Each is the same function as the plain torch calls that its docstring names; tests
compare both, with their gradients.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Positions that `RotatedAttention` is for. It gains at 560 as well (benchmarks/attention.py), but what it keeps
# grows with the square: at 256, for 32 documents and 4 heads, 17 MB a layer.
LONGEST = 256


def lookup(tokens: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
    """`F.embedding(tokens, table)` for each table (V, C): (…, C) each, for tokens (…).

    The gradient of a row is the sum over the tokens that read it. As a matrix product
    with the one-hot tokens it is summed in float32 whatever the tables' type.
    """
    return _Lookup.apply(tokens, *tables)


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tokens: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(tokens)
        ctx.rows = len(tables[0])
        return tuple(F.embedding(tokens, table) for table in tables)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (tokens,) = ctx.saved_tensors
        hot = torch.arange(ctx.rows, device=tokens.device)[:, None] == tokens.flatten()
        hot = hot.to(gradients[0].dtype)
        return None, *(hot @ gradient.flatten(0, -2) for gradient in gradients)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate neighbouring pairs of the first R dimensions of x (…, T, D) float32.

    Each pair is a complex number, each rotation (T, R / 2) one of modulus 1: one
    product instead of four on strided halves, which a CPU takes five times as long for.
    """
    turned, rest = x.tensor_split([2 * rotation.shape[1]], dim=-1)
    pairs = torch.view_as_complex(turned.contiguous().unflatten(-1, (-1, 2)))
    turned = torch.view_as_real(pairs * rotation).flatten(-2)
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned


class RotatedAttention(torch.autograd.Function):
    """Causal attention of short documents on a CPU, rotation of queries and keys included.

    The same as `rotate` on queries and keys, then `F.scaled_dot_product_attention`
    in float32. That kernel is made for documents far longer than these, and recomputes
    the weights block by block; here they are computed in float32, and kept in the type
    of the products. Training steps of the default study are 1.2 times as fast with it.

    qvk (3, B, H, T, D): queries, values, keys in the type of the products, not rotated
    yet; rotation (T, R / 2) complex. Returns (B, H, T, D).
    """

    @staticmethod
    def forward(ctx, qvk: Tensor, rotation: Tensor) -> Tensor:
        length, size = qvk.shape[3:]
        qvk = qvk.contiguous()  # before the cast: casting in another order takes ten times as long
        value = qvk[1].flatten(0, 1)  # (B * H, T, D)
        with torch.autocast("cpu", enabled=False):
            query, key = turned = rotate(qvk[::2].float(), rotation).flatten(1, 2)
            future = torch.full((length, length), -torch.inf).triu_(1)
            scores = torch.baddbmm(future, query, key.mT, alpha=size**-0.5)
            weights = torch.softmax(scores, 2).to(value.dtype)
            out = torch.bmm(weights, value)
        ctx.save_for_backward(turned.to(value.dtype), value, weights, rotation)
        return out.view(qvk.shape[1:])

    @staticmethod
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None]:
        (query, key), value, weights, rotation = ctx.saved_tensors
        shape = outer.shape
        outer = outer.flatten(0, 1)
        gradient = torch.empty(3, *outer.shape, dtype=outer.dtype)
        with torch.autocast("cpu", enabled=False):
            torch.bmm(weights.mT, outer, out=gradient[1])
            inner = torch.bmm(outer, value.mT)
            inner = torch._softmax_backward_data(inner, weights, 2, inner.dtype)
            for out, left, right in ((gradient[0], inner, key), (gradient[2], inner.mT, query)):
                torch.baddbmm(out, left, right, beta=0, alpha=shape[-1] ** -0.5, out=out)
            gradient[::2] = rotate(gradient[::2].float(), rotation.conj())
        return gradient.view(3, *shape), None
