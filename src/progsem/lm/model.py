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
from dataclasses import dataclass
from pathlib import Path

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


class Block(nn.Module):
    """x + attention(norm(x)) + mlp(norm(x))."""

    def __init__(self, shape: Shape):
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.ln_1 = nn.LayerNorm(width, eps=1e-5)
        self.attn = nn.ModuleDict(
            {"qkv_proj": nn.Linear(width, 3 * width, bias=False), "out_proj": nn.Linear(width, width, bias=False)}
        )
        self.mlp = nn.ModuleDict({"fc_in": nn.Linear(width, 4 * width), "fc_out": nn.Linear(4 * width, width)})

    def own(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What each position computes by itself, from x (…, C): queries, values and keys (…, 3C); its MLP's output."""
        normed = self.ln_1(x)
        return self.attn["qkv_proj"](normed), self.mlp["fc_out"](F.gelu(self.mlp["fc_in"](normed)))

    def forward(self, x: Tensor, qvk: Tensor, fed: Tensor, rotation: Tensor, turns: Tensor) -> Tensor:
        """The block's output (B, T, C) for x (B, T, C) and what `own` gives for it."""
        qvk = qvk.view(*qvk.shape[:2], GROUPS, 3, self.heads // GROUPS, -1)
        attended = attention(qvk, rotation, turns)  # (B, T, H, D)
        return x + self.attn["out_proj"](attended.flatten(2)) + fed


class CodeGen(nn.Module):
    """The language model; `forward` gives hidden states, `logits` turns them into predictions."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(shape.vocabulary, shape.width),
                "h": nn.ModuleList(Block(shape) for _ in range(shape.layers)),
                "ln_f": nn.LayerNorm(shape.width, eps=1e-5),
            }
        )
        self.lm_head = nn.Linear(shape.width, shape.vocabulary)
        frequency = 10_000.0 ** (-torch.arange(0, shape.rotary, 2) / shape.rotary)
        angle = torch.arange(MAX_POSITIONS)[:, None] * frequency  # (positions, rotary / 2)
        self.register_buffer("_rotation", torch.polar(torch.ones_like(angle), angle), persistent=False)
        # The same as cosines and sines for pairs of neighbouring dimensions, 1 and 0 where nothing is turned,
        # the sine of each pair's first with a minus: (positions, 2, D).
        angle = F.pad(angle, (0, (shape.width // shape.heads - shape.rotary) // 2))
        pairs = torch.stack((angle.cos(), angle.cos()), 2), torch.stack((-angle.sin(), angle.sin()), 2)
        self.register_buffer("turns", torch.stack(pairs, 1).flatten(2), persistent=False)

    def forward(self, tokens: Tensor, every_layer: bool = False) -> Tensor | list[Tensor]:
        """Hidden states of whole documents.

        tokens: (B, T) int64. Returns the last layer's normed states (B, T, C), or,
        with `every_layer`, a list of layers + 1 such tensors: the embedding, the
        output of each block but the last, and the last one's after the final norm,
        as `transformers` counts hidden states.
        """
        table = self.transformer["wte"].weight
        if torch.is_autocast_enabled(table.device.type):
            table = table.to(torch.get_autocast_dtype(table.device.type))
        turns = self._rotation[: tokens.shape[1]], self.turns[: tokens.shape[1]]
        first, *later = self.transformer["h"]
        # What the first block computes of each position by itself follows from the token alone. It is
        # computed once for each entry of the vocabulary, which are fewer than the tokens of a batch:
        # with three layers, training steps are 1.2 times as fast.
        x, *own = lookup(tokens, table, *first.own(table))
        states = [x, first(x, *own, *turns)]
        for block in later:
            states.append(block(states[-1], *block.own(states[-1]), *turns))
        states[-1] = self.transformer["ln_f"](states[-1])
        return states if every_layer else states[-1]

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
