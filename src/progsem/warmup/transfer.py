"""What a warmed-up model leaves to another of its shape: all that is between embeddings and head, or some of it."""

from __future__ import annotations

import re

import torch
from torch import nn

from progsem.errors import UserError
from progsem.lm.language_model import LanguageModel
from progsem.study.vocabulary import ATTENTION, MLP, NORMS

_ATTENTION, _MLP = re.compile(r"attn|attention"), re.compile(r"mlp|feed_forward|ffn|mixer")


def parts(model: LanguageModel) -> dict[str, list[str]]:
    """Names of the parameters of attention, MLPs and norms; embeddings and the head are none of these.

    Architectures have names of their own for these parts. A mixer, as state-space models have it in place of both
    attention and MLP, counts as an MLP.
    """
    found: dict[str, list[str]] = {ATTENTION: [], MLP: [], NORMS: []}
    for place, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            whole = f"{place}.{name}" if place else name
            if isinstance(module, nn.Embedding):
                continue
            if "norm" in type(module).__name__.lower():
                found[NORMS].append(whole)
            elif _ATTENTION.search(place):
                found[ATTENTION].append(whole)
            elif _MLP.search(place):
                found[MLP].append(whole)
    return found


def transfer(source: LanguageModel, target: LanguageModel, asked: tuple[str, ...]) -> None:
    """Copy the weights of these parts. Raises `UserError` where the architecture has no such part."""
    there, theirs = parts(target), dict(source.named_parameters())
    for part in asked:
        if not there[part]:
            known = ", ".join(name for name, names in there.items() if names)
            raise UserError(f"lm.warmup.transfer: given {part}, which this architecture does not have; it has {known}")
    with torch.no_grad():
        for name, parameter in target.named_parameters():
            if any(name in there[part] for part in asked):
                parameter.copy_(theirs[name])
