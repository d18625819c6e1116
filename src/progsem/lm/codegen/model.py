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

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progsem.data.special_tokens import SPECIAL_IDS
from progsem.errors import UserError
from progsem.limits import MAX_POSITIONS
from progsem.lm.codegen.inference import CodeGenInference
from progsem.lm.codegen.operations import attention, lookup
from progsem.lm.language_model import LanguageModel
from progsem.storage.files import load_tensors, save_tensors, write_json

GROUPS = 4  # CodeGen stores queries, values and keys in four groups of heads, one for each TPU core it was trained on


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
            **SPECIAL_IDS,
        }


class Attend(Protocol):
    """Attention as a block asks for it. Only here do positions meet, and only here do training and inference differ."""

    def __call__(self, layer: int, qvk: Tensor, last: int) -> Tensor:
        """Causal attention of the last P = `last` positions: (B, P, H, D).

        qvk: (B, T, GROUPS, 3, H / GROUPS, D) queries, values and keys of the block with that number,
        not rotated by their positions yet.
        """


class FeedForward(nn.Module):
    """The MLP of a block, (..., C) to (..., C)."""

    def __init__(self, width: int):
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, normed: Tensor) -> Tensor:
        """Of normed streams."""
        return self.fc_out(F.gelu(self.fc_in(normed)))


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
        self.mlp = FeedForward(width)

    def positionwise(self, x: Tensor, last: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """What each position contributes by itself: x, the MLP's output, and queries, values and keys.

        x: (..., T, C). The first two, (..., P, C), are of the last P positions only, by default of all; the
        third, (..., T, 3C), is of all, because later positions attend to them.
        """
        normed = self.ln_1(x)
        qvk = self.attn["qkv_proj"](normed)
        if last is not None:
            x, normed = x[..., -last:, :], normed[..., -last:, :].contiguous()
        return x, self.mlp(normed), qvk

    def forward(self, x: Tensor, fed: Tensor, qvk: Tensor, attend: Attend) -> Tensor:
        """The block's output (B, P, C), from what `positionwise` gives."""
        qvk = qvk.unflatten(-1, (GROUPS, 3, self.heads // GROUPS, -1))
        attended = attend(self.layer, qvk, x.shape[1])
        return x + self.attn["out_proj"](attended.flatten(2)) + fed


class CodeGen(LanguageModel):
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

    @property
    def blocks(self) -> nn.ModuleList:
        return self.transformer["h"]

    @property
    def norm(self) -> nn.LayerNorm:
        return self.transformer["ln_f"]

    @property
    def embedding(self) -> nn.Embedding:
        return self.transformer["wte"]

    @property
    def positions(self) -> int:
        return MAX_POSITIONS

    def vocabulary(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the first block's `positionwise` gives for each token's embedding: (V, C), (V, C), (V, 3C).

        It follows from the token alone, and the vocabulary has fewer entries than a batch has tokens:
        computed here and looked up, training steps of three layers are 1.2 times as fast.
        """
        table = self.embedding.weight
        if torch.is_autocast_enabled(table.device.type):
            table = table.to(torch.get_autocast_dtype(table.device.type))
        return self.blocks[0].positionwise(table)

    def forward(
        self,
        tokens: Tensor,
        last: int | None = None,
        attend: Attend | None = None,
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
        for block in self.blocks:
            if block.layer > 0:  # of the last block's other positions nobody asks for more than keys and values
                parts = block.positionwise(states[-1], last if block.layer + 1 == self.shape.layers else None)
            states.append(block(*parts, attend))
        states[-1] = self.norm(states[-1])
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

    def inference(self, precision: torch.dtype) -> CodeGenInference:
        return CodeGenInference(self, precision)

    def save(self, weights: Path, config: Path) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        save_tensors(weights, tensors, {"format": "pt"})
        write_json(config, self.shape.codegen_config())

    @staticmethod
    def computes(config: dict) -> bool:
        """Whether this is the function of a `config.json` of CodeGen's: it has no other activation, and no options."""
        ours = Shape(1, 1, 1, 1, 1).codegen_config()
        same = ("activation_function", "layer_norm_epsilon", "tie_word_embeddings")
        return all(config.get(key) == ours[key] for key in same) and config.get("n_inner") is None

    @classmethod
    def load(cls, weights: Path, config: dict) -> CodeGen:
        """Read a model that `save` wrote with this `config.json`; damaged files are a `UserError` that names them."""
        tensors, _ = load_tensors(weights)
        sizes = ("vocab_size", "n_layer", "n_embd", "n_head", "rotary_dim")
        try:
            model = cls(Shape(*(config[size] for size in sizes)))
            model.load_state_dict(tensors)
        except (RuntimeError, KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{weights}: not readable weights of this model ({reason}); delete it and run again"
            ) from None
        return model
