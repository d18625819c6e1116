"""A model of `transformers` in a folder, with its own tokenizer: specifications that it reads, programs that it writes.

A sequence-to-sequence model reads the text of a specification and writes that of a program. A causal one is given the
first and goes on with the second. Either ends with the tokenizer's end token.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from progsem.data.encodings import STOP_STRING_PREFIX, Encoding
from progsem.data.special_tokens import SPECIAL_TOKENS
from progsem.study.pretrained import refusal

CHECKED = 200  # documents that are looked at before a training begins
_SAME = 1e-5  # logits that differ by less, relative to the largest, are the same


@dataclass(frozen=True)
class Pretrained:
    """A model, in fp32 on the CPU, and its tokenizer; `folder` is where they are from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Pretrained:
        """Read a folder, and nothing but that; a `UserError` where it does not have what is needed."""
        logging.disable_progress_bar()  # the job has its own
        local = {"local_files_only": True, "trust_remote_code": False}
        config = _read(AutoConfig, folder, "its config.json", **local)
        kind, mapping = AutoModelForCausalLM, MODEL_FOR_CAUSAL_LM_MAPPING
        if config.is_encoder_decoder:
            kind, mapping = AutoModelForSeq2SeqLM, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        if type(config) not in mapping:
            raise refusal(folder, f"whose {config.model_type} model is neither")
        model, about = _read(
            kind, folder, "its model", config=config, dtype=torch.float32, output_loading_info=True, **local
        )
        if about["missing_keys"]:
            raise refusal(folder, f"whose weights lack {min(about['missing_keys'])}")
        tokenizer = _read(AutoTokenizer, folder, "its tokenizer", **local)
        if tokenizer.eos_token_id is None:
            raise refusal(folder, "whose tokenizer has no end token (eos_token)")
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        tokenizer.padding_side = "right"  # positions are counted from the left
        return cls(model, tokenizer, folder)

    @property
    def goes_on(self) -> bool:
        """Whether it writes behind what it has read: a causal model."""
        return not self.model.config.is_encoder_decoder

    @property
    def positions(self) -> float:
        """Most tokens that it reads."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or math.inf

    def prompt(self, text: str) -> list[int]:
        """Ids of a specification, as it is read."""
        ids = self.tokenizer(text).input_ids
        return ids[:-1] if self.goes_on and ids[-1] == self.tokenizer.eos_token_id else ids

    def program(self, text: str) -> list[int]:
        """Ids of a program, as it is written, the end included."""
        ids = self.tokenizer(text, add_special_tokens=False) if self.goes_on else self.tokenizer(text_target=text)
        ids, end = ids.input_ids, self.tokenizer.eos_token_id
        return ids if ids[-1:] == [end] else [*ids, end]

    def text(self, ids: Sequence[int]) -> str:
        """What ids say, special tokens left out."""
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def example(self, prompt: str, program: str) -> dict[str, list[int]]:
        """A document to learn from: `input_ids`, and `labels`, -100 where nothing is predicted.

        Raises `UserError` if it is longer than the model reads.
        """
        read, written = self.prompt(prompt), self.program(program)
        length = len(read) + len(written) if self.goes_on else max(len(read), len(written))
        if length > self.positions:
            raise refusal(
                self.folder,
                f"which reads {self.positions} tokens, but a document takes {length} (fewer with smaller worlds, "
                "corpus.examples or programs)",
            )
        if self.goes_on:
            return {"input_ids": read + written, "labels": [-100] * len(read) + written}
        return {"input_ids": read, "labels": written}

    def batch(self, examples: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        """Examples as tensors (B, T), filled up on the right."""
        return DataCollatorForSeq2Seq(self.tokenizer, self.model)(examples)

    def refuse_unsuitable(self, encoding: Encoding, documents: Documents) -> None:
        """Raise `UserError` where this model cannot learn such documents: by its text, its positions, or at all."""
        self._refuse_spelling(encoding, documents)
        examples = [documents[row] for row in range(len(documents))]
        try:
            batch = self.batch(examples[:2])
            with torch.no_grad():
                loss = float(self.model.eval()(**batch).loss)
                self.model.generate(batch["input_ids"][:1, : len(self.prompt(documents.texts(0)[0]))], max_new_tokens=2)
                causal = not self.goes_on or self._looks_back_only(batch["input_ids"][:1])
        except Exception as error:  # somebody else's model may fail in any way
            raise refusal(self.folder, f"which cannot be run ({_first_line(error)})") from None
        if not math.isfinite(loss):
            raise refusal(self.folder, f"whose loss is {loss}")
        if not causal:
            raise refusal(self.folder, "whose model looks ahead, so that it is not causal")

    def _looks_back_only(self, ids: Tensor) -> bool:
        """Whether what the model says of each token (1, T) of a text is the same whatever the last one is."""
        other = ids.clone()
        other[0, -1] = ids[ids != ids[0, -1]][0]
        before, after = (self.model(input_ids=given).logits[0, :-1] for given in (ids, other))
        return float((before - after).abs().max()) <= _SAME * float(before.abs().max())

    def _refuse_spelling(self, encoding: Encoding, documents: Documents) -> None:
        """Raise `UserError` where a text that is read back no longer says to the study's tokenizer what it said."""
        ours, wrong, lost, added = encoding.tokenizer(), [], Counter(), Counter()
        words = [word for word in encoding.vocabulary if word not in (*SPECIAL_TOKENS, STOP_STRING_PREFIX)]
        texts = [text for row in range(len(documents)) for text in documents.texts(row)]
        for text in (*words, *texts):
            back = self.text(self.tokenizer(text, add_special_tokens=False).input_ids)
            if ours.encode(back).ids != ours.encode(text).ids:
                wrong.append(text)
                lost += Counter(text) - Counter(back)
                added += Counter(back) - Counter(text)
        if wrong:
            done = "loses" if lost else "adds" if added else "changes"
            characters = " ".join(map(repr, sorted(lost or added or wrong[:1])))
            raise refusal(
                self.folder,
                f"whose tokenizer cannot spell the study's text: it {done} {characters} (tokenizers of bytes spell "
                "everything)",
            )


class Documents(Dataset):
    """Documents of the corpus for a pretrained model: item i is its `example` of row i.

    tokens: (N, T) ids of the study's encoding, lengths: (N,), with the end; metadata: those of their files.
    """

    def __init__(
        self, pretrained: Pretrained, encoding: Encoding, tokens: np.ndarray, lengths: np.ndarray, metadata: dict
    ):
        self.pretrained, self.tokens, self.lengths = pretrained, tokens, lengths
        self.prompt_length = metadata["prompt_length"]
        self._reader = encoding.tokenizer()

    def __len__(self) -> int:
        return len(self.tokens)

    def texts(self, row: int) -> tuple[str, str]:
        """A specification and its program as text."""
        ids = self.tokens[row, : self.lengths[row]]
        read, written = ids[: self.prompt_length], ids[self.prompt_length :]
        return self._reader.decode(read.tolist()), self._reader.decode(written.tolist())

    def __getitem__(self, row: int) -> dict[str, list[int]]:
        return self.pretrained.example(*self.texts(row))


def _read(kind, folder: Path, what: str, **how):
    """What `kind.from_pretrained` reads; a `UserError` where it cannot."""
    try:
        return kind.from_pretrained(folder, **how)
    except Exception as error:  # a folder may have anything, and the libraries behind say so in every way
        raise refusal(folder, f"{what} cannot be read ({_first_line(error)})") from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
