"""Operations of the language model whose gradients are written out.

Each is the same function as the plain torch calls that its docstring names; tests
compare both, with their gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.hardware import attention_dtype
from progsem.lm import attention_gradient
from progsem.lm.lanes import LANES


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


def attention(qvk: Tensor, rotation: Tensor, turns: Tensor) -> Tensor:
    """Causal attention, queries and keys turned by their positions: (B, T, H, D).

    qvk: (B, T, groups, 3, heads in a group, D) queries, values and keys, in the type of the products.
    rotation (T, R / 2) complex and turns (T, 2, D) float32 are those of `model.CodeGen`.

    On a CPU by compiled loops, gradient included (`attention_gradient.py`), with which training
    steps of the default study are 1.3 times as fast. Else, and where D is no whole number of
    vectors, by `fused_attention`.
    """
    if qvk.device.type == "cpu" and qvk.shape[-1] % LANES == 0:
        return _CompiledAttention.apply(qvk, turns)
    return fused_attention(qvk, rotation, attention_dtype(qvk.device, qvk.dtype))


def fused_attention(qvk: Tensor, rotation: Tensor, dtype: torch.dtype) -> Tensor:
    """`attention` by torch's fused kernel in that type."""
    query, value, key = qvk.permute(3, 0, 2, 4, 1, 5).flatten(2, 3)  # (B, H, T, D) each
    with torch.autocast(qvk.device.type, enabled=False):
        query, key = (rotate(part.float(), rotation).to(dtype) for part in (query, key))
        out = F.scaled_dot_product_attention(query, key, value.to(dtype), is_causal=True)
    return out.to(qvk.dtype).transpose(1, 2)


class _CompiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qvk: Tensor, turns: Tensor) -> Tensor:
        documents, length, groups, _, inner, size = qvk.shape
        qvk = qvk.contiguous()
        out = qvk.new_empty(documents, length, groups * inner, size)
        shifts = torch.empty(documents, groups * inner, length)
        arrays = [_array(tensor) for tensor in (qvk, turns, out, shifts)]
        _shared(documents, lambda *share: attention_gradient.attend(*share, *arrays))
        ctx.save_for_backward(qvk, turns, shifts)
        return out

    @staticmethod
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None]:
        qvk, turns, shifts = ctx.saved_tensors
        gradient = torch.empty_like(qvk)
        arrays = [_array(tensor) for tensor in (qvk, turns, shifts, outer.contiguous(), gradient)]
        _shared(len(qvk), lambda *share: attention_gradient.pass_back(*share, *arrays))
        return gradient, None


def _array(tensor: Tensor) -> np.ndarray:
    """The same memory, bfloat16 as uint16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _shared(documents: int, work: Callable[[int, int], None]) -> None:
    """Call `work` with the first document and the last but one of each thread's share."""
    threads = min(torch.get_num_threads(), documents)
    if threads == 1:
        return work(0, documents)
    cuts = [documents * share // threads for share in range(threads + 1)]
    others = _pool(threads - 1).map(work, cuts[1:-1], cuts[2:])
    work(*cuts[:2])
    list(others)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)
