"""What the stages ask of a language model, whatever its architecture.

A model is a row of blocks on a residual stream, a norm, and a head that turns hidden states into predictions.
`progsem.lm.codegen` has the model of the default study, `progsem.lm.stock` all that `transformers` has.

Shapes: B documents, T positions, P of them asked for, C width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]


class Cache(Protocol):
    """What a model has read of some documents, as it needs it to read on; R documents."""

    def start_from(self, other: Cache, rows: Tensor, read: int, positions: int) -> None:
        """Forget everything, and have documents `rows` (R,) of another cache up to position `read`.

        There will be room for `positions` of each.
        """

    def reorder(self, rows: Tensor, start: int, stop: int) -> None:
        """Let each document go on from what another one, `rows` (R,), has read of positions start … stop - 1.

        Before `start` all are the same.
        """


class Past(Protocol):
    """Documents (B, T) that have been read, for going on from any of their positions, with gradients."""

    cache: Cache

    def streams(self, tokens: Tensor, start: int, rows, edit: tuple[int, Tensor] | None = None) -> list[Tensor | None]:
        """The residual stream behind each block at tokens (B, P) of documents `rows`, which stand from `start` on.

        With an edit, a block's number from 1 and a stream (B, P, C), it goes on from that behind that block; what is
        before the block may be left out.
        """


class Inference(Protocol):
    """A model made ready for inference, in a type of matrix products."""

    layers: int
    width: int
    device: torch.device

    def cache(self) -> Cache:
        """An empty one."""

    def prefill(self, documents: Tensor, cache: Cache, last: int, positions: int) -> list[Tensor]:
        """Read documents (R, T) int64 from their beginning on; there will be room for `positions` of each.

        Returns hidden states (R, P, C) of the last P = `last` positions, as `LanguageModel.forward` does.
        """

    def step(self, tokens: Tensor, cache: Cache, rows: Tensor, position: int) -> list[Tensor]:
        """Read one more token (N,) at a position of documents `rows` (N,), sorted: hidden states (N, C) as `prefill`.

        All that is kept of later positions is forgotten.
        """

    def changed(self, changes: dict[int, Change]) -> AbstractContextManager:
        """Within it, what is read goes on from changes of the residual stream (see `changed`)."""

    def logits(self, states: Tensor) -> Tensor:
        """(…, C) of the last layer to (…, V) unnormalised log-probabilities, computed in float32."""

    def past(self, documents: Tensor, model: LanguageModel) -> Past:
        """Read documents (B, T) int64, for `model`, which has the same weights in float32, to go on from."""


class LanguageModel(nn.Module, ABC):
    """A causal language model that reads token ids, from the first position of a document on."""

    @property
    @abstractmethod
    def blocks(self) -> Sequence[nn.Module]:
        """The blocks in order: what each returns is the residual stream behind it, or has it first."""

    @property
    @abstractmethod
    def norm(self) -> nn.Module:
        """What is between the last block and the head."""

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """Of tokens: weights (V, C)."""

    @property
    @abstractmethod
    def positions(self) -> int:
        """Most tokens that it reads."""

    @property
    def numbers(self) -> range:
        """Of the blocks, from 1."""
        return range(1, self.layers + 1)

    @property
    def layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def width(self) -> int:
        """Of the residual stream: C."""
        return self.embedding.weight.shape[1]

    @abstractmethod
    def forward(self, tokens: Tensor, last: int | None = None) -> list[Tensor]:
        """Hidden states of the last P = `last` positions of documents (B, T) int64, by default of all.

        Returns layers + 1 tensors (B, P, C): what the first block reads, the output of each block but the last, and
        the last one's after the norm, as `transformers` counts hidden states.
        """

    @abstractmethod
    def logits(self, states: Tensor) -> Tensor:
        """Hidden states (…, C) of the last layer to (…, V) unnormalised log-probabilities in float32."""

    @abstractmethod
    def inference(self, precision: torch.dtype) -> Inference:
        """A copy made ready for inference, with products in `precision`."""

    @abstractmethod
    def save(self, weights: Path, config: Path) -> None:
        """Write model.safetensors and config.json, which `AutoModelForCausalLM.from_pretrained` reads."""


@contextmanager
def changed(model: LanguageModel, changes: dict[int, Change]) -> Iterator[None]:
    """Within it, the model goes on from changes of the residual stream (B, P, C) behind blocks, by their number from 1.

    Behind the last block, that is before the norm.
    """

    def hook(change: Change) -> Callable:
        def changed_output(block: nn.Module, given: tuple, output: Tensor | tuple):
            return change(output) if isinstance(output, Tensor) else (change(output[0]), *output[1:])

        return changed_output

    with ExitStack() as hooks:
        for number, change in changes.items():
            handle = model.blocks[number - 1].register_forward_hook(hook(change))
            hooks.callback(handle.remove)
        yield


def noting(found: list[Tensor]) -> Change:
    """A change that changes nothing, and adds what it is given to `found`."""

    def note(stream: Tensor) -> Tensor:
        found.append(stream)
        return stream

    return note
