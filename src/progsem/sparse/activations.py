"""What a checkpoint's MLPs read and give at each token, and what the model predicts with something else in their place.

Shapes: B documents, T positions, C width, N neurons of an MLP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progsem.errors import UserError
from progsem.lm.language_model import LanguageModel

_MLP = re.compile(r"mlp|feed_forward|ffn")


class Seen(NamedTuple):
    """Of an MLP at some tokens: what it reads and what it gives, and its neurons, which are between the two."""

    inputs: Tensor
    outputs: Tensor
    neurons: Tensor


def mlps(model: LanguageModel) -> list[nn.Module]:
    """The MLP of each block. Raises `UserError` where an architecture has none."""
    found = []
    for block in model.blocks:
        named = [module for name, module in block.named_children() if _MLP.search(name)]
        own = [module for module in named if any(True for _ in module.parameters())]
        if len(own) != 1:
            raise UserError("transcoders: the language model's blocks have no MLP; set transcoders.kinds to []")
        found += own
    return found


def _last_matrix(mlp: nn.Module) -> nn.Module:
    """What gives an MLP's output from its neurons."""
    return [module for module in mlp.modules() if getattr(module, "weight", torch.empty(0)).dim() == 2][-1]


@torch.no_grad()
def seen(model: LanguageModel, tokens: Tensor) -> list[Seen]:
    """What every MLP does at documents (B, T): of each (B, T, C), (B, T, C) and (B, T, N)."""
    found: list[dict[str, Tensor]] = [{} for _ in model.blocks]

    def note(here: dict[str, Tensor], what: str, value: Tensor) -> None:
        # What follows from a token alone may have been computed once for each of the vocabulary.
        here[what] = value[tokens] if value.dim() == 2 else value

    with ExitStack() as hooks:
        for here, mlp in zip(found, mlps(model), strict=True):

            def whole(module, given, output, here=here):
                note(here, "inputs", given[0])
                note(here, "outputs", output)

            def within(module, given, here=here):
                note(here, "neurons", given[0])

            for handle in (mlp.register_forward_hook(whole), _last_matrix(mlp).register_forward_pre_hook(within)):
                hooks.callback(handle.remove)
        model(tokens)
    return [Seen(**here) for here in found]


@contextmanager
def replaced(model: LanguageModel, layer: int, by: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Within it, the MLP of a block, from 0, gives `by` of its input and output (…, C)."""
    handle = mlps(model)[layer].register_forward_hook(lambda module, given, output: by(given[0], output))
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def loss(model: LanguageModel, tokens: Tensor, lengths: Tensor, prompt: int) -> tuple[float, int]:
    """Cross-entropy in nats of the programs' tokens and ends, summed over documents (B, T), and how many there are.

    lengths: (B,) of the documents; prompt: tokens of a specification.
    """
    logits = model.logits(model(tokens[:, :-1])[-1][:, prompt - 1 :])
    losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, prompt:].flatten(), reduction="none").view(len(tokens), -1)
    counted = torch.arange(prompt, tokens.shape[1], device=tokens.device) < lengths[:, None]
    return float((losses * counted).sum()), int(counted.sum())
