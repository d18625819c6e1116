"""The language model as a reader of many texts: the same function as `model.CodeGen`, and nothing that nobody asks for.

- What the first block computes of a position by itself (its query, key, value and
  MLP) follows from the token alone: it is computed once for each token of the
  vocabulary, and looked up.
- Of the last block, positions whose states nobody asks for need keys and values only.
- Weights are converted to the type of the products once.
- On a CPU, documents are read a few at a time, so that what one operation leaves to the
  next stays in the cache; attention is a kernel of its own (`attention.py`).

Shapes: R documents, T positions, P of them asked for, C width, H heads, D = C / H, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from progsem.hardware import attention_dtype
from progsem.lm import attention
from progsem.lm.model import GROUPS, Block, CodeGen, Shape

_AT_ONCE = 2_000  # tokens read at a time on a CPU


class Memory(Protocol):
    """Keys and values of the positions that documents have been read up to."""

    def begin(self, documents: int, positions: int) -> None:
        """Forget everything, and have room for so many documents of so many positions."""

    def attend(self, layer: int, query: Tensor, pair: Tensor, rows: Tensor, start: int) -> Tensor:
        """Take up positions `start` … of the documents `rows` (R,), and let the last of them look back.

        pair: (R, T, 2C), keys and values of the new positions; query: (R, P, C), of the last P of
        them; none is turned by its position yet. Returns (R, P, C).
        """


class TorchMemory:
    """By `scaled_dot_product_attention`, on any device."""

    def __init__(self, shape: Shape, turns: Tensor, dtype: torch.dtype):
        self.shape, self.turns, self.dtype, self.documents = shape, turns, dtype, 0
        self.keys = self.values = torch.empty(shape.layers, 0, shape.heads, 0, shape.width // shape.heads)

    def begin(self, documents: int, positions: int) -> None:
        self.documents = documents
        layers, have, heads, room, size = self.keys.shape
        if have < documents or room < positions:
            shape = layers, documents, heads, positions, size
            self.keys, self.values = (torch.empty(shape, device=self.turns.device, dtype=self.dtype) for _ in range(2))

    def attend(self, layer: int, query: Tensor, pair: Tensor, rows: Tensor, start: int) -> Tensor:
        count, asked, width = query.shape
        stop = start + pair.shape[1]
        key, value = pair.view(count, -1, 2, self.shape.heads, width // self.shape.heads).transpose(1, 3).unbind(2)
        query = query.view(count, asked, self.shape.heads, -1).transpose(1, 2)  # (R, H, P, D), as the other two
        query, key, value = self._turned(query, stop - asked), self._turned(key, start), value.to(self.dtype)
        self.keys[layer, rows, :, start:stop] = key
        self.values[layer, rows, :, start:stop] = value
        kept = self.keys[layer], self.values[layer]
        if start == 0:
            out = self._look(query, key, value)
        elif 3 * count < self.documents:
            out = self._look(query, *(part[rows, :, :stop] for part in kept))
        else:  # to copy the keys of so many takes longer than to let the others look as well
            whole = query.new_zeros(self.documents, *query.shape[1:])
            whole[rows] = query
            out = self._look(whole, *(part[: self.documents, :, :stop] for part in kept))[rows]
        return out.transpose(1, 2).flatten(2).to(pair.dtype)

    def _look(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """What the last positions see, each up to itself."""
        asked, stop = query.shape[2], keys.shape[2]
        places = torch.arange(stop, device=query.device)
        seen = places <= places[stop - asked :, None] if 1 < asked < stop else None
        return F.scaled_dot_product_attention(query, keys, values, seen, is_causal=1 < asked == stop)

    def _turned(self, x: Tensor, start: int) -> Tensor:
        """Queries or keys (R, H, T, D) of positions `start` …, turned by their positions."""
        x = x.float()
        cosines, sines = self.turns[start : start + x.shape[2]].unbind(1)
        swapped = x.unflatten(3, (-1, 2)).flip(4).flatten(3)
        return (x * cosines + swapped * sines).to(self.dtype)


class CompiledMemory:
    """By a kernel for short documents on a CPU; D must be a multiple of `attention.LANES`."""

    def __init__(self, shape: Shape, turns: Tensor, dtype: torch.dtype):
        self.shape, self.turns = shape, turns.numpy()
        self.dtype = np.uint16 if dtype == torch.bfloat16 else np.float32
        self.keys, self.values = [], []

    def begin(self, documents: int, positions: int) -> None:
        size, room = self.shape.width // self.shape.heads, attention.room(positions)
        if not self.keys or self.keys[0].shape[0] < documents or self.keys[0].shape[3] < room:
            rows = documents, self.shape.heads
            self.keys = [np.zeros((*rows, size, room), self.dtype) for _ in range(self.shape.layers)]
            self.values = [np.zeros((*rows, room, size), self.dtype) for _ in range(self.shape.layers)]

    def attend(self, layer: int, query: Tensor, pair: Tensor, rows: Tensor, start: int) -> Tensor:
        count, asked, width = query.shape
        heads = self.shape.heads, width // self.shape.heads
        out = torch.empty_like(query)
        queries, results = (_numbers(part).reshape(count, asked, *heads) for part in (query, out))
        pairs, kept = _numbers(pair).reshape(count, -1, 2, *heads), (self.keys[layer], self.values[layer])
        attention.attend(queries, pairs, self.turns, rows.numpy(), start, *kept, results)
        return out


def _numbers(x: Tensor) -> np.ndarray:
    """A tensor without gaps as an array of the same memory; bfloat16 as uint16."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()


