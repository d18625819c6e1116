"""CodeGen at inference: hidden states of many documents at once, with keys and values kept.

The forward pass is that of `model.CodeGen`. Its matrices are converted to the type of the products once, and
what its first block computes of each token by itself is computed once. On a CPU, documents are read a few at
a time, so that what one operation leaves to the next stays in the cache.

Shapes: R documents, T positions, P of them asked for, C width, H heads, D = C / H, V vocabulary.
"""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from progsem.hardware import attention_dtype
from progsem.lm.codegen.operations import causal, rotate
from progsem.lm.language_model import Change, changed, noting

if TYPE_CHECKING:
    from progsem.lm.codegen.model import Attend, CodeGen, Shape

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

    def start_from(self, other: KeyValueCache, rows: Tensor, read: int, positions: int) -> None:
        """As `language_model.Cache` has it."""
        self.begin(len(rows), positions)
        for kept, given in ((self.keys, other.keys), (self.values, other.values)):
            kept[:, : len(rows), :read] = given[:, rows, :read]

    def reorder(self, rows: Tensor, start: int, stop: int) -> None:
        """As `language_model.Cache` has it."""
        for kept in (self.keys, self.values):
            kept[:, : len(rows), start:stop] = kept[:, rows, start:stop]

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


class CodeGenInference:
    """As `language_model.Inference` has it; what has been read is kept in a `KeyValueCache`."""

    @torch.inference_mode()
    def __init__(self, model: CodeGen, precision: torch.dtype):
        self.layers, self.width, self.precision = model.layers, model.width, precision
        self.device = model.lm_head.weight.device
        self._model = copy.deepcopy(model)
        for module in self._model.blocks.modules():
            if isinstance(module, nn.Linear):
                module.to(precision)
        with self._products():
            self._vocabulary = self._model.vocabulary()

    def cache(self) -> KeyValueCache:
        """An empty cache, which suits the device."""
        return KeyValueCache(self._model.shape, self._model.turns, self.precision)

    @torch.inference_mode()
    def prefill(self, documents: Tensor, cache: KeyValueCache, last: int, positions: int) -> list[Tensor]:
        """As `language_model.Inference` has it."""
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
        """As `language_model.Inference` has it."""
        return [state[:, 0] for state in self._states(tokens[:, None], partial(cache.attend, rows, position), 1)]

    def changed(self, changes: dict[int, Change]) -> AbstractContextManager:
        """As `language_model.Inference` has it."""
        return changed(self._model, changes)

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """As `language_model.Inference` has it."""
        return self._model.logits(states.float())

    def past(self, documents: Tensor, model: CodeGen) -> CodeGenPast:
        """As `language_model.Inference` has it."""
        cache = self.cache()
        self.prefill(documents, cache, 1, documents.shape[1])
        return CodeGenPast(model, cache)

    def _states(self, tokens: Tensor, attend: Attend, last: int) -> list[Tensor]:
        with self._products():
            return self._model(tokens, last, attend, self._vocabulary)

    def _products(self) -> torch.autocast:
        """Within it, matrix products are in `precision`."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)


class CodeGenPast:
    """As `language_model.Past` has it: keys and values of documents, in float32.

    Earlier positions cannot see later ones, so their keys and values stay as they are whatever is edited.
    """

    def __init__(self, model: CodeGen, cache: KeyValueCache):
        self.model, self.cache = model, cache
        # Copies, as what has been made in inference mode may take no part in gradients.
        cache.keys, cache.values = (kept.clone().float() for kept in (cache.keys, cache.values))

    def streams(self, tokens: Tensor, start: int, rows, edit: tuple[int, Tensor] | None = None) -> list[Tensor | None]:
        """As `language_model.Past` has it."""
        attend = _Behind(*(kept[:, rows, :start] for kept in (self.cache.keys, self.cache.values)), self.model.turns)
        if edit is None:
            found: list[Tensor] = []
            with changed(self.model, dict.fromkeys(self.model.numbers, noting(found))):
                self.model(tokens, attend=attend)
            return found
        layer, stream = edit
        streams: list[Tensor | None] = [None] * (layer - 1) + [stream]
        for block in self.model.blocks[layer:]:
            stream = block(*block.positionwise(stream), attend)
            streams.append(stream)
        return streams


class _Behind:
    """Attention of new positions (`model.Attend`) to those read before, with its gradient.

    keys, values: (L, B, T', H, D) of the positions before the first new one, rotated.
    """

    def __init__(self, keys: Tensor, values: Tensor, turns: Tensor):
        self.keys, self.values, self.turns = keys, values, turns

    def __call__(self, layer: int, qvk: Tensor, last: int) -> Tensor:
        start = self.keys.shape[2]
        turns = self.turns[start : start + qvk.shape[1]]
        query, value, key = (part.flatten(2, 3) for part in qvk.unbind(3))
        keys = torch.cat([self.keys[layer], rotate(key, turns)], dim=1)
        values = torch.cat([self.values[layer], value], dim=1)
        return causal(rotate(query, turns)[:, -last:], keys, values)
