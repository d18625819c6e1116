"""CodeGen, the language model (Nijkamp et al. 2023), in one readable file.

A decoder whose blocks compute attention and MLP side by side from one layer
norm, with rotary positions on the first `rotary` dimensions of each head. It is
the same function of the same weights as `transformers`' CodeGenForCausalLM, and
keeps that class's weight names and layouts, so that its files load there.
The activation is GELU itself, not the tanh that CodeGen approximates it by: the two
differ by less than 0.0005, and on a CPU the tanh takes four times as long, a quarter
of a training step.

Shapes: B documents, T positions, C width, H heads, D = C / H.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progsem.data.special_tokens import BEGIN_ID, END_ID, PADDING_ID
from progsem.errors import UserError
from progsem.limits import MAX_POSITIONS
from progsem.lm.operations import attention, lookup
from progsem.storage.files import load_tensors, save_tensors, write_json

GROUPS = 4  # CodeGen stores queries, values and keys in four groups of heads, one for each TPU core it was trained on
_SPECIAL_IDS = {"bos_token_id": BEGIN_ID, "eos_token_id": END_ID, "pad_token_id": PADDING_ID}


@dataclass(frozen=True)
class Shape:
    """What the size of a model follows from."""

    vocabulary: int
    layers: int
    width: int
    heads: int
    rotary: int

    def codegen_config(self) -> dict:
        """The `config.json` that `AutoModelForCausalLM` makes a CodeGen of this shape from."""
        return {
            "architectures": ["CodeGenForCausalLM"],
            "model_type": "codegen",
            "vocab_size": self.vocabulary,
            "n_positions": MAX_POSITIONS,
            "n_ctx": MAX_POSITIONS,
            "n_embd": self.width,
            "n_layer": self.layers,
            "n_head": self.heads,
            "rotary_dim": self.rotary,
            "activation_function": "gelu",
            "layer_norm_epsilon": 1e-5,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
            "tie_word_embeddings": False,
            "use_cache": True,
            **_SPECIAL_IDS,
        }


def generation_config() -> dict:
    """The `generation_config.json` by which `generate` writes greedily up to the end token."""
    return {**_SPECIAL_IDS, "do_sample": False, "max_length": MAX_POSITIONS}


class Attend(Protocol):
    """Attention as a block asks for it. Only here do positions meet, and only here do training and inference differ."""

    def __call__(self, layer: int, qvk: Tensor, last: int) -> Tensor:
        """Causal attention of the last P = `last` positions: (B, P, H, D).

        qvk: (B, T, GROUPS, 3, H / GROUPS, D) queries, values and keys of the block with that number,
        not rotated by their positions yet.
        """


class Block(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x))."""

    def __init__(self, shape: Shape, layer: int):
        super().__init__()
        width = shape.width
        self.layer, self.heads = layer, shape.heads
        self.ln_1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = nn.ModuleDict(
            {"qkv_proj": nn.Linear(width, 3 * width, bias=False), "out_proj": nn.Linear(width, width, bias=False)}
        )
        self.mlp = nn.ModuleDict({"fc_in": nn.Linear(width, 4 * width), "fc_out": nn.Linear(4 * width, width)})

    def positionwise(self, x: Tensor, last: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What each position contributes by itself: x, the MLP's output, and queries, values and keys.

        x: (..., T, C). The first two, (..., P, C), are of the last P positions only, by default of all; the
        third, (..., T, 3C), is of all, because later positions attend to them.
        """
        normed = self.ln_1(x)
        qvk = self.attn["qkv_proj"](normed)
        if last is not None:
            x, normed = x[..., -last:, :], normed[..., -last:, :].contiguous()
        return x, self.mlp["fc_out"](F.gelu(self.mlp["fc_in"](normed))), qvk

    def forward(self, x: Tensor, fed: Tensor, qvk: Tensor, attend: Attend) -> Tensor:
        """The block's output (B, P, C), from what `positionwise` gives."""
        qvk = qvk.unflatten(-1, (GROUPS, 3, self.heads // GROUPS, -1))
        attended = attend(self.layer, qvk, x.shape[1])
        return x + self.attn["out_proj"](attended.flatten(2)) + fed


class CodeGen(nn.Module):
    """The language model; `forward` gives hidden states, `logits` turns them into predictions."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(shape.vocabulary, shape.width),
                "h": nn.ModuleList(Block(shape, layer) for layer in range(shape.layers)),
                "ln_f": nn.LayerNorm(shape.width, eps=1e-5),
            }
        )
        self.lm_head = nn.Linear(shape.width, shape.vocabulary)
        frequency = 10_000.0 ** (-torch.arange(0, shape.rotary, 2) / shape.rotary)
        angle = torch.arange(MAX_POSITIONS)[:, None] * frequency  # (positions, rotary / 2)
        angle = F.pad(angle, (0, (shape.width // shape.heads - shape.rotary) // 2))  # the others are not rotated
        # Cosines and sines for pairs of neighbouring dimensions, each pair's first sine negated: (positions, 2, D).
        pairs = torch.stack((angle.cos(), angle.cos()), 2), torch.stack((-angle.sin(), angle.sin()), 2)
        self.register_buffer("turns", torch.stack(pairs, 1).flatten(2), persistent=False)

    def vocabulary(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the first block's `positionwise` gives for each token's embedding: (V, C), (V, C), (V, 3C).

        It follows from the token alone, and the vocabulary has fewer entries than a batch has tokens:
        computed here and looked up, training steps of three layers are 1.2 times as fast.
        """
        table = self.transformer["wte"].weight
        if torch.is_autocast_enabled(table.device.type):
            table = table.to(torch.get_autocast_dtype(table.device.type))
        return self.transformer["h"][0].positionwise(table)

    def forward(
        self,
        tokens: Tensor,
        attend: Attend | None = None,
        last: int | None = None,
        vocabulary: tuple[Tensor, ...] | None = None,
    ) -> list[Tensor]:
        """Hidden states of the last P = `last` positions, by default of all.

        tokens: (B, T) int64, whole documents unless `attend` knows of earlier positions. `vocabulary` is what the
        method of that name returns, where the weights have not changed since. Returns layers + 1 tensors (B, P, C):
        the embedding, the output of each block but the last, and the last one's after the final norm, as
        `transformers` counts hidden states.
        """
        attend = attend or self._attend
        parts = lookup(tokens, *(vocabulary or self.vocabulary()))
        states = [parts[0]]
        for block in self.transformer["h"]:
            if block.layer > 0:  # of the last block's other positions nobody asks for more than keys and values
                parts = block.positionwise(states[-1], last if block.layer + 1 == self.shape.layers else None)
            states.append(block(*parts, attend))
        states[-1] = self.transformer["ln_f"](states[-1])
        return states if last is None else [state[:, -last:] for state in states]

    def _attend(self, layer: int, qvk: Tensor, last: int) -> Tensor:
        """Attention within whole documents, with its gradient."""
        return attention(qvk, self.turns[: qvk.shape[1]], last)

    def logits(self, states: Tensor) -> Tensor:
        """(…, C) hidden states to (…, V) unnormalised log-probabilities in float32."""
        return self.lm_head(states).float()

    def initialise(self, seed: int, std: float) -> None:
        """Draw every matrix from a normal of that deviation, biases 0, norms 1, from `seed` alone."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in sorted(self.named_parameters()):
                if parameter.dim() == 2:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
                else:
                    parameter.fill_(1.0 if "ln_" in name and name.endswith("weight") else 0.0)


@contextmanager
def changed(model: CodeGen, layer: int, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, the model goes on from `change` of the residual stream (B, P, C) behind block `layer`, from 1.

    Behind the last block, that is before the final norm. Of several changes of one block, each gets what the one
    before has made.
    """
    handle = model.transformer["h"][layer - 1].register_forward_hook(lambda block, given, stream: change(stream))
    try:
        yield
    finally:
        handle.remove()


def save(model: CodeGen, weights: Path, config: Path) -> None:
    """Write model.safetensors and config.json, which `AutoModelForCausalLM.from_pretrained` reads."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_tensors(weights, tensors, {"format": "pt"})
    write_json(config, model.shape.codegen_config())


def load(weights: Path, config: Path, device: torch.device) -> CodeGen:
    """Read a model that `save` wrote; damaged files are a `UserError` that names them."""
    try:
        given = json.loads(config.read_text(encoding="utf-8"))
        shape = Shape(given["vocab_size"], given["n_layer"], given["n_embd"], given["n_head"], given["rotary_dim"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{config}: not a readable model config ({error}); delete it and run again") from None
    tensors, _ = load_tensors(weights)
    try:
        model = CodeGen(shape)
        model.load_state_dict(tensors)
    except (RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{weights}: not readable weights of this model ({reason}); delete it and run again") from None
    return model.to(device)
