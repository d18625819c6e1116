"""A causal language model of `transformers`, by the name that the library has for its architecture.

It is made from the keys of its config class. What most of these classes have in common, layers and the like, is known
by standard names, and theirs are found from them. Nothing is dropped out while it is trained: it sees each document
once or twice.

Shapes: B documents, T positions, C width, V vocabulary.
"""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Cache, DynamicCache, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging

from progsem.data.special_tokens import SPECIAL_IDS
from progsem.limits import MAX_POSITIONS
from progsem.lm.language_model import LanguageModel, changed, noting
from progsem.lm.stock.inference import StockInference
from progsem.storage.files import copy_file

_SAME = 1e-4  # numbers that differ by less, relative to the largest, are the same
_FEED_FORWARD = 4  # widths of a block's MLP, where the class has a number of its own for that


class Unsuitable(Exception):
    """What a model lacks to take CodeGen's place, as the end of a sentence of which it is the subject."""


class StockModel(LanguageModel):
    """As `LanguageModel` has it, around a model of `transformers` in float32.

    Raises `Unsuitable` where that has not the parts which a language model is taken to have.
    """

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model
        self._blocks, norm = _blocks_and_norm(model)
        self._norm = [norm]  # in a list, as it is the model's own, and has one name
        takes = inspect.signature(model.base_model.forward).parameters
        self._cache_name = next((name for name in ("past_key_values", "cache_params") if name in takes), None)
        if self._cache_name is None:
            raise Unsuitable("takes no cache of what it has read (past_key_values or cache_params)")

    @property
    def blocks(self) -> list[nn.Module]:
        return self._blocks

    @property
    def norm(self) -> nn.Module:
        return self._norm[0]

    @property
    def embedding(self) -> nn.Embedding:
        return self.model.get_input_embeddings()

    @property
    def positions(self) -> int:
        return getattr(self.model.config, "max_position_embeddings", None) or MAX_POSITIONS

    @property
    def recurrent(self) -> bool:
        """Whether what it keeps of earlier positions is a state that each token changes, and not a list of them."""
        return self.model._is_stateful

    def forward(self, tokens: Tensor, last: int | None = None) -> list[Tensor]:
        return [state if last is None else state[:, -last:] for state in self.read(tokens)]

    def empty_cache(self) -> Cache:
        """The library's cache for `read`."""
        return DynamicCache(config=self.model.config)

    def read(self, tokens: Tensor, kept: Cache | None = None) -> tuple[Tensor, ...]:
        """Hidden states of all positions (B, T), which stand behind those that `kept` has; then it has these as well.

        A recurrent model reads one token at a time behind what it has read.
        """
        told = {self._cache_name: kept} if kept is not None else {}
        read = self.model.base_model(tokens, output_hidden_states=True, use_cache=kept is not None, **told)
        return read.hidden_states

    def logits(self, states: Tensor) -> Tensor:
        return self.model.get_output_embeddings()(states).float()

    def inference(self, precision: torch.dtype) -> StockInference:
        return StockInference(self, precision)

    def save(self, weights: Path, config: Path) -> None:
        # Named so that what a killed process leaves is cleared by the next job.
        with tempfile.TemporaryDirectory(dir=weights.parent, prefix=f".{weights.name}.") as scratch:
            self.model.save_pretrained(scratch, max_shard_size="1TB")
            copy_file(Path(scratch, "model.safetensors"), weights)
            copy_file(Path(scratch, "config.json"), config)

    @classmethod
    def load(cls, folder: Path) -> StockModel:
        """Read a folder as `from_pretrained` does, and nothing but that. Raises `Unsuitable`."""
        _quiet()
        try:
            model, about = AutoModelForCausalLM.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:  # a folder may have anything, and the libraries behind say so in every way
            raise Unsuitable(f"cannot be read ({_first_line(error)})") from None
        if about["missing_keys"]:
            raise Unsuitable(f"lacks the weights {min(about['missing_keys'])}")
        return cls(model)

    @torch.no_grad()
    def refuse_unsuitable(self, documents: Tensor) -> None:
        """Raise `Unsuitable` where stages would read something else from the model than what it computes.

        documents: (B, T) int64, those that it has to read.
        """
        if self.positions < documents.shape[1]:
            raise Unsuitable(f"reads {self.positions} tokens, but a document takes up to {documents.shape[1]}")
        self.eval()
        found: list[Tensor] = []
        other = documents.clone()
        other[:, -1] = (other[:, -1] + 1) % len(self.embedding.weight)
        try:
            theirs = self.model(documents, use_cache=False).logits.float()
            with changed(self, dict.fromkeys(self.numbers, noting(found))):
                states = self(documents)
            ahead, alone = self(other), self._last_read_alone(documents)
        except Exception as error:  # somebody else's model may fail in any way
            raise Unsuitable(f"cannot be run ({_first_line(error)})") from None
        if not bool(theirs.isfinite().all()):
            raise Unsuitable("says of some token that it is not a number")
        lacks = {
            f"has {len(states) - 1} hidden states behind the first, but {self.layers} blocks": (
                len(states) == self.layers + 1
            ),
            "does more behind its last hidden state than a linear head": _same(self.logits(states[-1]), theirs),
            "does more behind its last block than a norm": _same(self.norm(found[-1]), states[-1]),
            "reads otherwise token by token than all at once": _same(alone, states[-1][:, -1]),
            "looks ahead, so that it is not causal": _same(ahead[-1][:, :-1], states[-1][:, :-1]),
        }
        for problem, kept in lacks.items():
            if not kept:
                raise Unsuitable(problem)

    def _last_read_alone(self, documents: Tensor) -> Tensor:
        """Hidden states (B, C) of the last tokens of documents (B, T), read behind all others."""
        kept = self.empty_cache()
        self.read(documents[:, :-1], kept)
        return self.read(documents[:, -1:], kept)[-1][:, 0]


