"""The language model at inference: hidden states of many documents at once, with keys and values kept.

The forward pass is that of `model.CodeGen`. Its matrices are converted to the type of the products once, and
what its first block computes of each token by itself is computed once. On a CPU, documents are read a few at
a time, so that what one operation leaves to the next stays in the cache.

Shapes: R documents, T positions, P of them asked for, C width, H heads, D = C / H, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from progsem.hardware import attention_dtype
from progsem.lm.model import Attend, CodeGen, Shape, changed
from progsem.lm.operations import causal, rotate

_AT_ONCE = 2_000  # tokens read at a time on a CPU


class KeyValueCache:
    """Rotated keys and values of the positions that documents have been read up to: (layers, R, positions, H, D)."""

    def __init__(self, shape: Shape, turns: Tensor, precision: torch.dtype):
        self.turns, self.documents = turns, 0
        self.dtype = attention_dtype(turns.device, precision)
        self.keys = self.values = torch.empty(shape.layers, 0, 0, shape.heads, turns.shape[2])

    def begin(self, documents: int, positions: int) -> None:
        """Forget everything, and have room for so many documents of so many positions."""
        self.documents = documents
        layers, have, room, *heads = self.keys.shape
        if have < documents or room < positions:
            shape = layers, documents, positions, *heads
            self.keys, self.values = (torch.empty(shape, device=self.turns.device, dtype=self.dtype) for _ in range(2))

    def attend(self, rows: slice | Tensor, start: int, layer: int, qvk: Tensor, last: int) -> Tensor:
        """As `model.Attend` has it, for the positions from `start` on of the documents `rows`.

        Their keys and values are kept, and they attend to those kept before. Of documents that
        have been read before, there is one new position.
        """
        turns, keys, values = self.turns[start : start + qvk.shape[1]], self.keys[layer], self.values[layer]
        query, value, key = (part.flatten(2, 3) for part in qvk.unbind(3))
        stop = start + len(turns)
        keys[rows, start:stop], values[rows, start:stop] = rotate(key, turns).to(self.dtype), value.to(self.dtype)
        query = rotate(query, turns)[:, -last:].to(self.dtype)
        if start == 0 or 3 * len(query) < self.documents:
            out = causal(query, keys[rows, :stop], values[rows, :stop])
        else:  # to copy the keys of so many would take longer than to compute the others' attention as well
            whole = query.new_zeros(self.documents, *query.shape[1:])
            whole[rows] = query
            out = causal(whole, keys[: self.documents, :stop], values[: self.documents, :stop])[rows]
        return out.to(qvk.dtype)


class Inference:
    """A model made ready for inference; what has been read is kept in a `KeyValueCache`."""

    @torch.inference_mode()
    def __init__(self, model: CodeGen, precision: torch.dtype):
        self.shape, self.precision = model.shape, precision
        self.device = model.lm_head.weight.device
        self._model = copy.deepcopy(model)
        for module in self._model.transformer["h"].modules():
            if isinstance(module, nn.Linear):
                module.to(precision)
        with self._products():
            self._vocabulary = self._model.vocabulary()

    def cache(self) -> KeyValueCache:
        """An empty cache, which suits the device."""
        return KeyValueCache(self.shape, self._model.turns, self.precision)

    @torch.inference_mode()
    def prefill(self, documents: Tensor, cache: KeyValueCache, last: int, positions: int) -> list[Tensor]:
        """Read documents (R, T) int64 from their beginning on; there will be room for `positions` of each.

        Returns hidden states (R, P, C) of the last P = `last` positions, as `CodeGen.forward` does.
        """
        cache.begin(len(documents), positions)
        count = -(-documents.numel() // _AT_ONCE) if self.device.type == "cpu" else 1
        first, parts = 0, []
        for tokens in documents.tensor_split(count):
            rows = slice(first, first + len(tokens))
            parts.append(self._states(tokens, partial(cache.attend, rows, 0), last))
            first = rows.stop
        return [torch.cat(states) for states in zip(*parts, strict=True)]

    @torch.inference_mode()
    def step(self, tokens: Tensor, cache: KeyValueCache, rows: Tensor, position: int) -> list[Tensor]:
        """Read one more token (R,) of each of the documents `rows` (R,): hidden states (R, C), those of `prefill`."""
        return [state[:, 0] for state in self._states(tokens[:, None], partial(cache.attend, rows, position), 1)]

    @contextmanager
    def changed(self, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within it, what is read goes on from `change` of the stream (R, P, C) behind block `layer`, from 1."""
        with changed(self._model, layer, change):
            yield

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """(…, C) of the last layer to (…, V) unnormalised log-probabilities, computed in float32."""
        return self._model.logits(states.float())

    def _states(self, tokens: Tensor, attend: Attend, last: int) -> list[Tensor]:
        with self._products():
            return self._model(tokens, attend, last, self._vocabulary)

    def _products(self) -> torch.autocast:
        """Within it, matrix products are in `precision`."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)
