"""What the language model's blocks are made of beside plain layers: lookup, rotation by position, attention."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.hardware import attention_dtype
from progsem.lm import attention as kernels
from progsem.lm.lanes import LANES


def lookup(tokens: Tensor, *tables: Tensor) -> tuple[Tensor, ...]:
    """`F.embedding(tokens, table)` for each table (V, C): (…, C) each, for tokens (…).

    As a product with the one-hot tokens, so that the gradient of a row, a sum over the tokens that look it up,
    is added up in float32 whatever the tables' type.
    """
    hot = (tokens[..., None] == torch.arange(len(tables[0]), device=tokens.device)).to(tables[0].dtype)
    return tuple(hot @ table for table in tables)


def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Queries or keys (B, T, H, D) rotated by their positions (Su et al. 2021, arXiv:2104.09864): float32.

    turns: (T, 2, D) float32, those of `model.CodeGen`. Neighbouring dimensions are taken for a complex number,
    and so are their cosine and sine: four products of strided halves would take a CPU five times as long.
    """
    rotation = torch.complex(turns[:, 0, ::2], turns[:, 1, 1::2])[:, None]
    pairs = torch.view_as_complex(x.float().contiguous().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2)


def is_compiled(device: torch.device, size: int) -> bool:
    """Whether attention is computed by compiled loops (`attention.py`): on a CPU, where D is whole vectors."""
    return device.type == "cpu" and size % LANES == 0


def attention(qvk: Tensor, turns: Tensor) -> Tensor:
    """Causal attention, queries and keys rotated by their positions: (B, T, H, D).

    qvk: (B, T, groups, 3, heads in a group, D) queries, values and keys, in the type of the products.
    turns: (T, 2, D) float32, those of `model.CodeGen`.

    Compiled, training steps of the default study take two thirds to three quarters of the time where
    the processor has bfloat16 products (docs/benchmarks.md).
    """
    if is_compiled(qvk.device, qvk.shape[-1]):
        return _CompiledAttention.apply(qvk, turns)
    return fused_attention(qvk, turns, attention_dtype(qvk.device, qvk.dtype))


def fused_attention(qvk: Tensor, turns: Tensor, dtype: torch.dtype) -> Tensor:
    """`attention` by torch's fused kernel in that type."""
    query, value, key = (part.flatten(2, 3) for part in qvk.unbind(3))
    parts = rotate(query, turns), rotate(key, turns), value
    return causal(*(part.to(dtype) for part in parts)).to(qvk.dtype)


def causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of the last P of T positions, each to all up to itself: (B, P, H, D).

    query: (B, P, H, D); key, value: (B, T, H, D).
    """
    asked, length = query.shape[1], key.shape[1]
    places = torch.arange(length, device=query.device)
    seen = places <= places[length - asked :, None] if 1 < asked < length else None
    query, key, value = (part.transpose(1, 2) for part in (query, key, value))
    with torch.autocast(query.device.type, enabled=False):
        out = F.scaled_dot_product_attention(query, key, value, seen, is_causal=1 < asked == length)
    return out.transpose(1, 2)


class _CompiledAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qvk: Tensor, turns: Tensor) -> Tensor:
        qvk = qvk.contiguous()
        nothing = qvk.new_empty(0, 0, 0, 0)
        out, shifts = attend_compiled(qvk, turns, nothing, nothing, qvk.shape[1])
        ctx.save_for_backward(qvk, turns, shifts)
        return out

    @staticmethod
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None]:
        qvk, turns, shifts = ctx.saved_tensors
        gradient = torch.empty_like(qvk)
        arrays = [_array(tensor) for tensor in (qvk, turns, shifts, outer.contiguous(), gradient)]
        _share(len(qvk), lambda *part: kernels.pass_back(*part, *arrays))
        return gradient, None


def attend_compiled(qvk: Tensor, turns: Tensor, keys: Tensor, values: Tensor, last: int) -> tuple[Tensor, Tensor]:
    """`attention.attend` of all documents, shared by the threads: its `out` and `shifts`, for P = `last`."""
    documents, _, groups, _, inner, size = qvk.shape
    out = qvk.new_empty(documents, last, groups * inner, size)
    shifts = torch.empty(documents, groups * inner, last)
    arrays = [_array(tensor) for tensor in (qvk, turns, keys, values, out, shifts)]
    _share(documents, lambda *part: kernels.attend(*part, *arrays))
    return out, shifts


def attend_next_compiled(
    rows: Tensor, position: int, qvk: Tensor, turns: Tensor, keys: Tensor, values: Tensor
) -> Tensor:
    """`attention.attend_next`: its `out` (R, 1, H, D)."""
    count, _, groups, _, inner, size = qvk.shape
    out = qvk.new_empty(count, 1, groups * inner, size)
    kernels.attend_next(rows.numpy(), position, *(_array(tensor) for tensor in (qvk, turns, keys, values, out)))
    return out


def _array(tensor: Tensor) -> np.ndarray:
    """The same memory, bfloat16 as uint16."""
    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _share(documents: int, work: Callable[[int, int], None]) -> None:
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
