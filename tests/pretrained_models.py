"""Small models of both kinds, untrained, as somebody might have them in a folder."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    ByT5Tokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

END, UNKNOWN = "<|endoftext|>", "<|unknown|>"
PRINTABLE = "".join(map(chr, range(32, 127)))


def byte_model(folder: Path) -> Path:
    """Sequence to sequence, like ByT5."""
    torch.manual_seed(0)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_decoder_layers": 1, "num_heads": 4}
    config = T5Config(vocab_size=384, decoder_start_token_id=0, dropout_rate=0.1, **shape)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    ByT5Tokenizer().save_pretrained(folder)
    return folder


def sign_tokenizer(signs: str = PRINTABLE) -> PreTrainedTokenizerFast:
    """A token for each of these signs."""
    words = {token: number for number, token in enumerate([END, UNKNOWN, *signs])}
    made = Tokenizer(WordLevel(words, unk_token=UNKNOWN))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END, unk_token=UNKNOWN)


def sign_model(folder: Path, signs: str = PRINTABLE, positions: int = 256) -> Path:
    """Causal, like GPT-2."""
    torch.manual_seed(0)
    tokenizer, shape = sign_tokenizer(signs), {"n_positions": positions, "n_embd": 32, "n_layer": 2, "n_head": 4}
    config = GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **shape)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


KINDS = {"t5": byte_model, "gpt2": sign_model}