@dataclass
class _Weights:
    """A block's, as the products take them: `asking` gives queries (C, C), `asked` keys and values (2C, C)."""

    norm: tuple[Tensor, Tensor]
    asking: Tensor
    asked: Tensor
    out: Tensor
    rise: tuple[Tensor, Tensor]
    fall: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, block: Block, dtype: torch.dtype) -> _Weights:
        joint = block.attn["qkv_proj"].weight  # of each group of heads: queries, values, keys
        query, value, key = joint.view(GROUPS, 3, -1, joint.shape[1]).transpose(0, 1).flatten(1, 2)
        rise, fall = block.mlp["fc_in"], block.mlp["fc_out"]
        return cls(
            norm=(block.ln_1.weight, block.ln_1.bias),
            asking=query.to(dtype),
            asked=torch.cat((key, value)).to(dtype),
            out=block.attn["out_proj"].weight.to(dtype),
            rise=(rise.weight.to(dtype), rise.bias.to(dtype)),
            fall=(fall.weight.to(dtype), fall.bias.to(dtype)),
        )

    def feed(self, x: Tensor) -> Tensor:
        """The MLP."""
        return F.linear(F.gelu(F.linear(x, *self.rise)), *self.fall)


class Reader:
    """A model's weights, made ready for reading. What has been read is kept in a `Memory`."""

    @torch.inference_mode()
    def __init__(self, model: CodeGen, precision: torch.dtype):
        self.shape, self.precision = model.shape, precision
        self.device = model.lm_head.weight.device
        body = model.transformer
        self.blocks = [_Weights.of(block, precision) for block in body["h"]]
        self.norm = body["ln_f"].weight, body["ln_f"].bias
        self.head = model.lm_head.weight, model.lm_head.bias
        first, self.embedding = self.blocks[0], body["wte"].weight.to(precision)
        normed = self._normed(self.embedding, first.norm)
        self.asking, self.asked = F.linear(normed, first.asking), F.linear(normed, first.asked)
        self.fed = self.embedding + first.feed(normed)
        self.turns = model.turns

    def memory(self) -> Memory:
        """An empty memory of the kind that suits the device."""
        size = self.shape.width // self.shape.heads
        if self.device.type == "cpu" and size % attention.LANES == 0:
            return CompiledMemory(self.shape, self.turns, self.precision)
        return TorchMemory(self.shape, self.turns, attention_dtype(self.device, self.precision))

    @torch.inference_mode()
    def read(self, documents: Tensor, memory: Memory, asked: int, positions: int) -> list[Tensor]:
        """Read documents (R, T) int64 from their beginning on; there will be room for `positions` of each.

        Returns hidden states (R, P, C) of the last P = `asked` positions: the embedding, the
        output of each block but the last, and the last one's after the final norm.
        """
        memory.begin(len(documents), positions)
        rows = torch.arange(len(documents), device=self.device)
        count = -(-documents.numel() // _AT_ONCE) if self.device.type == "cpu" else 1
        parts = [
            self._states(tokens, memory, among, 0, asked)
            for tokens, among in zip(documents.tensor_split(count), rows.tensor_split(count), strict=True)
        ]
        return [torch.cat(states) for states in zip(*parts, strict=True)]

    @torch.inference_mode()
    def go_on(self, tokens: Tensor, memory: Memory, rows: Tensor, position: int) -> list[Tensor]:
        """Read one more token (R,) of each of the documents `rows` (R,): hidden states (R, C), those of `read`."""
        return [state[:, 0] for state in self._states(tokens[:, None], memory, rows, position, 1)]

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """(…, C) of the last layer to (…, V) unnormalised log-probabilities, computed in float32."""
        return F.linear(states.float(), *self.head)

    def _states(self, tokens: Tensor, memory: Memory, rows: Tensor, start: int, asked: int) -> list[Tensor]:
        """States of the last `asked` of the positions `start` …, which hold tokens (R, T)."""
        states = [F.embedding(tokens[:, -asked:], self.embedding)]
        for layer, weights in enumerate(self.blocks):
            wanted = asked if layer + 1 == self.shape.layers else tokens.shape[1]
            if layer == 0:
                query, x = (F.embedding(tokens[:, -wanted:], table) for table in (self.asking, self.fed))
                pair = F.embedding(tokens, self.asked)
            else:
                normed = self._normed(x, weights.norm)
                pair = F.linear(normed, weights.asked)
                normed, x = normed[:, -wanted:].contiguous(), x[:, -wanted:]
                query, x = F.linear(normed, weights.asking), x + weights.feed(normed)
            x = x + F.linear(memory.attend(layer, query, pair, rows, start), weights.out)
            states.append(x[:, -asked:])
        states[-1] = self._normed(x, self.norm)
        return states

    def _normed(self, x: Tensor, norm: tuple[Tensor, Tensor]) -> Tensor:
        given = x if x.device.type == "cpu" else x.float()  # only a CPU takes weights of another type than x
        return F.layer_norm(given, x.shape[-1:], *norm, eps=1e-5).to(self.precision)
