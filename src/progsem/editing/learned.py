"""Subspaces that are learned from what the model does: distributed alignment search.

Geiger et al. 2024, "Finding alignments between interpretable causal variables and distributed neural representations",
arXiv:2303.02536.

A subspace is moved by gradient until the model, with the part of its stream that lies in it taken from the donor, does
behind the base what it does behind the target. Only what stands for the feature's value in both specifications helps:
all else of the donor is another program's in another world.
"""

from __future__ import annotations

import torch
from torch import Tensor

from progsem.editing.streams import Edit, NextCodes, Read
from progsem.editing.subspaces import interchange

LEARNING_STEPS = 100
LEARNING_BATCH = 128
LEARNING_RATE = 0.03


def learn(
    base: list[Read], donor: list[Read], wanted: list[Tensor], codes: list[NextCodes], layer: int, dimension: int
) -> Tensor:
    """A subspace (C, d) of the stream behind block `layer`, from triples in an order that says nothing.

    One list entry for each length of documents: bases and donors, log-probabilities (B, codes) of what comes behind the
    target, and what may come. Lengths take turns in proportion to their number of triples. Adam, whose rate falls
    linearly to 0, makes the mean Kullback-Leibler divergence to the target's next statement small; the basis is kept
    orthonormal by a QR decomposition.
    """
    generator = torch.Generator().manual_seed(dimension)
    width, device = base[0].editable.model.width, base[0].tokens.device
    raw = torch.randn(width, dimension, generator=generator).to(device).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=LEARNING_RATE)
    sizes = torch.tensor([float(len(group)) for group in base])
    for step in range(LEARNING_STEPS):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * (1 - step / LEARNING_STEPS)
        group = int(torch.multinomial(sizes, 1, generator=generator))
        first = int(torch.randint(max(1, len(base[group]) - LEARNING_BATCH + 1), (), generator=generator))
        rows = slice(first, first + LEARNING_BATCH)
        edit = Edit(layer, base[group].last, interchange(torch.linalg.qr(raw)[0]))
        edited, target = base[group].next_codes(codes[group], edit, donor[group], rows), wanted[group][rows]
        loss = (target.exp() * (target - edited)).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return torch.linalg.qr(raw.detach())[0]
