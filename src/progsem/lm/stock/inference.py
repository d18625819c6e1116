"""A model of `transformers` at inference, with the library's own cache.

That of attention can be cut back, that of a recurrent model cannot. So a cache here has the tokens that have been read,
and the library's cache of some number of them beside it, which is made anew where another number is asked for.

Shapes: R documents, T positions, P of them asked for, C width, V vocabulary.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import Cache

from progsem.lm.language_model import Change, changed, noting

if TYPE_CHECKING:
    from progsem.lm.stock.model import StockModel


class TokenCache:
    """As `language_model.Cache` has it: tokens (R, positions) of documents, and what the library keeps of them.

    `kept` is the library's cache of the first `read` tokens of documents `rows`, (N,) sorted.
    """

    def __init__(self, device: torch.device):
        self.begin(torch.empty(0, 0, dtype=torch.int64, device=device), 0)

    def begin(self, documents: Tensor, positions: int) -> None:
        """Forget everything, and have documents (R, T), with room for `positions` tokens of each."""
        count, length = documents.shape
        self.tokens = documents.new_zeros(count, max(positions, length))
        self.tokens[:, :length] = documents
        self.kept: Cache | None = None
        self.rows, self.read = torch.arange(count, device=documents.device), 0

    def start_from(self, other: TokenCache, rows: Tensor, read: int, positions: int) -> None:
        """As `language_model.Cache` has it."""
        self.begin(other.tokens[rows, :read], positions)
        if other.kept is not None and other.read == read and len(other.rows) == len(other.tokens):
            self.kept, self.read = copy.deepcopy(other.kept), read
            self.kept.reorder_cache(rows)

    def reorder(self, rows: Tensor, start: int, stop: int) -> None:
        """As `language_model.Cache` has it."""
        self.tokens = self.tokens[rows]
        if len(self.rows) == len(rows) and self.kept is not None:
            self.kept.reorder_cache(rows)
        else:
            self.kept = None

    def has(self, rows: Tensor, position: int) -> bool:
        """Whether the library's cache is of these documents, up to that position."""
        return self.kept is not None and self.read == position and bool(torch.isin(rows, self.rows).all())

    def keep(self, rows: Tensor) -> None:
        """Let the library's cache be of these documents alone, which are among those that it is of."""
        if len(rows) < len(self.rows):
            self.kept.reorder_cache(torch.searchsorted(self.rows, rows))
            self.rows = rows


class StockInference:
    """As `language_model.Inference` has it; what has been read is kept in a `TokenCache`."""

    def __init__(self, model: StockModel, precision: torch.dtype):
        self.layers, self.width, self.precision = model.layers, model.width, precision
        self.device = model.embedding.weight.device
        self._model = copy.deepcopy(model).eval().requires_grad_(False)
        self._changes: list[dict[int, Change]] = []

    def cache(self) -> TokenCache:
        """An empty one."""
        return TokenCache(self.device)

    @torch.inference_mode()
    def prefill(self, documents: Tensor, cache: TokenCache, last: int, positions: int) -> list[Tensor]:
        """As `language_model.Inference` has it."""
        cache.begin(documents, positions)
        # Where states of earlier positions are asked for as well, what is written does not stand behind the last.
        kept = self._keep(cache, documents.shape[1]) if last == 1 else None
        return [state[:, -last:] for state in self._states(documents, kept)]

    @torch.inference_mode()
    def step(self, tokens: Tensor, cache: TokenCache, rows: Tensor, position: int) -> list[Tensor]:
        """As `language_model.Inference` has it."""
        cache.tokens[rows, position] = tokens
        if not cache.has(rows, position):
            cache.rows = rows
            changes, self._changes = self._changes, []  # they are of the token that is read now
            self._states(cache.tokens[rows, :position], self._keep(cache, position))
            self._changes = changes
        cache.keep(rows)
        cache.read = position + 1
        return [state[:, 0] for state in self._states(tokens[:, None], cache.kept)]

    @contextmanager
    def changed(self, changes: dict[int, Change]) -> Iterator[None]:
        """As `language_model.Inference` has it."""
        self._changes.append(changes)
        try:
            yield
        finally:
            self._changes.pop()

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """As `language_model.Inference` has it."""
        return self._model.logits(states.float())

    def past(self, documents: Tensor, model: StockModel) -> StockPast:
        """As `language_model.Inference` has it."""
        cache = self.cache()
        cache.begin(documents, documents.shape[1])
        return StockPast(model, cache)

    def _keep(self, cache: TokenCache, read: int) -> Cache:
        """The library's cache, empty, for so many tokens that are read next."""
        cache.kept, cache.read = self._model.empty_cache(), read
        return cache.kept

    def _states(self, tokens: Tensor, kept: Cache | None) -> list[Tensor]:
        autocast = torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)
        with autocast, ExitStack() as hooks:
            for changes in self._changes:
                hooks.enter_context(changed(self._model, changes))
            return self._model.read(tokens, kept)


class StockPast:
    """As `language_model.Past` has it: the tokens of documents, and the library's cache up to where one goes on."""

    def __init__(self, model: StockModel, cache: TokenCache):
        self.model, self.cache = model, cache
        self._kept: dict[int, Cache] = {}

    def streams(self, tokens: Tensor, start: int, rows, edit: tuple[int, Tensor] | None = None) -> list[Tensor | None]:
        """As `language_model.Past` has it."""
        found: list[Tensor] = []
        # Steps of a recurrent model write over the state that its gradient needs: it reads everything again.
        kept = None if self.model.recurrent else self._copied(start, rows)
        skipped = start if kept is None else 0
        if kept is None:
            tokens = torch.cat([self.cache.tokens[rows, :start], tokens], dim=1)
        with ExitStack() as hooks:
            if edit is not None:
                layer, stream = edit
                hooks.enter_context(
                    changed(self.model, {layer: lambda given: torch.cat([given[:, :skipped], stream], dim=1)})
                )
            hooks.enter_context(changed(self.model, dict.fromkeys(self.model.numbers, noting(found))))
            self.model.read(tokens, kept)
        return [stream[:, skipped:] for stream in found]

    def _copied(self, start: int, rows) -> Cache:
        """A copy of the library's cache of the first `start` tokens of documents `rows`."""
        if start not in self._kept:
            self._kept[start] = self.model.empty_cache()
            with torch.no_grad():
                self.model.read(self.cache.tokens[:, :start], self._kept[start])
        copied = copy.copy(self._kept[start])
        copied.layers = [copy.copy(layer) for layer in copied.layers]  # whose tensors are replaced, not written to
        copied.reorder_cache(torch.arange(len(self.cache.tokens), device=self.cache.tokens.device)[rows])
        return copied