def made(
    model_type: str, vocabulary: int, layers: int, width: int, heads: int, std: float, keys: Mapping, seed: int
) -> StockModel:
    """A model that its class has initialised, from `seed` alone.

    `keys` are those of the config class, and go before all else. Raises `Unsuitable`.
    """
    _quiet()
    if model_type not in CONFIG_MAPPING or CONFIG_MAPPING[model_type] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise Unsuitable("is no causal language model of transformers")
    kind = CONFIG_MAPPING[model_type]
    known = {key: parameter.default for key, parameter in inspect.signature(kind.__init__).parameters.items()}
    standard = {
        "vocab_size": vocabulary,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": width // heads,
        "intermediate_size": _FEED_FORWARD * width,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": std,
        **SPECIAL_IDS,
    }
    own = {kind.attribute_map.get(key, key): value for key, value in standard.items()}
    own = {key: value for key, value in own.items() if key in known}
    own |= {key: 0.0 for key, default in known.items() if "drop" in key and isinstance(default, float)}
    for key in keys:
        if key not in known or key in ("self", "kwargs"):
            raise Unsuitable(f"has no {key!r} in its config; {kind.__name__} has {', '.join(sorted(known))}")
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return StockModel(AutoModelForCausalLM.from_config(kind(**{**own, **keys}), dtype=torch.float32))
    except Unsuitable:
        raise
    except Exception as error:  # every class says in its own way what it cannot be made of
        raise Unsuitable(f"cannot be made of these sizes ({_first_line(error)})") from None


def _quiet() -> None:
    """No progress bars of the library, as jobs have their own, and no warnings of padding, which has no say here."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()


def _blocks_and_norm(model: PreTrainedModel) -> tuple[list[nn.Module], nn.Module]:
    """Its one row of so many modules as its config says, and what follows that has weights."""
    layers = model.config.num_hidden_layers
    for owner in model.base_model.modules():
        children = list(owner.children())
        for place, child in enumerate(children):
            if isinstance(child, nn.ModuleList) and len(child) == layers:
                behind = (one for one in children[place + 1 :] if any(True for _ in one.parameters()))
                norm = next(behind, None)
                if norm is None:
                    raise Unsuitable("has no norm behind its last block")
                return list(child), norm
    raise Unsuitable(f"has no row of {layers} blocks")


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and float((one - other).abs().max()) <= _SAME * float(other.abs().max())


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__
