"""The language model of a study: made, and read from its files, whatever its architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from progsem.data.special_tokens import SPECIAL_IDS
from progsem.errors import UserError
from progsem.lm.codegen.model import CodeGen, Shape
from progsem.lm.language_model import LanguageModel
from progsem.study.vocabulary import CODEGEN

if TYPE_CHECKING:
    from progsem.study.config import LM


def make(config: LM, vocabulary: int, seed: int) -> LanguageModel:
    """A model with random weights, which follow from `seed` alone; a `UserError` where there is no such model."""
    if config.model_type == CODEGEN:
        model = CodeGen(Shape(vocabulary, config.layers, config.width, config.heads, config.rotary))
        model.initialise(seed, config.initial_std)
        return model
    from progsem.lm.stock import model as stock  # transformers takes seconds to import

    sizes = config.layers, config.width, config.heads, config.initial_std
    try:
        return stock.made(config.model_type, vocabulary, *sizes, config.config, seed)
    except stock.Unsuitable as problem:
        raise _refusal(config, problem) from None


def refuse_unsuitable(config: LM, vocabulary: int, documents: Tensor) -> None:
    """Raise `UserError` where there is no such model of `transformers`, or stages cannot do with it what they do.

    documents: (B, T) int64, as long as any that it has to read.
    """
    from progsem.lm.stock import model as stock

    made = make(config, vocabulary, 0)
    try:
        made.refuse_unsuitable(documents)
    except stock.Unsuitable as problem:
        raise _refusal(config, problem) from None


def _refusal(config: LM, problem: Exception) -> UserError:
    return UserError(
        f"lm.model_type: given {config.model_type!r}, which {problem}; expected a causal language model of "
        f"transformers that can be made with lm.layers, lm.width, lm.heads and lm.config, or {CODEGEN}"
    )


def load(weights: Path, config: Path, device: torch.device) -> LanguageModel:
    """Read a model that `LanguageModel.save` wrote; damaged files are a `UserError` that names them."""
    try:
        given = json.loads(config.read_text(encoding="utf-8"))
        own = given["model_type"] == CODEGEN and CodeGen.computes(given)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{config}: not a readable model config ({error}); delete it and run again") from None
    if own:
        return CodeGen.load(weights, given).to(device)
    from progsem.lm.stock import model as stock

    try:
        return stock.StockModel.load(config.parent).to(device)
    except stock.Unsuitable as problem:
        raise UserError(f"{weights}: a model that {problem}; delete it and run again") from None


def generation_config(model: LanguageModel) -> dict:
    """The `generation_config.json` by which `generate` writes greedily up to the end token."""
    return {**SPECIAL_IDS, "do_sample": False, "max_length": model.positions}
