"""What the language model's blocks are made of beside plain layers: lookup, rotation by position, attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.hardware import attention_dtype


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


def attention(qvk: Tensor, turns: Tensor, last: int) -> Tensor:
    """Causal attention of the last P = `last` positions, queries and keys rotated by theirs: (B, P, H, D).

    qvk: (B, T, groups, 3, heads in a group, D) queries, values and keys, in the type of the products.
    turns: (T, 2, D) float32, those of `model.CodeGen`.
    """
    query, value, key = (part.flatten(2, 3) for part in qvk.unbind(3))
    dtype = attention_dtype(qvk.device, qvk.dtype)
    parts = rotate(query[:, -last:], turns[-last:]), rotate(key, turns), value
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
