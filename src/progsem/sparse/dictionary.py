"""A dictionary of sparse features, of which few at a time say what an MLP does.

A transcoder (Dunefsky et al. 2024, arXiv 2406.11944) gives an MLP's output from its input; an autoencoder gives the
output from itself. In both, the k features with the largest activations count (TopK; Gao et al. 2024, arXiv
2406.04093). Features that have not been among them for long are fitted to what is left of the error, which revives
them (the same, appendix A.2).

Shapes: N vectors, I numbers in, O out, F features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_REVIVED = 1 / 32  # weight of the loss that revives features
_DEAD_AFTER = 20  # batches without being active


@dataclass(frozen=True)
class Recipe:
    """How a dictionary is fitted: features, active ones, Adam's steps, batch and learning rate, which decays to 0."""

    features: int
    active: int
    steps: int
    batch: int
    learning_rate: float


class Dictionary(nn.Module):
    """F features of (N, I) vectors, and (N, O) vectors from them. Each feature's direction of output has length 1."""

    def __init__(self, inputs: int, outputs: int, features: int, active: int):
        super().__init__()
        self.active = active
        self.encoder = nn.Linear(inputs, features)
        self.decoder = nn.Linear(features, outputs)
        self.centre = nn.Parameter(torch.zeros(inputs))

    def initialise(self, inputs: Tensor, outputs: Tensor, seed: int) -> None:
        """Random directions, and the means of vectors (N, I) and (N, O); an autoencoder's encoder is its decoder."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            drawn = torch.randn(self.encoder.weight.shape, generator=generator)
            self.encoder.weight.copy_(drawn / drawn.norm(dim=1, keepdim=True))
            self.encoder.bias.zero_()
            if self.encoder.weight.shape == self.decoder.weight.T.shape:
                self.decoder.weight.copy_(self.encoder.weight.T)
            else:
                self.decoder.weight.copy_(torch.randn(self.decoder.weight.shape, generator=generator))
            self.centre.copy_(inputs.mean(0))
            self.decoder.bias.copy_(outputs.mean(0))
        self.rescale()

    @torch.no_grad()
    def rescale(self) -> None:
        """Give every feature's direction of output the length 1."""
        self.decoder.weight /= self.decoder.weight.norm(dim=0, keepdim=True).clamp_min(1e-8)

    def before(self, inputs: Tensor) -> Tensor:
        """(N, F): how much each feature would be active."""
        return self.encoder(inputs - self.centre)

    def encode(self, inputs: Tensor) -> Tensor:
        """(N, F) activations, at least 0, of which at most `active` a row are above."""
        return _largest(self.before(inputs), self.active)

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, O)."""
        return self.decoder(self.encode(inputs))


def _largest(before: Tensor, count: int) -> Tensor:
    """The largest numbers of each row where they are above 0, and 0 elsewhere."""
    values, places = before.topk(min(count, before.shape[-1]), dim=-1, sorted=False)
    return torch.zeros_like(before).scatter(-1, places, values.relu())


def fit(
    inputs: Tensor, outputs: Tensor, recipe: Recipe, seed: int, progress: Callable[[int], None] = lambda steps: None
) -> Dictionary:
    """Fit a dictionary that gives (N, O) outputs from (N, I) inputs, float32 on one device; what is drawn follows from
    `seed`. `progress` is told how many more steps are done.

    Fitted is to both in units of their spread: Adam's steps are as large for outputs of a hundredth as for those of 1,
    and an untrained MLP's are so small.
    """
    spread_in, spread_out = ((part - part.mean(0)).square().mean().sqrt().clamp_min(1e-8) for part in (inputs, outputs))
    made = Dictionary(inputs.shape[1], outputs.shape[1], recipe.features, recipe.active)
    made.initialise((inputs / spread_in).cpu(), (outputs / spread_out).cpu(), seed)
    made.to(inputs.device)
    optimizer = torch.optim.Adam(made.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), fused=True)
    generator = torch.Generator().manual_seed(seed)
    unused = torch.zeros(recipe.features, dtype=torch.int64, device=inputs.device)  # batches since it was active
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * (1 - step / recipe.steps)
        rows = torch.randint(len(inputs), (recipe.batch,), generator=generator).to(inputs.device)
        wanted, before = outputs[rows] / spread_out, made.before(inputs[rows] / spread_in)
        activations = _largest(before, recipe.active)
        error = wanted - made.decoder(activations)
        loss = error.square().mean()
        dead = unused > _DEAD_AFTER
        if bool(dead.any()):
            loss = loss + _REVIVED * _left_over(made, before, dead, error.detach())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        made.rescale()
        unused = torch.where((activations > 0).any(0), 0, unused + 1)
        progress(1)
    made.requires_grad_(False)
    for part, factor in [
        (made.encoder.weight, spread_out / spread_in),
        (made.encoder.bias, spread_out),
        (made.centre, spread_in),
        (made.decoder.bias, spread_out),
    ]:
        part *= factor
    return made


def _left_over(made: Dictionary, before: Tensor, dead: Tensor, error: Tensor) -> Tensor:
    """How badly features that are not used any more give the error (N, O) of the others."""
    among = before.masked_fill(~dead, -torch.inf)
    count = min(int(dead.sum()), max(made.active, made.encoder.in_features // 2))
    return (error - _largest(among, count) @ made.decoder.weight.T).square().mean()
